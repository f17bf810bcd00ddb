//! The 3D networks that slicewise is compared with.

mod nnunet;
mod stunet;

use slicewise_graph::{Activation, Conv, NodeId};

use crate::net::{Built, Net};

/// All volumetric networks, in the order that they are listed in.
pub(crate) const ALL: &[Volumetric] = &[
    nnunet::TOTALSEGMENTATOR,
    stunet::SMALL,
    stunet::BASE,
    stunet::LARGE,
    stunet::HUGE,
];

/// A 3D segmentation network.
pub(crate) struct Volumetric {
    pub(crate) name: &'static str,
    /// What every spatial size must be divisible by: the stride of the coarsest level.
    pub(crate) multiple: usize,
    /// Builds it on a volume `[N, 1, D, H, W]`: class scores of the same size.
    pub(crate) build: fn(net: &mut Net, x: NodeId, classes: usize) -> Built,
}

impl Volumetric {
    /// Why the network cannot take a volume of `size`, if it cannot.
    pub(crate) fn refuses(&self, size: &[usize]) -> Option<String> {
        let multiple = self.multiple;
        let fits = |&n: &usize| n > 0 && n % multiple == 0;
        let join = |sizes: Vec<String>| sizes.join("x");
        (!size.iter().all(fits)).then(|| {
            let got = join(size.iter().map(usize::to_string).collect());
            let next = |n: &usize| n.div_ceil(multiple).max(1).saturating_mul(multiple);
            let near = join(size.iter().map(|n| next(n).to_string()).collect());
            format!(
                "every spatial size must be a multiple of {multiple}, got {got}; the next is {near}"
            )
        })
    }
}

/// Instance norm, as both networks use it: a group norm of one channel a group.
fn instance_norm(net: &mut Net, name: &str, x: NodeId) -> Built {
    let channels = net.channels(x);
    net.group_norm(name, x, channels, 1e-5)
}

fn leaky_relu(net: &mut Net, x: NodeId) -> Built {
    net.act(Activation::LeakyRelu { slope: 0.01 }, x)
}

/// A 3×3×3 convolution that keeps the size, or divides it by `stride`.
fn conv3(stride: usize) -> Conv {
    Conv::new(3, 3).pad(1).stride(stride)
}

#[cfg(test)]
mod tests {
    use crate::{Options, build};

    #[test]
    fn sizes_that_do_not_halve_five_times_are_refused_by_name() {
        for name in ["totalsegmentator", "stunet_s"] {
            for size in [[100, 128, 64], [128, 128, 0], [16, 32, 32]] {
                let error = build(name, &Options::default().size(&size)).unwrap_err();
                let text = error.to_string();
                assert!(text.contains("a multiple of 32"), "{name} {size:?}: {text}");
            }
            let near = build(name, &Options::default().size(&[100, 128, 1])).unwrap_err();
            assert!(near.to_string().ends_with("128x128x32"), "{near}");
            build(name, &Options::default().size(&[32, 64, 96])).unwrap();
        }
    }
}
