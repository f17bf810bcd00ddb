//! OpenVINO's C interface with owners for its handles. Its Rust binding is used for loading and for
//! the declarations; its safe layer cannot run on memory of ours, and panics where this reports.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::Arc;

use openvino_sys as ov;
use slicewise_graph::{DType, Tensor};

use crate::outputs::{Buffer, each_type};
use crate::text::one_line;

/// Every function that is called here: the binding would panic on the first call of one that the
/// library lacks, so a library is refused before it is loaded for good.
const FUNCTIONS: &[&str] = &[
    "ov_compiled_model_create_infer_request",
    "ov_compiled_model_free",
    "ov_compiled_model_get_property",
    "ov_compiled_model_inputs_size",
    "ov_compiled_model_outputs_size",
    "ov_core_compile_model",
    "ov_core_create",
    "ov_core_free",
    "ov_core_get_property",
    "ov_core_read_model",
    "ov_core_read_model_from_memory_buffer",
    "ov_core_set_property",
    "ov_free",
    "ov_get_last_err_msg",
    "ov_get_openvino_version",
    "ov_infer_request_free",
    "ov_infer_request_get_profiling_info",
    "ov_infer_request_infer",
    "ov_infer_request_set_input_tensor_by_index",
    "ov_infer_request_set_output_tensor_by_index",
    "ov_model_free",
    "ov_profiling_info_list_free",
    "ov_tensor_create_from_host_ptr",
    "ov_tensor_free",
    "ov_version_free",
];

const CPU: &CStr = c"CPU";

/// Loads the library at `path`, once per process, and returns the version that it states.
pub(crate) fn load(path: &Path) -> Result<String, String> {
    // SAFETY: loading runs the library's initialisers. The path is absolute and names a file that
    // the user or the engine cache chose as OpenVINO; there is no safer way to ask it.
    let library = unsafe { libloading::Library::new(path) }.map_err(|e| e.to_string())?;
    for name in FUNCTIONS {
        // SAFETY: the symbol is only looked for, not called.
        if unsafe { library.get::<*const c_void>(name.as_bytes()) }.is_err() {
            return Err(format!(
                "it has no function {name}; OpenVINO 2025.1 or later is needed"
            ));
        }
    }
    // The binding unwraps the numbers of the version.
    let loaded = std::panic::catch_unwind(|| ov::library::load_from(path));
    loaded.map_err(|_| "its version is not one of OpenVINO's".to_owned())??;
    let mut version = ov::ov_version_t {
        buildNumber: std::ptr::null(),
        description: std::ptr::null(),
    };
    // SAFETY: fills the structure with strings of the library's, freed below.
    check(unsafe { ov::ov_get_openvino_version(&mut version) })?;
    let text = match version.buildNumber.is_null() {
        true => "unknown".to_owned(),
        // SAFETY: a non-null build number is a string that ends in zero.
        false => unsafe { CStr::from_ptr(version.buildNumber) }
            .to_string_lossy()
            .into(),
    };
    // SAFETY: the structure was filled by the function above and is not used again.
    unsafe { ov::ov_version_free(&mut version) };
    Ok(text)
}

/// A status as a result, with the library's own words.
fn check(status: ov::ov_status_e) -> Result<(), String> {
    if status == ov::ov_status_e::OK {
        return Ok(());
    }
    // SAFETY: returns null or a string of this thread's that ends in zero; it is copied at once.
    let message = unsafe {
        let message = ov::ov_get_last_err_msg();
        (!message.is_null()).then(|| CStr::from_ptr(message).to_string_lossy().into_owned())
    };
    Err(match message {
        Some(message) if !message.trim().is_empty() => one_line(&message),
        _ => format!("{status:?}"),
    })
}

fn text(s: &str) -> Result<CString, String> {
    CString::new(s).map_err(|e| e.to_string())
}

/// Declares an owner of one of the library's handles.
macro_rules! handle {
    ($(#[$doc:meta])* $name:ident, $raw:ty, $free:path) => {
        $(#[$doc])*
        pub(crate) struct $name(*mut $raw);

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: the handle came from the library, is owned here alone and freed once.
                unsafe { $free(self.0) }
            }
        }

        // SAFETY: a handle points to an object of the library that belongs to no thread; every use
        // takes `&mut self` or is documented as thread-safe by the library.
        unsafe impl Send for $name {}
    };
}

handle!(
    /// The library's root: reads and compiles models.
    Core, ov::ov_core_t, ov::ov_core_free
);
handle!(Model, ov::ov_model_t, ov::ov_model_free);
handle!(
    /// A model made ready for a device.
    Compiled, ov::ov_compiled_model_t, ov::ov_compiled_model_free
);
handle!(
    /// One place to run a compiled model in.
    Request, ov::ov_infer_request_t, ov::ov_infer_request_free
);
handle!(HostTensor, ov::ov_tensor_t, ov::ov_tensor_free);

