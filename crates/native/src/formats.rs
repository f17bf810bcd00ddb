//! In what form values are kept: as planes of floats, or as words of smaller numbers.

use std::collections::HashMap;

use slicewise_graph::{DType, Graph, NodeId, Op};
use slicewise_kernels::{Isa, IsaError, Packing, Quantization};

use crate::build::Step;
use crate::kernel::Kernel;

/// What a network computes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 32-bit floats; a quantized graph is computed to the letter, rounding by rounding.
    #[default]
    F32,
    /// Products of bf16 with sums in f32, where this CPU has such products and they are faster.
    Bf16,
    /// Integers where a graph is quantized: convolutions whose weights are i8 and whose inputs have
    /// steps. Additions and activations between them are computed in f32.
    Int8,
}

impl Precision {
    /// Those that this CPU computes in with instructions of its own; integers are exact on every CPU.
    ///
    /// # Errors
    /// If `SLICEWISE_ISA` names an instruction set that this CPU does not have.
    pub fn available() -> Result<Vec<Self>, IsaError> {
        let [_, bf16] = Isa::from_env()?.products_per_lane();
        Ok(match bf16 {
            1 => vec![Precision::F32, Precision::Int8],
            _ => vec![Precision::F32, Precision::Bf16, Precision::Int8],
        })
    }
}

/// The packing of each node's value; none for planes.
#[derive(Debug)]
pub(crate) struct Formats(Vec<Option<Packing>>);

impl Formats {
    /// Decides for every value that a packed convolution makes: words where all that read it read words.
    /// Tells the kernels.
    pub(crate) fn assign(
        graph: &Graph,
        steps: &mut [Step],
        quantized: &HashMap<NodeId, Quantization>,
    ) -> Self {
        let mut formats = vec![None; graph.nodes().len()];
        for step in steps.iter() {
            if let Kernel::Packed { conv, .. } = &step.kernel {
                formats[step.output.index()] = match conv.packing() {
                    Packing::Bf16 => Some(Packing::Bf16),
                    Packing::U8(_) => quantized.get(&step.output).copied().map(Packing::U8),
                };
            }
        }
        for step in steps.iter() {
            for input in &step.inputs {
                let format = &mut formats[input.index()];
                // Words of another packing are not read, whatever is made of them.
                let alike = |conv: Packing| format.is_some_and(|f| f.channels() == conv.channels());
                match &step.kernel {
                    Kernel::Packed { conv, .. } if alike(conv.packing()) => {}
                    _ => *format = None,
                }
            }
        }
        let reshaped = graph
            .nodes()
            .iter()
            .filter(|n| matches!(n.op, Op::Reshape { .. }));
        for id in graph
            .outputs()
            .iter()
            .chain(reshaped.flat_map(|n| n.inputs.first()))
        {
            formats[id.index()] = None;
        }
        for step in steps.iter_mut() {
            if let Kernel::Packed { words, .. } = &mut step.kernel {
                let input = |i: usize| step.inputs.get(i).and_then(|id| formats[id.index()]);
                (words.x, words.added) = (input(0), input(1));
                words.y = formats[step.output.index()];
            }
        }
        Formats(formats)
    }

    /// The type of a node's elements in memory.
    pub(crate) fn dtype(&self, graph: &Graph, id: NodeId) -> DType {
        match self.0[id.index()] {
            Some(_) => DType::I32,
            None => graph.node(id).dtype,
        }
    }

    /// What a node's value is called in profiles.
    pub(crate) fn name(&self, graph: &Graph, id: NodeId) -> String {
        match self.0[id.index()] {
            Some(Packing::Bf16) => "bf16".to_owned(),
            Some(Packing::U8(_)) => "u8".to_owned(),
            None => graph.node(id).dtype.to_string(),
        }
    }

    /// The sizes of a value's elements in memory.
    pub(crate) fn sizes(&self, id: NodeId, sizes: &[usize]) -> Vec<usize> {
        let mut sizes = sizes.to_vec();
        if let (Some(packing), Some(channels)) = (self.0[id.index()], sizes.get_mut(1)) {
            *channels = channels.div_ceil(packing.channels());
        }
        sizes
    }
}
