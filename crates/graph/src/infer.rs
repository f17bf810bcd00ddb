//! The shape and type of what an operator makes, or the reason why its inputs do not fit.

use crate::{
    Binary, Conv, ConvTranspose, DType, Dim, GraphError, Node, Op, Pool, Reduce, ReshapeDim, Shape,
    Slice,
};

/// Works out the result of `op` on `inputs` for the node `name`.
pub(crate) fn infer(name: &str, op: &Op, inputs: &[&Node]) -> Result<(Shape, DType), GraphError> {
    Checker { name, op, inputs }.infer()
}

/// The number of inputs that an operator takes: least and most.
fn arity(op: &Op) -> (usize, usize) {
    match op {
        Op::Input | Op::Parameter(_) => (0, 0),
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Linear => (2, 3),
        Op::BatchNorm { .. } => (5, 5),
        Op::GroupNorm { .. } | Op::LayerNorm { .. } => (3, 3),
        Op::Quantize { .. } | Op::Dequantize { .. } => (3, 3),
        Op::MatMul | Op::Binary(_) => (2, 2),
        Op::Concat { .. } => (1, usize::MAX),
        Op::Pool(_)
        | Op::Activation(_)
        | Op::Resize(_)
        | Op::Softmax { .. }
        | Op::Reduce(_)
        | Op::Transpose { .. }
        | Op::Reshape { .. }
        | Op::Slice(_)
        | Op::Pad { .. }
        | Op::L2Normalize { .. }
        | Op::ArgMax { .. } => (1, 1),
    }
}

struct Checker<'a> {
    name: &'a str,
    op: &'a Op,
    inputs: &'a [&'a Node],
}

type Inferred = Result<(Shape, DType), GraphError>;

