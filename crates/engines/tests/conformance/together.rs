//! All cases as one network.

use slicewise_engines::{CompileOptions, Engine};
use slicewise_graph::{Graph, GraphError, NodeId, Op, reference};

use super::cases::Case;
use super::{difference, inputs};

/// The error of each case, relative to the range of its reference, where all of them are run at once.
pub(crate) fn run(engine: &dyn Engine, cases: &[Case]) -> Vec<Result<Option<f32>, String>> {
    let graphs: Result<Vec<Graph>, GraphError> = (cases.iter())
        .map(|case| case.graph.with_task(case.task)?.with_batch(case.batch))
        .collect();
    let run = || -> Result<Vec<Result<f32, String>>, String> {
        let graphs = graphs.map_err(|e| e.to_string())?;
        let all = join(&graphs).map_err(|e| e.to_string())?;
        let options = CompileOptions {
            threads: 2,
            ..CompileOptions::default()
        };
        let mut session = engine.compile(&all, &options).map_err(|e| e.to_string())?;
        let mut worst: Vec<Result<f32, String>> = vec![Ok(0.0); graphs.len()];
        for seed in [1, 2] {
            let given: Vec<_> = graphs.iter().map(|graph| inputs(graph, seed)).collect();
            let outputs = session.run(&given.concat()).map_err(|e| e.to_string())?;
            let mut outputs = outputs.iter();
            for ((graph, given), worst) in graphs.iter().zip(&given).zip(&mut worst) {
                for want in reference::run(graph, given).map_err(|e| e.to_string())? {
                    let got = outputs.next().ok_or("outputs are missing")?;
                    if let Ok(so_far) = worst {
                        *worst = difference(got, &want).map(|error| error.max(*so_far));
                    }
                }
            }
        }
        Ok(worst)
    };
    match run() {
        Ok(errors) => errors.into_iter().map(|e| e.map(Some)).collect(),
        Err(error) => vec![Err(error)],
    }
}

/// One graph of all nodes of `graphs`, with all their inputs and outputs in order.
fn join(graphs: &[Graph]) -> Result<Graph, GraphError> {
    let mut all = Graph::new("together");
    let mut outputs = Vec::new();
    for (i, graph) in graphs.iter().enumerate() {
        let mut ids: Vec<NodeId> = Vec::new();
        for node in graph.nodes() {
            let name = format!("case{i}.{}", node.name);
            ids.push(match &node.op {
                Op::Input => all.input(&name, node.shape.clone(), node.dtype)?,
                Op::Parameter(p) => {
                    let data = p.data.clone();
                    let data = data.ok_or_else(|| GraphError::NoData(node.name.clone()))?;
                    all.constant_tensor(&name, p.role, data)?
                }
                op => {
                    let inputs: Vec<NodeId> = node.inputs.iter().map(|n| ids[n.index()]).collect();
                    all.add(&name, op.clone(), &inputs)?
                }
            });
        }
        outputs.extend(graph.outputs().iter().map(|id| ids[id.index()]));
    }
    all.set_outputs(outputs);
    Ok(all)
}
