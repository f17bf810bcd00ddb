//! rten, built in by the feature `rten`.

use std::sync::Arc;

use rten::{Model, ModelOptions, RunOptions, ThreadPool, Value, ValueOrView};
use slicewise_graph::{DType, Graph, Op, Resize, ResizeMode, Tensor, TensorData};

use crate::built_in::{BuiltInSession, Runner, model, no_profile};
use crate::{CompileOptions, Engine, EngineError, EngineInfo, Precision, Profiler, Session};

pub(crate) const NAME: &str = "rten";

/// The version that Cargo.toml pins.
pub(crate) const VERSION: &str = "0.27.0";

/// rten on the CPU.
pub(crate) struct Rten {
    info: EngineInfo,
}

impl Rten {
    pub(crate) fn new() -> Self {
        Rten {
            info: EngineInfo {
                name: NAME,
                version: VERSION.into(),
                library: None,
            },
        }
    }
}

impl Engine for Rten {
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
        refuse(&graph)?;
        let mut loader = ModelOptions::with_all_ops();
        loader.enable_optimization(true).prepack_weights(true);
        let loaded = loader.load(bytes).map_err(|e| EngineError::Failed {
            engine: NAME,
            message: crate::text::one_line(&e.to_string()),
        })?;
        let nodes = graph.outputs().iter().map(|&id| graph.node(id));
        let threads = options.threads.max(1);
        let runner = RtenRunner {
            model: loaded,
            inputs: Vec::new(),
            outputs: nodes.map(|n| n.dtype).collect(),
            pool: Arc::new(ThreadPool::with_num_threads(threads)),
            threads,
        };
        Ok(Box::new(BuiltInSession::new(NAME, &graph, runner)))
    }

    fn profiler(&self, _: &Graph, _: &CompileOptions) -> Result<Box<dyn Profiler>, EngineError> {
        Err(no_profile(NAME))
    }
}

/// Refuses what rten lacks, which it would otherwise find out in the first run, and what it computes
/// differently without saying so.
fn refuse(graph: &Graph) -> Result<(), EngineError> {
    for node in graph.nodes() {
        let axes = node.shape.rank().saturating_sub(2);
        let problem = match &node.op {
            Op::Conv(_) | Op::ConvTranspose(_) | Op::Pool(_) | Op::Resize(_) if axes > 2 => {
                "rten has no operators of three spatial axes"
            }
            Op::Resize(Resize {
                mode: ResizeMode::Cubic { antialias: false },
                ..
            }) => "rten interpolates cubically with another coefficient",
            _ if node.dtype == DType::U16 => "rten has no 16-bit integers",
            _ => continue,
        };
        return Err(EngineError::Unsupported {
            engine: NAME,
            node: node.name.clone(),
            op: node.op.name(),
            problem,
        });
    }
    Ok(())
}

struct RtenRunner {
    model: Model,
    inputs: Vec<Value>,
    outputs: Vec<DType>,
    pool: Arc<ThreadPool>,
    threads: usize,
}

impl Runner for RtenRunner {
    fn give(&mut self, inputs: &[Tensor]) -> Result<(), String> {
        self.inputs = inputs.iter().map(value).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn run(&mut self) -> Result<Vec<Tensor>, String> {
        let ids = self.model.input_ids().iter().copied();
        let views = self.inputs.iter().map(|v| ValueOrView::View(v.as_view()));
        let options = RunOptions::default().with_thread_pool(Some(self.pool.clone()));
        let results = self
            .model
            .run(
                ids.zip(views).collect(),
                self.model.output_ids(),
                Some(options),
            )
            .map_err(|e| e.to_string())?;
        let results = results.into_iter().zip(&self.outputs);
        results
            .map(|(value, dtype)| tensor(value, *dtype))
            .collect()
    }

    fn settings(&self) -> Vec<(String, String)> {
        vec![
            ("threads".into(), self.threads.to_string()),
            ("prepack_weights".into(), "true".into()),
        ]
    }
}

/// Our tensor as rten's, which has no integers of 16 or 64 bits.
fn value(tensor: &Tensor) -> Result<Value, String> {
    let shape = tensor.shape();
    match tensor.data() {
        TensorData::F32(v) => Value::from_shape(shape, v.to_vec()).map_err(|e| e.to_string()),
        TensorData::I32(v) => Value::from_shape(shape, v.to_vec()).map_err(|e| e.to_string()),
        TensorData::U8(v) => Value::from_shape(shape, v.to_vec()).map_err(|e| e.to_string()),
        TensorData::I8(v) => Value::from_shape(shape, v.to_vec()).map_err(|e| e.to_string()),
        other => Err(format!("takes no {}", other.dtype())),
    }
}

/// rten's tensor as ours; its own integers become those of the graph.
fn tensor(value: Value, dtype: DType) -> Result<Tensor, String> {
    fn narrow<T: TryFrom<i32>>(values: Vec<i32>) -> Result<TensorData, String>
    where
        TensorData: From<Vec<T>>,
    {
        let narrowed = values
            .into_iter()
            .map(T::try_from)
            .collect::<Result<Vec<T>, _>>();
        narrowed
            .map(TensorData::from)
            .map_err(|_| "made an integer out of the type's range".into())
    }
    let (shape, data) = match value {
        Value::FloatTensor(t) => (shape_of(&t), TensorData::from(t.into_data())),
        Value::UInt8Tensor(t) => (shape_of(&t), TensorData::from(t.into_data())),
        Value::Int8Tensor(t) => (shape_of(&t), TensorData::from(t.into_data())),
        Value::Int32Tensor(t) => {
            let (shape, values) = (shape_of(&t), t.into_data());
            let data = match dtype {
                DType::I64 => narrow::<i64>(values),
                DType::U16 => narrow::<u16>(values),
                DType::U8 => narrow::<u8>(values),
                DType::I8 => narrow::<i8>(values),
                _ => Ok(TensorData::from(values)),
            };
            (shape, data?)
        }
        _ => return Err("made no tensor".into()),
    };
    if data.dtype() != dtype {
        return Err(format!("made {}, and the graph says {dtype}", data.dtype()));
    }
    Tensor::new(&shape, data).map_err(|e| e.to_string())
}

fn shape_of(tensor: &impl rten_tensor::Layout) -> Vec<usize> {
    (0..tensor.ndim()).map(|axis| tensor.size(axis)).collect()
}
