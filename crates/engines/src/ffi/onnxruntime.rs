//! ONNX Runtime: its version before it is committed to, and a run whose outputs are our tensors.

use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::sync::Arc;

use ort::AsPointer;
use ort::session::Session;
use ort::value::{DynValueRef, DynValueTypeMarker, Outlet, TensorRef, TensorRefMut, ValueRefMut};
use slicewise_graph::Tensor;

use crate::outputs::{Buffer, each_type};

/// The version that the library at `path` states, without settling on that library.
pub(crate) fn library_version(path: &Path) -> Result<String, String> {
    // SAFETY: loading runs the library's initialisers. The path is absolute and names a file that
    // the user or the engine cache chose as ONNX Runtime; there is no safer way to ask it.
    let library = unsafe { libloading::Library::new(path) }.map_err(|e| e.to_string())?;
    // SAFETY: `OrtGetApiBase` has had this signature since ONNX Runtime 1.0.
    let base = unsafe {
        library.get::<unsafe extern "C" fn() -> *const ort::sys::OrtApiBase>(b"OrtGetApiBase\0")
    };
    let base = base.map_err(|_| "it is not ONNX Runtime: it has no OrtGetApiBase".to_owned())?;
    // SAFETY: the function takes nothing and returns a static structure or null, which `as_ref` turns
    // into `None`; the library is still loaded.
    let version = unsafe { base().as_ref().map(|base| (base.GetVersionString)()) };
    match version {
        Some(version) if !version.is_null() => {
            // SAFETY: a non-null version is a static string that ends in zero.
            Ok(unsafe { CStr::from_ptr(version) }.to_string_lossy().into())
        }
        _ => Err("it states no version".into()),
    }
}

/// A session with the names that every run passes.
pub(crate) struct Runner {
    session: Session,
    inputs: Vec<CString>,
    outputs: Vec<CString>,
}

impl Runner {
    pub(crate) fn new(session: Session) -> Result<Self, String> {
        let names = |outlets: &[Outlet]| {
            let names = outlets.iter().map(|o| CString::new(o.name()));
            names.collect::<Result<Vec<_>, _>>()
        };
        Ok(Runner {
            inputs: names(session.inputs()).map_err(|e| e.to_string())?,
            outputs: names(session.outputs()).map_err(|e| e.to_string())?,
            session,
        })
    }

    /// Ends the account of time that the session was told to keep, and returns its file.
    pub(crate) fn end_profiling(&mut self) -> ort::Result<String> {
        self.session.end_profiling()
    }

    /// Runs once, straight into `outputs`.
    pub(crate) fn run(&mut self, inputs: &[Tensor], outputs: &mut [Buffer]) -> ort::Result<()> {
        assert_eq!(inputs.len(), self.inputs.len(), "one tensor per input");
        assert_eq!(outputs.len(), self.outputs.len(), "one tensor per output");
        let inputs = inputs.iter().map(view).collect::<ort::Result<Vec<_>>>()?;
        let outputs = outputs.iter_mut().map(target);
        let outputs = outputs.collect::<ort::Result<Vec<_>>>()?;
        let views: Vec<*const ort::sys::OrtValue> = inputs.iter().map(|v| v.ptr()).collect();
        let mut targets: Vec<_> = outputs.iter().map(|v| v.ptr().cast_mut()).collect();
        let pointers = |names: &[CString]| -> Vec<*const c_char> {
            names.iter().map(|name| name.as_ptr()).collect()
        };
        let (input_names, output_names) = (pointers(&self.inputs), pointers(&self.outputs));
        // SAFETY: `&mut self` makes this the only run of the session. Each list is as long as said
        // (asserted above); names end in zero and live in `self`; the values borrow `inputs` and
        // `outputs`, which outlive the call. ONNX Runtime refuses a given output of another type or
        // shape than it computes, so it writes inside the buffers.
        unsafe {
            let status = (ort::api().Run)(
                self.session.ptr().cast_mut(),
                std::ptr::null(),
                input_names.as_ptr(),
                views.as_ptr(),
                views.len(),
                output_names.as_ptr(),
                output_names.len(),
                targets.as_mut_ptr(),
            );
            ort::Error::result_from_status(status)
        }
    }
}

/// A tensor as ONNX Runtime's value, on the same memory.
fn view(tensor: &Tensor) -> ort::Result<DynValueRef<'_>> {
    let shape = tensor.shape();
    each_type!(tensor.data(), v => {
        Ok(TensorRef::from_array_view((shape, v.as_slice()))?.into_dyn())
    })
}

/// A buffer as ONNX Runtime's value to write into, on the same memory.
fn target(buffer: &mut Buffer) -> ort::Result<ValueRefMut<'_, DynValueTypeMarker>> {
    let shape = buffer.shape.as_slice();
    each_type!(&mut buffer.data, v => {
        let elements = Arc::make_mut(v).as_mut_slice();
        Ok(TensorRefMut::from_array_view_mut((shape, elements))?.into_dyn())
    })
}
