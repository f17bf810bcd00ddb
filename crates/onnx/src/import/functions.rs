//! Functions that a file defines itself, put in the place of their calls.

use std::collections::HashMap;

use prost::Message;

use crate::OnnxError;
use crate::proto::{AttributeProto, FunctionProto, NodeProto};

/// The most nodes that calls may grow to.
const MOST_NODES: usize = 200_000;

/// The most bytes of nodes that calls may copy; weights are not among them.
const MOST_BYTES: usize = 1 << 26;

/// How deep functions may call functions.
const DEEPEST: usize = 16;

/// The nodes with every call of a function of the file replaced by the function's nodes.
pub(super) fn inline(
    file: &str,
    nodes: Vec<NodeProto>,
    functions: &[FunctionProto],
) -> Result<Vec<NodeProto>, OnnxError> {
    if functions.is_empty() {
        return Ok(nodes);
    }
    let mut table = HashMap::new();
    for f in functions {
        table.insert(
            key(
                f.domain.as_deref(),
                f.name.as_deref(),
                f.overload.as_deref(),
            ),
            f,
        );
    }
    let mut inliner = Inliner {
        file,
        table,
        out: Vec::new(),
        calls: 0,
        bytes: 0,
    };
    for node in nodes {
        inliner.node(node, 0)?;
    }
    Ok(inliner.out)
}

type Key = (String, String, String);

fn key(domain: Option<&str>, name: Option<&str>, overload: Option<&str>) -> Key {
    let text = |s: Option<&str>| s.unwrap_or_default().to_owned();
    (text(domain), text(name), text(overload))
}

struct Inliner<'a> {
    file: &'a str,
    table: HashMap<Key, &'a FunctionProto>,
    out: Vec<NodeProto>,
    calls: usize,
    bytes: usize,
}

impl Inliner<'_> {
    fn node(&mut self, node: NodeProto, depth: usize) -> Result<(), OnnxError> {
        let key = key(
            node.domain.as_deref(),
            node.op_type.as_deref(),
            node.overload.as_deref(),
        );
        let Some(&function) = self.table.get(&key) else {
            self.out.push(node);
            return self.check(
                self.out.len() <= MOST_NODES,
                "grows to too many nodes by its functions",
            );
        };
        self.check(
            depth < DEEPEST,
            "has functions that call each other too deeply",
        )?;
        self.calls += 1;
        self.check(self.calls <= MOST_NODES, "calls its functions too often")?;
        let prefix = format!(
            "{}.{}",
            node.output.first().map_or("", String::as_str),
            self.calls
        );
        let mut names = HashMap::new();
        for (formals, actuals) in [
            (&function.input, &node.input),
            (&function.output, &node.output),
        ] {
            for (i, formal) in formals.iter().enumerate() {
                names.insert(formal.clone(), actuals.get(i).cloned().unwrap_or_default());
            }
        }
        for inner in &function.node {
            self.bytes = self.bytes.saturating_add(inner.encoded_len());
            self.check(self.bytes <= MOST_BYTES, "copies too much by its functions")?;
            let mut inner = inner.clone();
            for name in inner.input.iter_mut().chain(&mut inner.output) {
                if name.is_empty() {
                    continue;
                }
                let renamed = match names.get(name) {
                    Some(renamed) if !renamed.is_empty() || function.input.contains(name) => {
                        renamed.clone()
                    }
                    _ => {
                        let renamed = format!("{prefix}.{name}");
                        names.insert(name.clone(), renamed.clone());
                        renamed
                    }
                };
                self.bytes = self.bytes.saturating_add(renamed.len());
                *name = renamed;
            }
            inner.attribute =
                attributes(&inner.attribute, &node.attribute, &function.attribute_proto);
            inner.name = inner.name.map(|name| format!("{prefix}.{name}"));
            self.node(inner, depth + 1)?;
        }
        Ok(())
    }

    fn check(&self, holds: bool, problem: &str) -> Result<(), OnnxError> {
        if holds {
            return Ok(());
        }
        Err(OnnxError::Malformed {
            file: self.file.to_owned(),
            problem: problem.to_owned(),
        })
    }
}

/// A node's attributes, those that refer to the call's taken from there or from the defaults.
fn attributes(
    own: &[AttributeProto],
    given: &[AttributeProto],
    defaults: &[AttributeProto],
) -> Vec<AttributeProto> {
    let resolve = |a: &AttributeProto| match a.ref_attr_name.as_deref() {
        None | Some("") => Some(a.clone()),
        Some(wanted) => {
            let named = |list: &[AttributeProto]| {
                list.iter()
                    .find(|g| g.name.as_deref() == Some(wanted))
                    .cloned()
            };
            named(given).or_else(|| named(defaults)).map(|mut found| {
                found.name.clone_from(&a.name);
                found
            })
        }
    };
    own.iter().filter_map(resolve).collect()
}
