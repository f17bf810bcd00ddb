//! Convolutions and pools.

use slicewise_graph::{Conv, ConvTranspose, NodeId, Op, Pool, PoolKind, Reduce, ReduceKind};

use super::call::Call;
use super::value::Value;
use super::{Importer, Result};

impl Importer<'_> {
    /// The spatial sizes of a node `[N, C, spatial…]`.
    pub(super) fn spatial(&self, call: &Call, x: NodeId) -> Result<Vec<usize>> {
        let dims = self.shape(x).dims();
        let sizes: Option<Vec<usize>> = dims.iter().skip(2).map(|d| d.fixed()).collect();
        match sizes {
            Some(sizes) if (1..=3).contains(&sizes.len()) => Ok(sizes),
            _ => call.fail(format!(
                "its input {} must be [N, C] and one to three fixed spatial axes",
                self.shape(x)
            )),
        }
    }

    /// The kernel: as said, or as the weight has it.
    fn kernel(&self, call: &Call, weight: NodeId, rank: usize) -> Result<Vec<usize>> {
        let sizes = self.shape(weight).sizes().unwrap_or_default();
        if sizes.len() != rank + 2 {
            return call.fail(format!(
                "its weight {} does not fit {rank} spatial axes",
                self.shape(weight)
            ));
        }
        if call.attribute("kernel_shape").is_some()
            && call.sizes("kernel_shape", rank, 0)? != sizes[2..]
        {
            return call.fail(format!("kernel_shape differs from its weight {sizes:?}"));
        }
        Ok(sizes[2..].to_vec())
    }

    /// Weight and, where there is one, bias.
    fn operands(&mut self, call: &Call) -> Result<Vec<NodeId>> {
        let mut inputs = vec![self.node(call, 0)?, self.node(call, 1)?];
        if call.input(2).is_some() {
            inputs.push(self.node(call, 2)?);
        }
        Ok(inputs)
    }

    fn groups(call: &Call) -> Result<usize> {
        match usize::try_from(call.int("group", 1)) {
            Ok(groups) if groups > 0 => Ok(groups),
            _ => call.fail(format!("has {} groups", call.int("group", 1))),
        }
    }

    pub(super) fn conv(&mut self, call: &Call) -> Result<Value> {
        let inputs = self.operands(call)?;
        let spatial = self.spatial(call, inputs[0])?;
        let rank = spatial.len();
        let kernel = self.kernel(call, inputs[1], rank)?;
        let stride = call.sizes("strides", rank, 1)?;
        let dilation = call.sizes("dilations", rank, 1)?;
        let pads = window_pads(call, &spatial, &kernel, &stride, &dilation)?;
        let groups = Self::groups(call)?;
        let op = Op::Conv(Conv {
            kernel,
            stride,
            dilation,
            pads,
            groups,
        });
        self.add(call, op, &inputs).map(Value::Node)
    }

    pub(super) fn conv_transpose(&mut self, call: &Call) -> Result<Value> {
        let inputs = self.operands(call)?;
        let rank = self.spatial(call, inputs[0])?.len();
        let pad = call.string("auto_pad", "NOTSET");
        if !matches!(pad, "NOTSET" | "VALID") || call.attribute("output_shape").is_some() {
            return call.fail("auto_pad and output_shape are not supported, explicit pads are");
        }
        let op = Op::ConvTranspose(ConvTranspose {
            kernel: self.kernel(call, inputs[1], rank)?,
            stride: call.sizes("strides", rank, 1)?,
            dilation: call.sizes("dilations", rank, 1)?,
            pads: pairs(call.sizes("pads", 2 * rank, 0)?),
            output_padding: call.sizes("output_padding", rank, 0)?,
            groups: Self::groups(call)?,
        });
        self.add(call, op, &inputs).map(Value::Node)
    }

    pub(super) fn pool(&mut self, call: &Call) -> Result<Value> {
        let x = self.node(call, 0)?;
        let spatial = self.spatial(call, x)?;
        let rank = spatial.len();
        if call.attribute("kernel_shape").is_none() {
            return call.fail("has no kernel_shape");
        }
        let kernel = call.sizes("kernel_shape", rank, 0)?;
        let stride = call.sizes("strides", rank, 1)?;
        let dilation = call.sizes("dilations", rank, 1)?;
        if dilation.iter().any(|&d| d != 1) {
            return call.fail("dilated pools are not supported");
        }
        let pads = window_pads(call, &spatial, &kernel, &stride, &dilation)?;
        let kind = match call.op {
            "MaxPool" => PoolKind::Max,
            _ => PoolKind::Average {
                count_include_pad: call.flag("count_include_pad", false),
            },
        };
        let ceil_mode = call.flag("ceil_mode", false);
        let op = Op::Pool(Pool {
            kind,
            kernel,
            stride,
            pads,
            ceil_mode,
        });
        self.add(call, op, &[x]).map(Value::Node)
    }

    pub(super) fn global_pool(&mut self, call: &Call) -> Result<Value> {
        let x = self.node(call, 0)?;
        let rank = self.spatial(call, x)?.len();
        let kind = match call.op {
            "GlobalMaxPool" => ReduceKind::Max,
            _ => ReduceKind::Mean,
        };
        let axes = (2..rank + 2).collect();
        let op = Op::Reduce(Reduce {
            kind,
            axes,
            keep_dims: true,
        });
        self.add(call, op, &[x]).map(Value::Node)
    }
}

/// ONNX lists all beginnings, then all ends.
fn pairs(pads: Vec<usize>) -> Vec<(usize, usize)> {
    let (before, after) = pads.split_at(pads.len() / 2);
    before.iter().copied().zip(after.iter().copied()).collect()
}

/// The padding of a window, worked out where the file asks for it by name.
fn window_pads(
    call: &Call,
    spatial: &[usize],
    kernel: &[usize],
    stride: &[usize],
    dilation: &[usize],
) -> Result<Vec<(usize, usize)>> {
    let rank = spatial.len();
    let auto = call.string("auto_pad", "NOTSET");
    if auto == "NOTSET" {
        return Ok(pairs(call.sizes("pads", 2 * rank, 0)?));
    }
    if auto == "VALID" {
        return Ok(vec![(0, 0); rank]);
    }
    if !matches!(auto, "SAME_UPPER" | "SAME_LOWER") {
        return call.fail(format!("auto_pad {auto} is not supported"));
    }
    let pad = |i: usize| -> Option<(usize, usize)> {
        let outputs = spatial[i]
            .checked_add(stride[i].checked_sub(1)?)?
            .checked_div(stride[i])?;
        let span = kernel[i]
            .checked_sub(1)?
            .checked_mul(dilation[i])?
            .checked_add(1)?;
        let reach = outputs
            .checked_sub(1)?
            .checked_mul(stride[i])?
            .checked_add(span)?;
        let total = reach.saturating_sub(spatial[i]);
        let (small, large) = (total / 2, total - total / 2);
        Some(if auto == "SAME_UPPER" {
            (small, large)
        } else {
            (large, small)
        })
    };
    match (0..rank).map(pad).collect() {
        Some(pads) => Ok(pads),
        None => call.fail("has a kernel or stride that no padding fits"),
    }
}
