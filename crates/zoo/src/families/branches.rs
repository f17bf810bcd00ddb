//! Networks of parallel branches that deploy as plain convolutions: what RepVGG and MobileOne
//! share, timm's `ByobNet` of `RepVggBlock`s and `MobileOneBlock`s.

use slicewise_graph::{Conv, NodeId};

use super::Part;
use crate::Form;
use crate::net::{Built, Net};

/// The state-dict keys of a block's branches.
#[derive(Clone, Copy)]
pub(crate) enum Keys {
    /// `conv_1x1` and one `conv_kxk`.
    RepVgg,
    /// `conv_scale` and `conv_kxk.0` to `conv_kxk.{copies - 1}`.
    MobileOne { copies: usize },
}

impl Keys {
    fn pointwise(self) -> &'static str {
        match self {
            Keys::RepVgg => "conv_1x1",
            Keys::MobileOne { .. } => "conv_scale",
        }
    }

    fn full(self) -> Vec<String> {
        match self {
            Keys::RepVgg => vec!["conv_kxk".into()],
            Keys::MobileOne { copies } => (0..copies).map(|i| format!("conv_kxk.{i}")).collect(),
        }
    }
}

/// Convolutions of one input, each with batch norm, added up; a 1×1 beside a larger kernel, and
/// batch norm alone where the shape stays; then ReLU. Deployed, one convolution and ReLU.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    pub(crate) keys: Keys,
    pub(crate) width: usize,
    pub(crate) kernel: usize,
    pub(crate) depthwise: bool,
}

impl Block {
    fn build(self, net: &mut Net, name: &str, x: NodeId, stride: usize) -> Built {
        let sum = match net.form {
            Form::Train => self.branches(net, name, x, stride)?,
            Form::Deploy => {
                let conv = self.conv(net.channels(x), self.kernel, stride);
                net.conv(&format!("{name}.reparam_conv"), x, self.width, conv, true)?
            }
        };
        net.relu(sum)
    }

    fn branches(self, net: &mut Net, name: &str, x: NodeId, stride: usize) -> Built {
        let mut convs = Vec::new();
        if self.kernel > 1 {
            convs.push((self.keys.pointwise().to_owned(), 1));
        }
        convs.extend(self.keys.full().into_iter().map(|key| (key, self.kernel)));
        let mut branches = Vec::new();
        for (key, kernel) in convs {
            let conv = self.conv(net.channels(x), kernel, stride);
            let y = net.conv(&format!("{name}.{key}.conv"), x, self.width, conv, false)?;
            branches.push(net.batch_norm(&format!("{name}.{key}.bn"), y)?);
        }
        if stride == 1 && self.width == net.channels(x) {
            branches.push(net.batch_norm(&format!("{name}.identity"), x)?);
        }
        let mut sum = branches[0];
        for &branch in &branches[1..] {
            sum = net.add(sum, branch)?;
        }
        Ok(sum)
    }

    fn conv(self, channels: usize, kernel: usize, stride: usize) -> Conv {
        let groups = if self.depthwise { channels } else { 1 };
        let conv = Conv::new(2, kernel).stride(stride).pad(kernel / 2);
        conv.groups(groups)
    }
}

/// A stem at stride 2 and stages that each begin by halving the resolution.
pub(crate) fn network(
    net: &mut Net,
    x: NodeId,
    part: Part,
    stem: Block,
    stages: &[Vec<Block>],
) -> Built<Vec<NodeId>> {
    let mut x = stem.build(net, "stem", x, 2)?;
    let mut levels = vec![x];
    for (s, blocks) in stages.iter().enumerate() {
        let stage = part.child("stages", s);
        for (i, block) in blocks.iter().enumerate() {
            let stride = if i == 0 { 2 } else { 1 };
            x = block.build(net, &format!("{stage}.{i}"), x, stride)?;
        }
        levels.push(x);
    }
    match part {
        Part::Features => Ok(levels),
        Part::Classifier { classes } => {
            let x = net.global_mean(x, false)?;
            Ok(vec![net.linear("head.fc", x, classes, true)?])
        }
    }
}

#[cfg(test)]
mod tests {
    use slicewise_graph::{Graph, Op, passes, reference};

    use crate::{Form, Options, build, fill, fill_input};

    fn convolutions(graph: &Graph) -> usize {
        let nodes = graph.nodes().iter();
        nodes.filter(|n| matches!(n.op, Op::Conv(_))).count()
    }

    #[test]
    fn trained_branches_merge_into_the_convolutions_of_the_deployed_form() {
        let mut failures = Vec::new();
        for name in ["repvgg_a0", "mobileone_s0", "mobileone_s1+features"] {
            let options = Options::default().size(&[64, 32]);
            let mut trained = build(name, &options).expect("a model of the zoo");
            let deployed = build(name, &options.form(Form::Deploy)).expect("a model of the zoo");
            fill(&mut trained).expect("fixed sizes");
            let merged = passes::simplify(&trained).expect("weights are filled");
            if convolutions(&merged) != convolutions(&deployed) {
                let (got, want) = (convolutions(&merged), convolutions(&deployed));
                failures.push(format!("{name}: {got} convolutions, deployed {want}"));
            }
            let image = [fill_input(&[1, 3, 64, 32])];
            let run = |graph| reference::run(graph, &image).expect("f32 all through");
            for (a, b) in run(&trained).iter().zip(run(&merged)) {
                let (a, b) = (a.as_f32().expect("f32"), b.as_f32().expect("f32"));
                let largest = a.iter().fold(0f32, |m, v| m.max(v.abs()));
                let error = a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
                if error.is_nan() || error > 1e-5 * largest {
                    failures.push(format!("{name}: off by {error} of {largest}"));
                }
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    }
}