impl Core {
    /// A new root; [`load`] must have succeeded.
    pub(crate) fn new() -> Result<Self, String> {
        let mut core = null_mut();
        // SAFETY: writes a new handle on success.
        check(unsafe { ov::ov_core_create(&mut core) })?;
        Ok(Core(core))
    }

    /// What the CPU device says of itself.
    pub(crate) fn property(&self, key: &str) -> Result<String, String> {
        let key = text(key)?;
        let mut value = null_mut();
        // SAFETY: the strings end in zero; the result is a string that `take_text` frees.
        unsafe {
            check(ov::ov_core_get_property(
                self.0,
                CPU.as_ptr(),
                key.as_ptr(),
                &mut value,
            ))?;
            Ok(take_text(value))
        }
    }

    /// Tells the CPU device how to compile the models to come.
    pub(crate) fn set_property(&mut self, key: &str, value: &str) -> Result<(), String> {
        let (key, value) = (text(key)?, text(value)?);
        // SAFETY: the strings end in zero and are copied by the library.
        check(unsafe {
            ov::ov_core_set_property(self.0, CPU.as_ptr(), key.as_ptr(), value.as_ptr())
        })
    }

    /// Compiles an ONNX message.
    pub(crate) fn compile_bytes(&mut self, onnx: &[u8]) -> Result<Compiled, String> {
        let mut model = null_mut();
        // SAFETY: pointer and length are one slice's; no separate weights are given; on success the
        // model has copied what it needs.
        check(unsafe {
            ov::ov_core_read_model_from_memory_buffer(
                self.0,
                onnx.as_ptr().cast::<c_char>(),
                onnx.len(),
                std::ptr::null(),
                &mut model,
            )
        })?;
        self.compile(&Model(model))
    }

    /// Compiles an ONNX file.
    pub(crate) fn compile_file(&mut self, path: &Path) -> Result<Compiled, String> {
        let path = text(&path.to_string_lossy())?;
        let mut model = null_mut();
        // SAFETY: the strings end in zero; ONNX needs no second file, so its path is empty.
        check(unsafe { ov::ov_core_read_model(self.0, path.as_ptr(), c"".as_ptr(), &mut model) })?;
        self.compile(&Model(model))
    }

    fn compile(&mut self, model: &Model) -> Result<Compiled, String> {
        let mut compiled = null_mut();
        // SAFETY: core and model are live; no properties follow, as their count of 0 says.
        check(unsafe {
            ov::ov_core_compile_model(self.0, model.0, CPU.as_ptr(), 0, &mut compiled)
        })?;
        Ok(Compiled(compiled))
    }
}

/// Copies and frees a string of the library's.
///
/// # Safety
/// `value` is null or a string that ends in zero and belongs to the caller.
unsafe fn take_text(value: *mut c_char) -> String {
    if value.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe {
        let copy = CStr::from_ptr(value).to_string_lossy().into_owned();
        ov::ov_free(value);
        copy
    }
}

impl Compiled {
    /// What the compiled model says it does.
    pub(crate) fn property(&self, key: &str) -> Result<String, String> {
        let key = text(key)?;
        let mut value = null_mut();
        // SAFETY: the string ends in zero; the result is a string that `take_text` frees.
        unsafe {
            check(ov::ov_compiled_model_get_property(
                self.0,
                key.as_ptr(),
                &mut value,
            ))?;
            Ok(take_text(value))
        }
    }

    /// How many tensors the model takes and makes.
    pub(crate) fn arity(&self) -> Result<(usize, usize), String> {
        let (mut inputs, mut outputs) = (0, 0);
        // SAFETY: each writes one number.
        check(unsafe { ov::ov_compiled_model_inputs_size(self.0, &mut inputs) })?;
        // SAFETY: as above.
        check(unsafe { ov::ov_compiled_model_outputs_size(self.0, &mut outputs) })?;
        Ok((inputs, outputs))
    }

    /// A place to run the model in; it keeps what it needs of the model alive itself.
    pub(crate) fn request(&self) -> Result<Request, String> {
        let mut request = null_mut();
        // SAFETY: writes a new handle on success.
        check(unsafe { ov::ov_compiled_model_create_infer_request(self.0, &mut request) })?;
        Ok(Request(request))
    }
}