impl Checker<'_> {
    fn fail<T>(&self, problem: impl Into<String>) -> Result<T, GraphError> {
        let inputs: Vec<String> = self
            .inputs
            .iter()
            .map(|n| format!("{} {}", n.dtype, n.shape))
            .collect();
        Err(GraphError::Shape {
            node: self.name.to_owned(),
            op: self.op.name(),
            inputs: inputs.join(", "),
            problem: problem.into(),
        })
    }

    fn infer(&self) -> Inferred {
        let (least, most) = arity(self.op);
        if self.inputs.len() < least || self.inputs.len() > most {
            return self.fail(format!(
                "takes {least} to {most} inputs, got {}",
                self.inputs.len()
            ));
        }
        if !matches!(self.op, Op::Input | Op::Parameter(_)) {
            self.check_types()?;
        }
        let (shape, dtype) = self.shape()?;
        // Sizes come from files too: a product that overflows would wrap in every later step.
        let bytes = shape.elements().and_then(|n| n.checked_mul(dtype.bytes()));
        if bytes.is_none_or(|n| n > isize::MAX as usize) {
            return self.fail(format!("the result {shape} is too large to address"));
        }
        Ok((shape, dtype))
    }

    fn check_types(&self) -> Result<(), GraphError> {
        let (x, params) = self.inputs.split_first().expect("arity was checked");
        match self.op {
            // Moving elements works for every type.
            Op::Transpose { .. } | Op::Reshape { .. } | Op::Slice(_) | Op::Concat { .. } => {
                if let Some(p) = params.iter().find(|p| p.dtype != x.dtype) {
                    return self.fail(format!(
                        "all inputs must be {}, one is {}",
                        x.dtype, p.dtype
                    ));
                }
            }
            Op::Dequantize { .. } => {
                if !matches!(x.dtype, DType::U8 | DType::I8 | DType::I32) {
                    return self.fail("x must be u8, i8 or i32");
                }
                if params[0].dtype != DType::F32 || params[1].dtype != x.dtype {
                    return self.fail("the scale must be f32 and the zero point of x's type");
                }
            }
            Op::Quantize { .. } => {
                let zero = params[1].dtype;
                if x.dtype != DType::F32 || params[0].dtype != DType::F32 {
                    return self.fail("x and the scale must be f32");
                }
                if !matches!(zero, DType::U8 | DType::I8) {
                    return self.fail("the zero point must be u8 or i8");
                }
            }
            _ => {
                if let Some(other) = self.inputs.iter().find(|n| n.dtype != DType::F32) {
                    return self.fail(format!("works on f32, one input is {}", other.dtype));
                }
            }
        }
        Ok(())
    }

    fn shape(&self) -> Inferred {
        let x = match self.inputs.first() {
            Some(x) => &x.shape,
            None => return self.fail("inputs and parameters are not made by Graph::add"),
        };
        let same = Ok((x.clone(), DType::F32));
        match self.op {
            Op::Input | Op::Parameter(_) => self.fail("is not made by Graph::add"),
            Op::Conv(c) => self.conv(x, c),
            Op::ConvTranspose(c) => self.conv_transpose(x, c),
            Op::BatchNorm { .. } => {
                self.vectors(x, 1)?;
                same
            }
            Op::GroupNorm { groups, .. } => {
                self.vectors(x, 1)?;
                let channels = x[1].fixed().unwrap_or(0);
                if *groups == 0 || channels % groups != 0 {
                    return self.fail(format!("{groups} groups do not divide {channels} channels"));
                }
                same
            }
            Op::LayerNorm { axis, .. } => {
                self.vectors(x, *axis)?;
                same
            }
            Op::Linear => self.linear(x),
            Op::MatMul => self.matmul(x),
            Op::Pool(p) => self.pool(x, p),
            Op::Activation(_) => same,
            Op::Softmax { axis } | Op::L2Normalize { axis, .. } => {
                self.axis(x, *axis)?;
                same
            }
            Op::Binary(f) => self.binary(x, *f),
            Op::Concat { axis } => self.concat(x, *axis),
            Op::Resize(r) => {
                let spatial = self.spatial(x)?.len();
                if r.size.len() != spatial {
                    return self.fail(format!(
                        "has {} target sizes for {spatial} spatial axes",
                        r.size.len()
                    ));
                }
                if r.size.contains(&0) || r.scales.as_ref().is_some_and(|s| s.len() != spatial) {
                    return self.fail("needs a size above zero and a scale per spatial axis");
                }
                if matches!(r.mode, crate::ResizeMode::Cubic { .. }) && spatial != 2 {
                    return self.fail("cubic resampling works on images [N, C, H, W] alone");
                }
                let sizes = r.size.iter().map(|&n| Dim::Fixed(n));
                Ok((
                    x.dims()[..2].iter().copied().chain(sizes).collect(),
                    DType::F32,
                ))
            }
            Op::Reduce(r) => self.reduce(x, r),
            Op::Transpose { perm } => self.transpose(x, perm),
            Op::Reshape { dims } => self.reshape(x, dims),
            Op::Slice(s) => self.slice(x, s),
            Op::Pad { pads, .. } => self.pad(x, pads),
            Op::ArgMax { axis, dtype } => {
                let size = self.axis(x, *axis)?;
                let most = match dtype {
                    DType::U8 => 1 << 8,
                    DType::U16 => 1 << 16,
                    DType::I32 | DType::I64 => 1 << 31,
                    _ => return self.fail("labels are u8, u16, i32 or i64"),
                };
                if size == 0 || size > most {
                    return self.fail(format!("{size} classes do not fit {dtype} labels"));
                }
                let dims = x.dims().iter().enumerate();
                let kept = dims.filter(|(i, _)| i != axis).map(|(_, d)| *d);
                Ok((kept.collect(), *dtype))
            }
            Op::Quantize { axis } => {
                self.scales(x, *axis)?;
                Ok((x.clone(), self.inputs[2].dtype))
            }
            Op::Dequantize { axis } => {
                self.scales(x, *axis)?;
                same
            }
        }
    }

    /// The size of an axis that must exist and be fixed.
    fn axis(&self, x: &Shape, axis: usize) -> Result<usize, GraphError> {
        match x.dims().get(axis) {
            Some(Dim::Fixed(n)) => Ok(*n),
            Some(Dim::Batch) => self.fail(format!("axis {axis} is the open batch")),
            None => self.fail(format!("axis {axis} is not one of {}", x.rank())),
        }
    }

    /// The spatial sizes of `[N, C, spatial…]`.
    fn spatial(&self, x: &Shape) -> Result<Vec<usize>, GraphError> {
        if !(3..=5).contains(&x.rank()) {
            return self.fail("x must be [N, C] and one to three spatial axes");
        }
        (1..x.rank()).map(|i| self.axis(x, i)).skip(1).collect()
    }

    /// Checks that all inputs but the first are `[size of axis]`.
    fn vectors(&self, x: &Shape, axis: usize) -> Result<(), GraphError> {
        let want = Shape::new(&[self.axis(x, axis)?]);
        match self.inputs[1..].iter().find(|n| n.shape != want) {
            Some(n) => self.fail(format!(
                "'{}' must be {want} to fit axis {axis} of x",
                n.name
            )),
            None => Ok(()),
        }
    }

    /// Checks that scale and zero point are scalars or `[size of axis]`, and alike.
    fn scales(&self, x: &Shape, axis: usize) -> Result<(), GraphError> {
        let (scale, zero) = (&self.inputs[1].shape, &self.inputs[2].shape);
        let per_axis = x.dims().get(axis).map(|&d| Shape::from_iter([d]));
        let fits = scale.elements() == Some(1) || per_axis.as_ref() == Some(scale);
        if scale != zero || !fits {
            return self.fail(format!(
                "scale and zero point must be one value, or one per element of axis {axis}"
            ));
        }
        Ok(())
    }

    /// Checks bias `[channels]`, where there is one.
    fn bias(&self, channels: usize) -> Result<(), GraphError> {
        let want = Shape::new(&[channels]);
        match self.inputs.get(2) {
            Some(b) if b.shape != want => self.fail(format!("the bias must be {want}")),
            _ => Ok(()),
        }
    }

    /// Checks that the per-axis lists of a window fit `rank` spatial axes and hold no zero.
    fn window(&self, rank: usize, lists: &[&[usize]], pads: usize) -> Result<(), GraphError> {
        if lists.iter().any(|l| l.len() != rank) || pads != rank {
            return self.fail(format!(
                "kernel, stride, dilation and padding must each name {rank} axes"
            ));
        }
        if lists.iter().any(|l| l.contains(&0)) {
            return self.fail("kernel, stride and dilation must be above zero");
        }
        Ok(())
    }

    /// The number of window positions along one axis.
    fn positions(
        &self,
        size: usize,
        kernel: usize,
        stride: usize,
        dilation: usize,
        (before, after): (usize, usize),
    ) -> Result<usize, GraphError> {
        let span = (kernel - 1)
            .checked_mul(dilation)
            .and_then(|s| s.checked_add(1));
        let padded = size.checked_add(before).and_then(|s| s.checked_add(after));
        match (span, padded) {
            (Some(span), Some(padded)) if span <= padded => Ok((padded - span) / stride + 1),
            _ => self.fail(format!(
                "a window of {kernel} taps at dilation {dilation} does not fit a size of {size} \
                 padded by {before} and {after}"
            )),
        }
    }

    fn conv(&self, x: &Shape, c: &Conv) -> Inferred {
        let spatial = self.spatial(x)?;
        self.window(
            spatial.len(),
            &[&c.kernel, &c.stride, &c.dilation],
            c.pads.len(),
        )?;
        let channels = self.axis(x, 1)?;
        let weight = self.inputs[1].shape.sizes().unwrap_or_default();
        let groups = c.groups;
        let fits = groups > 0
            && channels % groups == 0
            && weight.len() == spatial.len() + 2
            && weight[0].is_multiple_of(groups)
            && weight[0] > 0
            && weight[1] == channels / groups
            && weight[2..] == c.kernel;
        if !fits {
            return self.fail(format!(
                "the weight must be [out, {channels} / {groups} groups, {:?}]",
                c.kernel
            ));
        }
        self.bias(weight[0])?;
        let mut dims = vec![x[0], Dim::Fixed(weight[0])];
        for (i, &size) in spatial.iter().enumerate() {
            let n = self.positions(size, c.kernel[i], c.stride[i], c.dilation[i], c.pads[i])?;
            dims.push(Dim::Fixed(n));
        }
        Ok((dims.into_iter().collect(), DType::F32))
    }

    fn conv_transpose(&self, x: &Shape, c: &ConvTranspose) -> Inferred {
        let spatial = self.spatial(x)?;
        self.window(
            spatial.len(),
            &[&c.kernel, &c.stride, &c.dilation],
            c.pads.len(),
        )?;
        let channels = self.axis(x, 1)?;
        let weight = self.inputs[1].shape.sizes().unwrap_or_default();
        let fits = c.groups > 0
            && c.output_padding.len() == spatial.len()
            && channels % c.groups == 0
            && weight.len() == spatial.len() + 2
            && weight[0] == channels
            && weight[1] > 0
            && weight[2..] == c.kernel;
        if !fits {
            return self.fail(format!(
                "the weight must be [{channels}, out / {} groups, {:?}]",
                c.groups, c.kernel
            ));
        }
        let out = weight[1].checked_mul(c.groups);
        let Some(out) = out else {
            return self.fail("has too many channels");
        };
        self.bias(out)?;
        let mut dims = vec![x[0], Dim::Fixed(out)];
        for (i, &size) in spatial.iter().enumerate() {
            let full = size
                .checked_sub(1)
                .and_then(|n| n.checked_mul(c.stride[i]))
                .and_then(|n| n.checked_add((c.kernel[i] - 1).checked_mul(c.dilation[i])? + 1))
                .and_then(|n| n.checked_add(c.output_padding[i]));
            let cut = c.pads[i].0.checked_add(c.pads[i].1);
            match (full, cut) {
                (Some(full), Some(cut)) if cut < full => dims.push(Dim::Fixed(full - cut)),
                _ => return self.fail(format!("padding cuts all of spatial axis {i} away")),
            }
        }
        Ok((dims.into_iter().collect(), DType::F32))
    }

    fn pool(&self, x: &Shape, p: &Pool) -> Inferred {
        let spatial = self.spatial(x)?;
        self.window(spatial.len(), &[&p.kernel, &p.stride], p.pads.len())?;
        let mut dims = vec![x[0], x[1]];
        for (i, &size) in spatial.iter().enumerate() {
            let (before, after) = p.pads[i];
            if before >= p.kernel[i] || after >= p.kernel[i] {
                return self.fail("padding must be smaller than the window");
            }
            self.positions(size, p.kernel[i], p.stride[i], 1, (before, after))?;
            let n = p.positions(size, p.kernel[i], p.stride[i], (before, after));
            dims.push(Dim::Fixed(n));
        }
        Ok((dims.into_iter().collect(), DType::F32))
    }

    fn linear(&self, x: &Shape) -> Inferred {
        let Some(last) = x.rank().checked_sub(1) else {
            return self.fail("x must have at least one axis");
        };
        let features = self.axis(x, last)?;
        let weight = self.inputs[1].shape.sizes().unwrap_or_default();
        if weight.len() != 2 || weight[1] != features {
            return self.fail(format!("the weight must be [out, {features}]"));
        }
        self.bias(weight[0])?;
        Ok((x.with_axis(last, weight[0]), DType::F32))
    }

    fn matmul(&self, a: &Shape) -> Inferred {
        let b = &self.inputs[1].shape;
        let (ra, rb) = (a.rank(), b.rank());
        if ra < 2 || rb < 2 || a[ra - 1] != b[rb - 2] {
            return self.fail("inner sizes differ: a must be [.., M, K] and b [.., K, N]");
        }
        let lead = |s: &Shape| -> Shape { s.dims()[..s.rank() - 2].iter().copied().collect() };
        match lead(a).broadcast(&lead(b)) {
            Some(batch) => {
                let mut dims = batch.dims().to_vec();
                dims.extend([a[ra - 2], b[rb - 1]]);
                Ok((dims.into_iter().collect(), DType::F32))
            }
            None => self.fail("the leading axes do not broadcast"),
        }
    }

    fn binary(&self, a: &Shape, _f: Binary) -> Inferred {
        match a.broadcast(&self.inputs[1].shape) {
            Some(shape) => Ok((shape, DType::F32)),
            None => self.fail("the shapes do not broadcast"),
        }
    }

    fn concat(&self, x: &Shape, axis: usize) -> Inferred {
        let mut total = 0usize;
        for input in self.inputs {
            let shape = &input.shape;
            if shape.rank() != x.rank() {
                return self.fail("all inputs must have the same number of axes");
            }
            let size = self.axis(shape, axis)?;
            if shape.with_axis(axis, 0) != x.with_axis(axis, 0) {
                return self.fail(format!("only axis {axis} may differ"));
            }
            total = match total.checked_add(size) {
                Some(total) => total,
                None => return self.fail("the joined axis is too large"),
            };
        }
        Ok((x.with_axis(axis, total), self.inputs[0].dtype))
    }

    fn reduce(&self, x: &Shape, r: &Reduce) -> Inferred {
        if r.axes.is_empty() || !r.axes.is_sorted_by(|a, b| a < b) {
            return self.fail("axes must be ascending and at least one");
        }
        for &axis in &r.axes {
            if self.axis(x, axis)? == 0 {
                return self.fail(format!("axis {axis} is empty"));
            }
        }
        let dims = x.dims().iter().enumerate();
        let shape = dims
            .filter_map(|(i, &d)| match (r.axes.contains(&i), r.keep_dims) {
                (false, _) => Some(d),
                (true, true) => Some(Dim::Fixed(1)),
                (true, false) => None,
            })
            .collect();
        Ok((shape, DType::F32))
    }

    fn transpose(&self, x: &Shape, perm: &[usize]) -> Inferred {
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..x.rank()) {
            return self.fail(format!(
                "{perm:?} is not a permutation of {} axes",
                x.rank()
            ));
        }
        Ok((perm.iter().map(|&i| x[i]).collect(), self.inputs[0].dtype))
    }

    fn reshape(&self, x: &Shape, dims: &[ReshapeDim]) -> Inferred {
        let mut out: Vec<Option<Dim>> = Vec::with_capacity(dims.len());
        for (i, d) in dims.iter().enumerate() {
            out.push(match d {
                ReshapeDim::Fixed(n) => Some(Dim::Fixed(*n)),
                ReshapeDim::Infer => None,
                ReshapeDim::Copy => match x.dims().get(i) {
                    Some(&d) => Some(d),
                    None => return self.fail(format!("x has no axis {i} to copy")),
                },
            });
        }
        let batches =
            |dims: &mut dyn Iterator<Item = Dim>| dims.filter(|d| *d == Dim::Batch).count();
        let (open_in, open_out) = (
            batches(&mut x.dims().iter().copied()),
            batches(&mut out.iter().flatten().copied()),
        );
        let inferred = out.iter().filter(|d| d.is_none()).count();
        if inferred > 1 {
            return self.fail("only one axis can be inferred");
        }
        let known: Shape = out.iter().flatten().copied().collect();
        let (Some(have), Some(known)) = (x.elements(), known.elements()) else {
            return self.fail("the sizes are too large");
        };
        // The open batch counts as one element on both sides; an inferred axis takes it over when
        // it is the only place left for it.
        let rest = match (open_in.checked_sub(open_out), inferred) {
            (Some(0), 1) if known > 0 && have % known == 0 => Some(Dim::Fixed(have / known)),
            (Some(1), 1) if known == have => Some(Dim::Batch),
            (Some(0), 0) if known == have => None,
            _ => return self.fail(format!("the elements do not fill {dims:?}")),
        };
        let shape = out.into_iter().map(|d| d.or(rest).unwrap_or(Dim::Fixed(1)));
        Ok((shape.collect(), self.inputs[0].dtype))
    }

    fn slice(&self, x: &Shape, s: &Slice) -> Inferred {
        let size = self.axis(x, s.axis)?;
        if s.step == 0 || s.start >= s.end || s.end > size {
            return self.fail(format!(
                "{}..{} by {} is not a selection from axis {} of size {size}",
                s.start, s.end, s.step, s.axis
            ));
        }
        let n = (s.end - s.start).div_ceil(s.step);
        Ok((x.with_axis(s.axis, n), self.inputs[0].dtype))
    }

    fn pad(&self, x: &Shape, pads: &[(usize, usize)]) -> Inferred {
        if pads.len() != x.rank() {
            return self.fail(format!("{} pads for {} axes", pads.len(), x.rank()));
        }
        let mut dims = Vec::with_capacity(x.rank());
        for (i, &(before, after)) in pads.iter().enumerate() {
            dims.push(match x[i] {
                d if before == 0 && after == 0 => d,
                Dim::Batch => return self.fail("the open batch cannot be padded"),
                Dim::Fixed(n) => match n.checked_add(before).and_then(|n| n.checked_add(after)) {
                    Some(n) => Dim::Fixed(n),
                    None => return self.fail("the padded size is too large"),
                },
            });
        }
        Ok((dims.into_iter().collect(), DType::F32))
    }
}
