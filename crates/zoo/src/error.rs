//! What can be wrong with a model's name, size or weights.

use slicewise_graph::GraphError;

/// Why a model could not be built or its weights not loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZooError {
    /// There is no such model.
    #[error("'{name}' is not a model{}; list them with: slicewise models list", did_you_mean(.near))]
    Unknown {
        /// The name given.
        name: String,
        /// The closest name there is.
        near: Option<String>,
    },
    /// The encoder lacks the levels that the decoder needs.
    #[error("{encoder} has no +{decoder}: {reason}")]
    NoDecoder {
        /// The encoder's name.
        encoder: String,
        /// The decoder's name.
        decoder: &'static str,
        /// What is missing.
        reason: String,
    },
    /// The options do not fit the model.
    #[error("{model}: {problem}")]
    Options {
        /// The model's name.
        model: String,
        /// What does not fit, and what would.
        problem: String,
    },
    /// The graph could not be built for that size.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A weights file could not be read.
    #[error("{file}: {problem}")]
    File {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A weights file does not hold this model.
    #[error("{file} does not fit {model}: {problems}")]
    Weights {
        /// The file.
        file: String,
        /// The model's name.
        model: String,
        /// All missing, unexpected and mis-shaped keys.
        problems: String,
    },
}

fn did_you_mean(near: &Option<String>) -> String {
    near.as_ref()
        .map(|n| format!(" (did you mean '{n}'?)"))
        .unwrap_or_default()
}