impl Request {
    /// Runs once, straight from `inputs` into `outputs`. Types and shapes are checked by the library.
    pub(crate) fn run(&mut self, inputs: &[Tensor], outputs: &mut [Buffer]) -> Result<(), String> {
        // The request keeps the memory's address after the run, but touches it in a run only, and
        // every run begins with setting all addresses anew.
        for (index, input) in inputs.iter().enumerate() {
            let pointer: *const c_void = each_type!(input.data(), v => v.as_ptr().cast());
            // SAFETY: the memory holds as many elements as the shape says and lives for this call.
            // The library takes it as mutable, but does not write to a model's inputs.
            let tensor = unsafe { host(input.dtype(), input.shape(), pointer.cast_mut()) }?;
            // SAFETY: request and tensor are live; the library checks index, type and shape.
            check(unsafe {
                ov::ov_infer_request_set_input_tensor_by_index(self.0, index, tensor.0)
            })?;
        }
        for (index, output) in outputs.iter_mut().enumerate() {
            let dtype = output.data.dtype();
            let pointer: *mut c_void =
                each_type!(&mut output.data, v => Arc::make_mut(v).as_mut_ptr().cast());
            // SAFETY: as above, and the buffer is borrowed mutably.
            let tensor = unsafe { host(dtype, &output.shape, pointer) }?;
            // SAFETY: request and tensor are live; the library checks index, type and shape.
            check(unsafe {
                ov::ov_infer_request_set_output_tensor_by_index(self.0, index, tensor.0)
            })?;
        }
        // SAFETY: `&mut self` makes this the only run of the request, and all memory set above lives.
        check(unsafe { ov::ov_infer_request_infer(self.0) })
    }

    /// What every run so far did, if the model was compiled with `PERF_COUNT`.
    pub(crate) fn timings(&self) -> Result<Vec<Timing>, String> {
        let mut list = ov::ov_profiling_info_list_t {
            profiling_infos: null_mut(),
            size: 0,
        };
        // SAFETY: the request is live; the list is filled on success and freed below.
        check(unsafe { ov::ov_infer_request_get_profiling_info(self.0, &mut list) })?;
        let mut timings = Vec::with_capacity(list.size);
        if !list.profiling_infos.is_null() {
            // SAFETY: the library has filled so many entries, and nothing changes them meanwhile.
            let infos = unsafe { std::slice::from_raw_parts(list.profiling_infos, list.size) };
            for info in infos {
                // SAFETY: the strings belong to the list, which still lives.
                timings.push(unsafe {
                    Timing {
                        name: copy_text(info.node_name),
                        operator: copy_text(info.node_type),
                        kernel: copy_text(info.exec_type),
                        executed: info.status == ov::ov_profiling_info_t_Status::EXECUTED,
                        mean_ms: info.real_time as f64 * 1e-3,
                    }
                });
            }
        }
        // SAFETY: the list came from the library and is not used again.
        unsafe { ov::ov_profiling_info_list_free(&mut list) };
        Ok(timings)
    }
}

/// What one node of a compiled model did.
#[derive(Clone)]
pub(crate) struct Timing {
    pub(crate) name: String,
    pub(crate) operator: String,
    pub(crate) kernel: String,
    pub(crate) executed: bool,
    /// Over all runs so far.
    pub(crate) mean_ms: f64,
}

/// Copies a string of the library's.
///
/// # Safety
/// `value` is null or a string that ends in zero.
unsafe fn copy_text(value: *const c_char) -> String {
    match value.is_null() {
        true => String::new(),
        // SAFETY: as the caller promises.
        false => unsafe { CStr::from_ptr(value) }
            .to_string_lossy()
            .into_owned(),
    }
}

/// The library's tensor on memory of ours.
///
/// # Safety
/// `data` points to as many elements of `dtype` as `shape` says, for as long as it is used.
unsafe fn host(dtype: DType, shape: &[usize], data: *mut c_void) -> Result<HostTensor, String> {
    let dtype = match dtype {
        DType::F32 => ov::ov_element_type_e::F32,
        DType::I64 => ov::ov_element_type_e::I64,
        DType::I32 => ov::ov_element_type_e::I32,
        DType::U16 => ov::ov_element_type_e::U16,
        DType::U8 => ov::ov_element_type_e::U8,
        DType::I8 => ov::ov_element_type_e::I8,
    };
    let mut dims: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
    let shape = ov::ov_shape_t {
        rank: dims.len() as i64,
        dims: dims.as_mut_ptr(),
    };
    let mut tensor = null_mut();
    // SAFETY: the library copies the dimensions and keeps `data`, which the caller answers for.
    check(unsafe { ov::ov_tensor_create_from_host_ptr(dtype, shape, data, &mut tensor) })?;
    Ok(HostTensor(tensor))
}
