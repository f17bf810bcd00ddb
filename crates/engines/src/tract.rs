//! tract, built in by the feature `tract`.

use std::sync::Arc;

use slicewise_graph::{DType, Graph, Tensor, TensorData};
use tract_onnx::prelude::multithread::{Executor, multithread_tract_scope};
use tract_onnx::prelude::{
    Datum, Framework, InferenceModelExt, IntoRunnable, IntoTValue, TValue, TVec, TypedRunnableModel,
};

use crate::built_in::{BuiltInSession, Runner, model, no_profile};
use crate::{CompileOptions, Engine, EngineError, EngineInfo, Precision, Profiler, Session};

pub(crate) const NAME: &str = "tract";

/// The version that Cargo.toml pins.
pub(crate) const VERSION: &str = "0.23.9";

/// tract on the CPU.
pub(crate) struct Tract {
    info: EngineInfo,
}

impl Tract {
    pub(crate) fn new() -> Self {
        Tract {
            info: EngineInfo {
                name: NAME,
                version: VERSION.into(),
                library: None,
            },
        }
    }
}

impl Engine for Tract {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn precisions(&self) -> &[Precision] {
        &[Precision::F32]
    }

    fn compile(
        &self,
        graph: &Graph,
        options: &CompileOptions,
    ) -> Result<Box<dyn Session>, EngineError> {
        let (graph, bytes) = model(NAME, graph, options)?;
        let plan = tract_onnx::onnx()
            .model_for_read(&mut bytes.as_slice())
            .and_then(|model| model.into_optimized()?.into_runnable());
        let plan = plan.map_err(|e| EngineError::Failed {
            engine: NAME,
            // The cause is what says which operator is missing.
            message: crate::text::one_line(&format!("{e:#}")),
        })?;
        let nodes = graph.outputs().iter().map(|&id| graph.node(id));
        let threads = options.threads.max(1);
        let runner = TractRunner {
            plan,
            inputs: TVec::new(),
            outputs: nodes.map(|n| n.dtype).collect(),
            executor: match threads {
                1 => Executor::SingleThread,
                n => Executor::multithread_with_name(n, "slicewise-tract"),
            },
            threads,
        };
        Ok(Box::new(BuiltInSession::new(NAME, &graph, runner)))
    }

    fn profiler(&self, _: &Graph, _: &CompileOptions) -> Result<Box<dyn Profiler>, EngineError> {
        Err(no_profile(NAME))
    }
}

struct TractRunner {
    plan: Arc<TypedRunnableModel>,
    inputs: TVec<TValue>,
    outputs: Vec<DType>,
    executor: Executor,
    threads: usize,
}

impl Runner for TractRunner {
    fn give(&mut self, inputs: &[Tensor]) -> Result<(), String> {
        let values = inputs.iter().map(value).collect::<Result<_, _>>();
        self.inputs = values?;
        Ok(())
    }

    fn run(&mut self) -> Result<Vec<Tensor>, String> {
        let (plan, inputs) = (&self.plan, self.inputs.clone());
        let results = multithread_tract_scope(self.executor.clone(), || plan.run(inputs));
        let results = results.map_err(|e| format!("{e:#}"))?;
        results
            .iter()
            .zip(&self.outputs)
            .map(|(result, dtype)| tensor(result, *dtype))
            .collect()
    }

    fn settings(&self) -> Vec<(String, String)> {
        vec![("threads".into(), self.threads.to_string())]
    }
}

/// Our tensor as tract's.
fn value(tensor: &Tensor) -> Result<TValue, String> {
    fn make<T: Datum + Copy>(shape: &[usize], data: &[T]) -> Result<TValue, String> {
        let value = tract_onnx::prelude::Tensor::from_shape(shape, data);
        Ok(value.map_err(|e| e.to_string())?.into_tvalue())
    }
    let shape = tensor.shape();
    match tensor.data() {
        TensorData::F32(v) => make(shape, v),
        TensorData::I64(v) => make(shape, v),
        TensorData::I32(v) => make(shape, v),
        TensorData::U16(v) => make(shape, v),
        TensorData::U8(v) => make(shape, v),
        TensorData::I8(v) => make(shape, v),
    }
}

/// tract's tensor as ours.
fn tensor(value: &TValue, dtype: DType) -> Result<Tensor, String> {
    fn read<T: Datum + Copy>(value: &TValue) -> Result<TensorData, String>
    where
        TensorData: From<Vec<T>>,
    {
        let view = value.to_plain_array_view::<T>();
        let view = view.map_err(|e| e.to_string())?;
        Ok(TensorData::from(view.iter().copied().collect::<Vec<T>>()))
    }
    let data = match dtype {
        DType::F32 => read::<f32>(value),
        DType::I64 => read::<i64>(value),
        DType::I32 => read::<i32>(value),
        DType::U16 => read::<u16>(value),
        DType::U8 => read::<u8>(value),
        DType::I8 => read::<i8>(value),
    }?;
    Tensor::new(value.shape(), data).map_err(|e| e.to_string())
}
