//! Which tensor of a file each parameter of a model takes, and all that does not fit.

use std::collections::{BTreeMap, HashMap, HashSet};

use safetensors::tensor::TensorInfo;
use slicewise_graph::{Graph, Role};

use super::checkpoint::{READABLE, is_readable, one_line};
use super::names::{self, is_bare, unwrapped, without_alias, wrapped};
use crate::{Architecture, Form, Options, build, parse};

/// Keys that an error lists of each kind.
const LISTED: usize = 20;

/// The sizes of a model's parameters by state-dict key, in the graph's order.
type Wanted = Vec<(String, Vec<usize>)>;

/// A file's tensors assigned to a model's parameters.
#[derive(Default)]
pub(super) struct Matching {
    /// The file's key for each parameter's.
    pub(super) sources: HashMap<String, String>,
    /// The file's keys without use.
    pub(super) ignored: Vec<String>,
    /// Whether nothing is for the decoder, and need not be.
    pub(super) encoder_only: bool,
    missing: Vec<String>,
    unexpected: Vec<String>,
    misshaped: Vec<String>,
    unreadable: Vec<String>,
    ambiguous: Vec<String>,
}

impl Matching {
    /// Assigns the tensors of a file.
    pub(super) fn new(graph: &Graph, tensors: &BTreeMap<String, TensorInfo>) -> Self {
        let wanted = state_dict(graph);
        let names: HashSet<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
        let unwrapped: Vec<(&String, String)> =
            tensors.keys().map(|key| (key, unwrapped(key))).collect();
        let encoder = match parse(&graph.name) {
            Ok(Architecture::Features(e) | Architecture::Segmentation(e, _)) => Some(e),
            _ => None,
        };
        // A file of an encoder that stands alone: its keys lack the prefix.
        let bare = encoder.filter(|_| is_bare(unwrapped.iter().map(|(_, name)| name)));
        let mut matching = Matching {
            encoder_only: bare.is_some() && names.iter().any(|n| n.starts_with("decoder.")),
            ..Matching::default()
        };
        let head = bare.map_or_else(HashSet::new, |e| classifier_keys(e, tensors));
        // Second names last, so that they are dropped where the first is there.
        let (firsts, seconds): (Vec<_>, Vec<_>) = unwrapped
            .into_iter()
            .partition(|(_, name)| names.contains(name.as_str()) || without_alias(name).is_none());
        for (key, name) in firsts {
            let target = target(&names, &name, bare.is_some());
            if let Some(target) = target {
                matching.assign(target, key);
            } else if names::is_bookkeeping(&name) || head.contains(&name) {
                matching.ignored.push(key.clone());
            } else {
                matching.unexpected.push(one_line(key));
            }
        }
        for (key, name) in seconds {
            match without_alias(&name).and_then(|first| target(&names, &first, false)) {
                Some(first) if matching.sources.contains_key(&first) => {
                    matching.ignored.push(key.clone());
                }
                Some(first) => matching.assign(first, key),
                None => matching.unexpected.push(one_line(key)),
            }
        }
        matching.compare(&wanted, tensors);
        matching
    }

    fn assign(&mut self, target: String, key: &str) {
        if let Some(other) = self.sources.get(&target) {
            let (key, other) = (one_line(key), one_line(other));
            self.ambiguous.push(format!("{other} and {key}"));
            return;
        }
        self.sources.insert(target, key.to_owned());
    }

    /// Notes every parameter without a tensor of its shape.
    fn compare(&mut self, wanted: &Wanted, tensors: &BTreeMap<String, TensorInfo>) {
        for (name, sizes) in wanted {
            let Some(key) = self.sources.get(name) else {
                if !(self.encoder_only && name.starts_with("decoder.")) {
                    self.missing.push(name.clone());
                }
                continue;
            };
            let Some(info) = tensors.get(key) else {
                continue;
            };
            if info.shape != *sizes {
                let got = &info.shape;
                self.misshaped
                    .push(format!("{} {got:?} where {sizes:?} is due", one_line(key)));
            } else if !is_readable(info.dtype) {
                self.unreadable
                    .push(format!("{} {}", one_line(key), info.dtype));
            }
        }
    }

    /// All that does not fit, on one line; nothing if the file fits.
    pub(super) fn problems(&self) -> Option<String> {
        let unreadable = format!("not of {READABLE}");
        let kinds = [
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
            ("of another shape", &self.misshaped),
            (unreadable.as_str(), &self.unreadable),
            ("two keys of one parameter", &self.ambiguous),
        ];
        let lists: Vec<String> = kinds
            .iter()
            .filter(|(_, keys)| !keys.is_empty())
            .map(|(kind, keys)| format!("{} {kind}: {}", keys.len(), list(keys)))
            .collect();
        (!lists.is_empty()).then(|| lists.join("; "))
    }
}

/// The first keys and how many more there are.
fn list(keys: &[String]) -> String {
    let mut text = keys[..keys.len().min(LISTED)].join(", ");
    if keys.len() > LISTED {
        text.push_str(&format!(" and {} more", keys.len() - LISTED));
    }
    text
}

/// The parameter that a key of the file is for.
fn target(names: &HashSet<&str>, name: &str, bare: bool) -> Option<String> {
    let encoder = |key: &str| wrapped(key).map(|k| format!("encoder.{k}")).to_vec();
    let candidates = match name.strip_prefix("encoder.") {
        _ if bare => encoder(name),
        Some(inner) => encoder(inner),
        None => vec![name.to_owned()],
    };
    candidates.into_iter().find(|c| names.contains(c.as_str()))
}

/// The keys and sizes that a model's state dict must have.
fn state_dict(graph: &Graph) -> Wanted {
    graph
        .parameters()
        .filter(|(_, p)| p.role != Role::Constant)
        .map(|(node, _)| (node.name.clone(), node.shape.sizes().unwrap_or_default()))
        .collect()
}

/// The keys of an encoder's classifier, in the form that the file has: what may be left over when
/// its encoder alone is taken.
fn classifier_keys(encoder: &str, tensors: &BTreeMap<String, TensorInfo>) -> HashSet<String> {
    let deployed = tensors.keys().any(|k| names::is_deployed(k));
    let form = if deployed { Form::Deploy } else { Form::Train };
    build(encoder, &Options::default().form(form))
        .map(|graph| {
            state_dict(&graph)
                .into_iter()
                .map(|(name, _)| name)
                .collect()
        })
        .unwrap_or_default()
}
