//! Weights from safetensors files under the reference's state-dict names.

mod checkpoint;
mod matching;
mod names;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::File;
use std::io::{Cursor, Read, Seek};
use std::path::Path;

use slicewise_graph::{Graph, Tensor};

use crate::fill::parameter;
use crate::{Form, Options, ZooError, build};
use checkpoint::{Checkpoint, is_readable};
use matching::Matching;

/// What became of a file's tensors.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// How many parameters came from the file.
    pub matched: usize,
    /// The file's keys that the model has no use for: batch counters, the head of a classifier
    /// whose encoder was wanted, second names of one tensor.
    pub ignored: Vec<String>,
    /// Whether the file held an encoder and nothing for the decoder, which then keeps the weights
    /// it had, or the deterministic fill.
    pub encoder_only: bool,
}

/// Loads every parameter of a graph that [`build`] made from a file. The keys are those of the
/// reference's state dict; [`build_with_weights`] also chooses form and classes by the file.
///
/// Accepted as well: `module.` and `_orig_mod.` before or within keys, F16, BF16 and F64 elements,
/// nnU-Net's second names, and for a segmentation network a whole timm classifier or its
/// `features_only` part, of which the encoder is taken. Call it before passes that rename or
/// merge parameters.
///
/// # Errors
/// If the file cannot be read or does not fit the model; all differing keys are listed.
pub fn load_safetensors(graph: &mut Graph, file: &Path) -> Result<Loaded, ZooError> {
    load(graph, &mut open(file)?)
}

/// Builds a model as the file's tensors have it and loads them: in deployed form where the file
/// holds merged branches, whatever the options' form, and with the file's classes where the
/// options leave them open.
///
/// # Errors
/// As [`build`] and [`load_safetensors`].
pub fn build_with_weights(
    name: &str,
    options: &Options,
    file: &Path,
) -> Result<(Graph, Loaded), ZooError> {
    let mut checkpoint = open(file)?;
    let mut options = options.clone();
    let deployed = checkpoint.tensors().keys().any(|k| names::is_deployed(k));
    options.form = if deployed { Form::Deploy } else { Form::Train };
    if options.classes.is_none() {
        options.classes = classes(name, &options, &checkpoint)?;
    }
    let mut graph = build(name, &options)?;
    let loaded = load(&mut graph, &mut checkpoint)?;
    Ok((graph, loaded))
}

/// Reads a whole safetensors file as [`load_safetensors`] would, for no model: the entry for
/// fuzzing. Gives the number of tensors of a type that can be read.
///
/// # Errors
/// If it is damaged.
pub fn check_safetensors(bytes: &[u8]) -> Result<usize, ZooError> {
    let mut checkpoint = Checkpoint::open("the file", Cursor::new(bytes))?;
    let readable = checkpoint.tensors().iter();
    let readable = readable.filter(|(_, info)| is_readable(info.dtype));
    let keys: Vec<String> = readable.map(|(key, _)| key.clone()).collect();
    for key in &keys {
        checkpoint.read(key)?;
    }
    Ok(keys.len())
}

fn open(file: &Path) -> Result<Checkpoint<File>, ZooError> {
    let name = file.display().to_string();
    let opened = File::open(file).and_then(|f| {
        // Opening a folder succeeds, reading it gives a puzzling message.
        let is_file = f.metadata()?.is_file();
        let other = || std::io::Error::other("it is not a file");
        is_file.then_some(f).ok_or_else(other)
    });
    match opened {
        Ok(reader) => Checkpoint::open(&name, reader),
        Err(e) => Err(ZooError::File {
            file: name,
            problem: format!("cannot be opened: {e}"),
        }),
    }
}

fn load<R: Read + Seek>(
    graph: &mut Graph,
    checkpoint: &mut Checkpoint<R>,
) -> Result<Loaded, ZooError> {
    let matching = Matching::new(graph, checkpoint.tensors());
    if let Some(problems) = matching.problems() {
        return Err(ZooError::Weights {
            file: checkpoint.file().to_owned(),
            model: graph.name.clone(),
            problems,
        });
    }
    // A loaded tensor is shared, not copied, when it is kept.
    let kept: HashMap<String, Tensor> = graph
        .parameters()
        .filter(|(node, _)| !matching.sources.contains_key(&node.name))
        .filter_map(|(node, p)| Some((node.name.clone(), p.data.clone()?)))
        .collect();
    graph.load(|name, sizes| match matching.sources.get(name) {
        Some(key) => checkpoint.read(key),
        None => Ok(kept
            .get(name)
            .cloned()
            .unwrap_or_else(|| parameter(name, sizes))),
    })?;
    Ok(Loaded {
        matched: matching.sources.len(),
        ignored: matching.ignored,
        encoder_only: matching.encoder_only,
    })
}

/// The classes of the head in a file, if it has this model's head.
fn classes<R: Read + Seek>(
    name: &str,
    options: &Options,
    checkpoint: &Checkpoint<R>,
) -> Result<Option<usize>, ZooError> {
    // What changes with the classes is the head.
    let one = build(name, &options.clone().classes(1))?;
    let two = build(name, &options.clone().classes(2))?;
    let matching = Matching::new(&one, checkpoint.tensors());
    let mut pairs = one.parameters().zip(two.parameters());
    Ok(pairs.find_map(|((a, _), (b, _))| {
        let (a_sizes, b_sizes) = (a.shape.dims(), b.shape.dims());
        let axis = (0..a_sizes.len()).find(|&i| a_sizes[i] != b_sizes[i])?;
        let key = matching.sources.get(&a.name)?;
        checkpoint.tensors().get(key)?.shape.get(axis).copied()
    }))
}
