//! Where an engine says that its time goes.

use slicewise_graph::Tensor;

use crate::EngineError;

/// A network that is run to see where its time goes.
pub trait Profiler: Send {
    /// Runs the network once. A run that is not `counted` only warms up.
    ///
    /// # Errors
    /// As [`crate::Session::run`].
    fn run(&mut self, inputs: &[Tensor], counted: bool) -> Result<(), EngineError>;

    /// What the counted runs took.
    ///
    /// # Errors
    /// If the engine's own account of its time cannot be read.
    fn finish(self: Box<Self>) -> Result<Profile, EngineError>;
}

/// The time that a network took, as a whole and by operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Each counted run from its call to its return, in ms.
    pub runs: Vec<f64>,
    /// What was executed, in order.
    pub operations: Vec<Operation>,
}

/// Something that an engine executes and times as one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Operation {
    /// The engine's name for it.
    pub name: String,
    /// The operators that it computes, as the engine calls them.
    pub operators: String,
    /// The kernel that computes it, where the engine says.
    pub kernel: Option<String>,
    /// Nodes of the graph that it computes, as far as they are known.
    pub nodes: Vec<String>,
    /// Type and shape of its result, where the engine says.
    pub output: Option<String>,
    /// Multiply-accumulates of the direct algorithm, where they are known.
    pub macs: Option<u64>,
    /// Bytes of its operands, weights and result, each counted once, where they are known.
    pub bytes: Option<u64>,
    /// Its times in the counted runs, in ms; where the engine states only a mean, one per visit.
    pub ms: Vec<f64>,
}

/// A node's name without what engines add to it: `conv1` of `conv1_nchwc` and `conv1/WithoutBiases`.
pub fn plain_name(name: &str) -> &str {
    const ADDED: [&str; 3] = ["_nchwc", "/WithoutBiases", "/MatMulAddFusion"];
    ADDED
        .iter()
        .fold(name, |name, added| name.strip_suffix(added).unwrap_or(name))
}

/// The names of the graph's node that an engine may mean by `name`, the likeliest first. The last is
/// that of a node which takes several operators in our ONNX files (`labels` of `labels.index`).
pub fn node_names(name: &str) -> impl Iterator<Item = &str> {
    let plain = plain_name(name);
    let whole = plain.rsplit_once('.').map(|(whole, _)| whole);
    [name, plain].into_iter().chain(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_engines_add_to_a_name_is_taken_away() {
        let cases: [(&str, &[&str]); 4] = [
            ("conv1", &["conv1", "conv1"]),
            ("bn/relu_nchwc", &["bn/relu_nchwc", "bn/relu"]),
            ("a.0/WithoutBiases", &["a.0/WithoutBiases", "a.0", "a"]),
            ("", &["", ""]),
        ];
        for (name, want) in cases {
            assert_eq!(node_names(name).collect::<Vec<_>>(), want, "{name}");
        }
    }
}
