//! Which operation of the leading engine another engine's operation belongs to.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use slicewise_engines::{node_names, plain_name};

use super::{Counterpart, OperationTime};

/// How a counterpart was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Found {
    /// Both compute a node of the same name.
    Name,
    /// The name is the engine's own, but its neighbours leave only one place for it.
    Place,
}

/// The counterpart of each of `others` among `lead`.
pub(super) fn counterparts(
    lead: &[OperationTime],
    others: &[OperationTime],
) -> Vec<Option<Counterpart>> {
    let mut by_node: HashMap<&str, usize> = HashMap::new();
    for (i, operation) in lead.iter().enumerate() {
        for node in &operation.nodes {
            by_node.entry(node).or_insert(i);
            by_node.entry(plain_name(node)).or_insert(i);
        }
    }
    let by_name = |operation: &OperationTime| {
        let names = operation.nodes.iter().flat_map(|node| node_names(node));
        names
            .into_iter()
            .find_map(|name| by_node.get(name).copied())
    };
    let named: Vec<Option<usize>> = others.iter().map(by_name).collect();
    let mut taken = vec![false; lead.len()];
    for &i in named.iter().flatten() {
        taken[i] = true;
    }
    let place = |at: usize| {
        // A change of layout is nothing that the leading engine does anywhere.
        if others[at].operators.contains("Reorder") {
            return None;
        }
        let before = named[..at].iter().rev().flatten().next();
        let after = named[at..].iter().flatten().next();
        if before.is_some() && before == after {
            return before.copied();
        }
        let range = before.map_or(0, |i| i + 1)..after.map_or(lead.len(), |&i| i);
        let mut free = range.filter(|&i| !taken[i]);
        free.next().filter(|_| free.next().is_none())
    };
    (named.iter().enumerate())
        .map(|(at, name)| {
            let (operation, found) = match name {
                Some(i) => (*i, Found::Name),
                None => (place(at)?, Found::Place),
            };
            Some(Counterpart { operation, found })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(operators: &str, nodes: &str) -> OperationTime {
        OperationTime {
            operators: operators.into(),
            nodes: nodes.split(' ').map(str::to_owned).collect(),
            ..OperationTime::default()
        }
    }

    #[test]
    fn operations_are_matched_by_name_and_else_by_place() {
        let lead = [
            operation("Conv+Relu", "conv1 bn1/relu"),
            operation("MaxPool", "pool"),
            operation("ConvTranspose", "up"),
            operation("Concat", "up/concat"),
            operation("Resize+ArgMax", "head/resize labels"),
        ];
        let others = [
            (operation("Reorder", "x_to_conv1"), None),
            (operation("Conv", "bn1/relu_nchwc"), Some((0, Found::Name))),
            (operation("ReorderOutput", "ReorderOutput"), None),
            (operation("MaxPool", "pool_nchwc"), Some((1, Found::Name))),
            (
                operation("ConvolutionBackpropData", "ConvolutionBackpropData_330"),
                Some((2, Found::Place)),
            ),
            (operation("Concat", "up/concat"), Some((3, Found::Name))),
            (
                operation("Upsample", "head/resize_nchwc"),
                Some((4, Found::Name)),
            ),
            (operation("TopK", "TopK_1"), Some((4, Found::Place))),
            (operation("ArgMax", "labels.index"), Some((4, Found::Name))),
        ];
        let (operations, want): (Vec<_>, Vec<_>) = others.into_iter().unzip();
        let got = counterparts(&lead, &operations);
        let got: Vec<_> = got
            .iter()
            .map(|c| c.map(|c| (c.operation, c.found)))
            .collect();
        assert_eq!(got, want);
    }

    #[test]
    fn an_operation_with_two_free_places_has_no_counterpart() {
        let lead = ["a", "b", "c", "d"].map(|n| operation("Conv", n));
        let others = [
            operation("Conv", "a"),
            operation("Mystery", "m"),
            operation("Conv", "d"),
        ];
        assert_eq!(counterparts(&lead, &others)[1], None);
    }
}
