//! An inverted bottleneck: a depthwise convolution with the pointwise ones around it, in bands of
//! rows, so that what lies between them never leaves the second cache.
//!
//! A task makes a band of rows of all output channels. For a group of the channels in the middle at
//! a time it expands the rows that their windows see, sweeps the windows over them, and adds the group's products to the sums of the projection, in the order in which one
//! long sum would take them up. At 512×512 the expanded map of MobileNetV2's second block is 25 MB,
//! which would be written to and read from memory; a band of 24 channels is 250 KB.
//!
//! Rows between bands are expanded twice: `K - STRIDE` of every `rows · STRIDE + K - STRIDE`.
//!
//! A depthwise convolution and the pointwise one after it alone, without an expansion, were tried
//! as well and lost: 1.05 to 1.08 of the time of the two on one thread (LCNet, MobileOne).

use slicewise_graph::Activation;

use crate::activation::{bounds, in_place};
use crate::conv::{Epilogue, pack};
use crate::depthwise::Weights;
use crate::isa::{Simd, Task};
use crate::shared::Shared;
use crate::tile::{Finish, Start, Tile};
use crate::window::Band;
use crate::{Buffer, Context, Geometry};

/// Channels of a group: three panels of eight, four of six.
const GROUP: usize = 24;
/// Elements of an expanded map that is worth keeping out of memory: 6 MB.
const EXPANDED: usize = 1536 * 1024;
/// Products for each of its elements, at most: with more, the time that the narrow tiles of a group
/// lose is longer than what memory takes.
const PRODUCTS: usize = 64;
/// Elements of scratch memory that a band should keep to: 384 KB of the second cache.
const SCRATCH: usize = 96 * 1024;

/// A pointwise convolution with its weights packed into panels of a tile's rows.
#[derive(Debug)]
struct Pointwise {
    input: usize,
    out: usize,
    rows: usize,
    /// Per panel `[input, rows]`.
    weights: Buffer,
    bias: Buffer,
}

/// The weights of one convolution of a [`Separable`].
#[derive(Clone, Copy, Debug)]
pub struct LayerWeights<'a> {
    /// `[O, I/groups, kernel…]`
    pub weight: &'a [f32],
    /// `[O]`
    pub bias: Option<&'a [f32]>,
    /// Applied to the sums.
    pub activation: Option<Activation>,
}

/// Pointwise, depthwise and pointwise convolution as one.
#[derive(Debug)]
pub struct Separable {
    geometry: Geometry,
    middle: usize,
    expand: Pointwise,
    expand_activation: Option<Activation>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    activation: Option<Activation>,
    project: Pointwise,
    /// Output rows of a band, and channels of a group.
    rows: usize,
    group: usize,
}

impl Pointwise {
    fn new(context: &Context, out: usize, layer: &LayerWeights<'_>) -> Self {
        let (rows, input) = (context.isa().tile().0, layer.weight.len() / out);
        assert_eq!(
            layer.weight.len(),
            out * input,
            "a weight per output and input"
        );
        let (weights, bias) = pack(layer.weight, layer.bias, 1, out, input, rows);
        Pointwise {
            input,
            out,
            rows,
            weights,
            bias,
        }
    }
}

impl Separable {
    /// Whether a depthwise convolution of this geometry can be the middle.
    pub fn fits(geometry: &Geometry) -> bool {
        crate::window::is_usual(geometry) && geometry.input[0] == 1
    }

    /// Whether it takes less time than its convolutions one by one. Measured on Zen 4 with two
    /// threads: MobileNetV2's blocks at 256 and 128 pixels take 0.49 to 0.70 of the time, at 64 and 32
    /// pixels 1.03 to 1.17; MobileNetV4-medium's at 128 pixels, with 68 products, 1.09, its others
    /// 1.08 to 1.3.
    pub fn pays(geometry: &Geometry, input: usize, middle: usize, out: usize) -> bool {
        let (before, after) = (geometry.input_area(), geometry.output_area());
        middle >= 2 * input
            && middle * before >= EXPANDED
            && input * before + out * after <= PRODUCTS * before
    }

    /// Packs the weights for `context`: of the expansion to `middle` channels, of the depthwise
    /// convolution of this geometry, and of the projection to `out`. `batch` is the usual number of
    /// images; it steers how the work is cut, not what is computed.
    ///
    /// # Panics
    /// If weights do not fit, or [`Separable::fits`] says no.
    pub fn new(
        context: &Context,
        geometry: Geometry,
        batch: usize,
        [expand, depthwise, project]: [LayerWeights<'_>; 3],
        out: usize,
    ) -> Self {
        assert!(Self::fits(&geometry), "a usual window");
        let middle = depthwise.weight.len() / geometry.taps();
        assert_eq!(
            depthwise.weight.len(),
            middle * geometry.taps(),
            "whole windows"
        );
        let bias = depthwise
            .bias
            .map_or_else(|| vec![0.0; middle], <[f32]>::to_vec);
        assert_eq!(bias.len(), middle, "a bias per channel");
        let project = Pointwise::new(context, out, &project);
        assert_eq!(project.input, middle, "channels of the projection");
        let group = GROUP.min(middle);
        let mut separable = Separable {
            geometry,
            middle,
            expand: Pointwise::new(context, middle, &expand),
            expand_activation: expand.activation,
            weight: depthwise.weight.to_vec(),
            bias,
            activation: depthwise.activation,
            project,
            rows: 1,
            group,
        };
        let height = geometry.output[1];
        // Enough bands for all threads, but not so many that most rows are expanded twice.
        let wanted = (2 * context.threads()).div_ceil(batch);
        let tallest = match context.threads() {
            1 => height,
            _ => height.div_ceil(wanted).max(2),
        };
        while separable.rows < tallest {
            separable.rows += 1;
            if separable.scratch(context).iter().sum::<usize>() > SCRATCH {
                separable.rows -= 1;
                break;
            }
        }
        // Bands of equal size leave no small one for the end.
        separable.rows = height.div_ceil(height.div_ceil(separable.rows));
        separable
    }

    /// Rows of the input that a band sees at most.
    fn seen(&self) -> usize {
        let g = &self.geometry;
        ((self.rows - 1) * g.stride[1] + g.kernel[1]).min(g.input[1])
    }

    /// Elements from one channel to the next of the expanded rows, and of the band's windows. The
    /// odd number of cache lines keeps channels from sharing places in the first cache.
    fn pitches(&self) -> (usize, usize) {
        let pitch = |n: usize| n.next_multiple_of(32) + 16;
        let g = &self.geometry;
        (
            pitch(self.seen() * g.input[2]),
            pitch(self.rows * g.output[2]),
        )
    }

    /// Elements of the packed input, the expanded rows, and the windows' results, with room for
    /// whole registers to be read past the last.
    fn scratch(&self, context: &Context) -> [usize; 3] {
        let (expanded, windows) = self.pitches();
        let width = tile_width(context);
        let columns = (self.seen() * self.geometry.input[2]).next_multiple_of(width);
        [
            columns * self.expand.input,
            self.group * expanded + width,
            self.group * windows + width,
        ]
    }

    /// Convolves `x` `[N, I, H, W]` into `y`.
    ///
    /// # Panics
    /// If a slice is not of that size.
    pub fn run(&self, context: &Context, x: &[f32], y: &mut [f32], epilogue: Epilogue<'_>) {
        let g = &self.geometry;
        let size = self.expand.input * g.input_area();
        let batch = x.len() / size;
        assert_eq!(x.len(), batch * size, "the input");
        assert_eq!(
            y.len(),
            batch * self.project.out * g.output_area(),
            "the output"
        );
        assert!(
            epilogue.residual.is_none_or(|r| r.len() == y.len()),
            "the residual's size"
        );
        let bands = g.output[1].div_ceil(self.rows);
        let sizes = self.scratch(context);
        let y = Shared::new(y);
        context.each(batch * bands, |i, scratch| {
            let scratch = scratch.floats(sizes.iter().sum());
            let (packed, rest) = scratch.split_at_mut(sizes[0]);
            let (expanded, windows) = rest.split_at_mut(sizes[1]);
            let (image, first) = (i / bands, i % bands * self.rows);
            let count = self.rows.min(g.output[1] - first);
            // The rows of the input that the band's windows see.
            let begin = (first * g.stride[1]) as isize - g.before[1];
            let end = begin + ((count - 1) * g.stride[1] + g.kernel[1]) as isize;
            let clip = |r: isize| usize::try_from(r).unwrap_or(0).min(g.input[1]);
            context.vectorize(Job {
                plan: self,
                x: &x[image * size..][..size],
                image,
                first,
                count,
                seen: clip(begin)..clip(end),
                packed,
                expanded,
                windows,
                y: &y,
                epilogue,
            });
        });
    }
}

fn tile_width(context: &Context) -> usize {
    context.isa().tile().1 * context.isa().lanes()
}

/// One band of one image, on one thread.
struct Job<'a> {
    plan: &'a Separable,
    x: &'a [f32],
    image: usize,
    /// Rows of the output, and of the input that they are made from.
    first: usize,
    count: usize,
    seen: std::ops::Range<usize>,
    packed: &'a mut [f32],
    expanded: &'a mut [f32],
    windows: &'a mut [f32],
    y: &'a Shared<'a, f32>,
    epilogue: Epilogue<'a>,
}

impl Task for Job<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let plan = self.plan;
        self.pack(s);
        for from in (0..plan.middle).step_by(plan.group) {
            let channels = plan.group.min(plan.middle - from);
            self.expand(s, from, channels);
            let g = &plan.geometry;
            match (g.kernel[1], g.stride[1]) {
                (3, 1) => self.sweep::<S, 3, 1>(s, from, channels),
                (5, 1) => self.sweep::<S, 5, 1>(s, from, channels),
                (7, 1) => self.sweep::<S, 7, 1>(s, from, channels),
                (9, 1) => self.sweep::<S, 9, 1>(s, from, channels),
                (3, 2) => self.sweep::<S, 3, 2>(s, from, channels),
                (5, 2) => self.sweep::<S, 5, 2>(s, from, channels),
                (7, 2) => self.sweep::<S, 7, 2>(s, from, channels),
                _ => self.sweep::<S, 9, 2>(s, from, channels),
            }
            self.project(s, from, channels);
        }
        if self.epilogue.bounds().is_none() {
            self.finish(s);
        }
    }
}

impl Job<'_> {
    /// Copies the rows seen into tiles' columns `[tile, channel, columns]`.
    #[inline(always)]
    fn pack<S: Simd>(&mut self, s: S) {
        let g = &self.plan.geometry;
        let width = S::COLUMNS * S::LANES;
        let total = self.seen.len() * g.input[2];
        let tiles = self.packed.chunks_exact_mut(width * self.plan.expand.input);
        for (i, tile) in tiles.enumerate().take(total.div_ceil(width)) {
            let columns = width.min(total - i * width);
            for (c, to) in tile.chunks_exact_mut(width).enumerate() {
                let at = c * g.input_area() + self.seen.start * g.input[2] + i * width;
                let from = &self.x[at..][..columns];
                for j in 0..S::COLUMNS {
                    let n = S::LANES.min(columns.saturating_sub(j * S::LANES));
                    // SAFETY: n elements of both, a whole register of `to`; none is read or
                    // written where the row has ended.
                    unsafe {
                        let from = from.as_ptr().wrapping_add(j * S::LANES);
                        let v = s.load_first(from, n);
                        s.store(to.as_mut_ptr().add(j * S::LANES), v);
                    }
                }
            }
        }
    }

    /// Makes some channels of the rows seen.
    #[inline(always)]
    fn expand<S: Simd>(&mut self, s: S, from: usize, channels: usize) {
        let (layer, activation) = (&self.plan.expand, self.plan.expand_activation);
        let pitch = self.plan.pitches().0;
        let width = S::COLUMNS * S::LANES;
        let total = self.seen.len() * self.plan.geometry.input[2];
        let cut = activation.map_or(Some(EVERYTHING), bounds);
        for (i, tile) in (0..total)
            .step_by(width)
            .zip(self.packed.chunks_exact(width * layer.input))
        {
            let sums = Sums {
                layer,
                channels: from..from + channels,
                depth: 0..layer.input,
                from_pitch: width,
                x: tile.as_ptr(),
                y: self.expanded[i..].as_mut_ptr(),
                columns: width.min(total - i),
                pitch,
                cut: cut.unwrap_or(EVERYTHING),
            };
            sums.run(s);
        }
        if let Some(f) = activation.filter(|_| cut.is_none()) {
            for plane in self.expanded.chunks_mut(pitch).take(channels) {
                in_place(s, f, &mut plane[..total]);
            }
        }
    }

    /// Sweeps the windows of some channels over the rows seen.
    #[inline(always)]
    fn sweep<S: Simd, const K: usize, const STRIDE: usize>(
        &mut self,
        s: S,
        from: usize,
        channels: usize,
    ) {
        let plan = self.plan;
        let g = &plan.geometry;
        let (expanded, windows) = plan.pitches();
        let cut = plan.activation.map_or(Some(EVERYTHING), bounds);
        let results = self.windows.chunks_mut(windows);
        for (c, y) in results.enumerate().take(channels) {
            s.vectorize(Band::<Weights<'_>, K, STRIDE> {
                window: Weights {
                    weight: &plan.weight,
                    bias: &plan.bias,
                    taps: K * K,
                },
                channel: from + c,
                g,
                x: &self.expanded[c * expanded..][..expanded],
                rows: self.seen.clone(),
                first: self.first,
                count: self.count,
                y: y.as_mut_ptr(),
                cut: cut.unwrap_or(EVERYTHING),
            });
            if let Some(f) = plan.activation.filter(|_| cut.is_none()) {
                let n = self.count * g.output[2];
                in_place(s, f, &mut y[..n]);
            }
        }
    }

    /// Where the band begins in channel `o` of the output.
    #[inline(always)]
    fn place(&self, o: usize) -> usize {
        let g = &self.plan.geometry;
        (self.image * self.plan.project.out + o) * g.output_area() + self.first * g.output[2]
    }

    /// Adds the products of some channels to the band's sums.
    #[inline(always)]
    fn project<S: Simd>(&mut self, s: S, from: usize, channels: usize) {
        let plan = self.plan;
        let width = S::COLUMNS * S::LANES;
        let total = self.count * plan.geometry.output[2];
        let last = from + channels == plan.middle;
        let cut = self.epilogue.bounds().filter(|_| last);
        for i in (0..total).step_by(width) {
            let sums = Sums {
                layer: &plan.project,
                channels: 0..plan.project.out,
                depth: from..from + channels,
                from_pitch: plan.pitches().1,
                x: self.windows[i..].as_ptr(),
                y: self.y.pointer(self.place(0) + i),
                columns: width.min(total - i),
                pitch: plan.geometry.output_area(),
                cut: cut.unwrap_or(EVERYTHING),
            };
            sums.run(s);
        }
    }

    /// Applies the epilogue to the band.
    #[inline(always)]
    fn finish<S: Simd>(&self, s: S) {
        let n = self.count * self.plan.geometry.output[2];
        for o in 0..self.plan.project.out {
            let at = self.place(o);
            // SAFETY: these rows are this task's alone.
            unsafe {
                let y = self.y.part(at, n);
                self.epilogue.finish(s, y.as_mut_ptr(), at, n);
            }
        }
    }
}

/// No cut.
const EVERYTHING: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);

/// Products of one tile's columns with panels of a pointwise convolution.
struct Sums<'a> {
    layer: &'a Pointwise,
    /// Channels made; they begin with a panel.
    channels: std::ops::Range<usize>,
    /// Channels that are summed; sums begin with the bias where these begin with zero.
    depth: std::ops::Range<usize>,
    /// Where columns lie, and elements from one channel to the next.
    x: *const f32,
    from_pitch: usize,
    /// The first channel made.
    y: *mut f32,
    columns: usize,
    pitch: usize,
    cut: (f32, f32),
}

impl Sums<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, s: S) {
        match (self.layer.rows, self.columns.div_ceil(S::LANES)) {
            (8, 3) if S::ROWS == 8 => self.panels::<S, 8, 3>(s),
            (8, 2) if S::ROWS == 8 => self.panels::<S, 8, 2>(s),
            (8, _) if S::ROWS == 8 => self.panels::<S, 8, 1>(s),
            (6, 2) if S::ROWS == 6 => self.panels::<S, 6, 2>(s),
            (6, _) if S::ROWS == 6 => self.panels::<S, 6, 1>(s),
            _ => unreachable!("panels are packed for the tile of the instruction set"),
        }
    }

    #[inline(always)]
    fn panels<S: Simd, const M: usize, const N: usize>(&self, s: S) {
        let layer = self.layer;
        for o in self.channels.clone().step_by(M) {
            let weights = &layer.weights.as_f32()[(o / M * layer.input + self.depth.start) * M..];
            let made = o - self.channels.start;
            s.vectorize(Tile::<_, M, N, true, false> {
                depth: self.depth.len(),
                weights: weights.as_ptr(),
                row: 0,
                offsets: self.from_pitch,
                // SAFETY: the caller has scratch memory for whole registers of all channels.
                x: std::array::from_fn(|j| unsafe { self.x.add(j * S::LANES) }),
                // SAFETY: these columns of these channels are in the output or scratch memory.
                y: std::array::from_fn(|j| unsafe { self.y.add(made * self.pitch + j * S::LANES) }),
                n: std::array::from_fn(|j| S::LANES.min(self.columns - j * S::LANES)),
                pitch: self.pitch,
                rows: M.min(self.channels.end - o),
                start: match self.depth.start {
                    0 => Start::Rows(layer.bias.as_f32()[o..].as_ptr()),
                    _ => Start::Sum,
                },
                finish: Finish {
                    range: self.cut,
                    ..Finish::nothing()
                },
                copy: std::ptr::null_mut(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use proptest::prelude::*;

    fn noise(n: usize, seed: usize) -> Vec<f32> {
        let value = |i: usize| ((i * 2_654_435_761 + seed * 40_503) % 2003) as f32 / 1000.0 - 1.0;
        (0..n).map(value).collect()
    }

    /// A pointwise convolution, one output after the other.
    fn pointwise(layer: &LayerWeights<'_>, area: usize, x: &[f32]) -> Vec<f32> {
        let out = layer.bias.map_or(0, <[f32]>::len);
        let input = layer.weight.len() / out;
        let mut y = Vec::new();
        for image in x.chunks_exact(input * area) {
            for o in 0..out {
                for i in 0..area {
                    let product =
                        |c: usize| f64::from(layer.weight[o * input + c] * image[c * area + i]);
                    let sum: f64 = (0..input).map(product).sum();
                    let sum = sum as f32 + layer.bias.map_or(0.0, |b| b[o]);
                    y.push(layer.activation.map_or(sum, |f| f.apply(sum)));
                }
            }
        }
        y
    }

    /// A depthwise convolution, one output after the other.
    fn depthwise(layer: &LayerWeights<'_>, g: &Geometry, x: &[f32]) -> Vec<f32> {
        let (bias, k) = (layer.bias.unwrap_or_default(), g.kernel[1]);
        let mut y = Vec::new();
        for (plane, x) in x.chunks_exact(g.input_area()).enumerate() {
            let c = plane % bias.len();
            for i in 0..g.output_area() {
                let mut sum = f64::from(bias[c]);
                for t in 0..k * k {
                    let at = |axis: usize, o: usize, t: usize| {
                        let at = (o * g.stride[axis] + t) as isize - g.before[axis];
                        usize::try_from(at).ok().filter(|at| *at < g.input[axis])
                    };
                    let row = at(1, i / g.output[2], t / k);
                    if let (Some(row), Some(column)) = (row, at(2, i % g.output[2], t % k)) {
                        let x = x[row * g.input[2] + column];
                        sum += f64::from(x * layer.weight[c * k * k + t]);
                    }
                }
                y.push(layer.activation.map_or(sum as f32, |f| f.apply(sum as f32)));
            }
        }
        y
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 100 }))]

        #[test]
        fn bands_of_a_bottleneck_equal_its_convolutions_one_by_one(
            kernel in prop::sample::select(vec![3usize, 5, 7, 9]),
            stride in 1usize..=2,
            size in [1usize..30, 1usize..60],
            pads in [0usize..4, 0usize..4],
            batch in 1usize..3,
            channels in [1usize..20, 1usize..60, 1usize..20],
            f in prop::sample::select(vec![None, Some(Activation::Relu6), Some(Activation::Silu)]),
            residual in prop::bool::ANY,
            seed in 0usize..1000,
        ) {
            prop_assume!((0..2).all(|i| size[i] + 2 * pads[i] >= kernel));
            let products = size[0] * size[1] * channels[1] * (channels[0] + channels[2] + kernel * kernel);
            prop_assume!(!crate::is_long_for_miri(products / 8));
            let out = |i: usize| (size[i] + 2 * pads[i] - kernel) / stride + 1;
            let g = Geometry {
                input: [1, size[0], size[1]],
                output: [1, out(0), out(1)],
                kernel: [1, kernel, kernel],
                stride: [1, stride, stride],
                dilation: [1; 3],
                before: [0, pads[0] as isize, pads[1] as isize],
                spread: [1; 3],
            };
            let [input, middle, last] = channels;
            let sizes = [middle * input, middle * g.taps(), last * middle];
            let weights: Vec<Vec<f32>> = (0..3).map(|i| noise(sizes[i], seed + i)).collect();
            let biases: Vec<Vec<f32>> = (0..3)
                .map(|i| noise([middle, middle, last][i], seed + 3 + i))
                .collect();
            let layers: [LayerWeights<'_>; 3] = std::array::from_fn(|i| LayerWeights {
                weight: &weights[i],
                bias: Some(&biases[i]),
                activation: f.filter(|_| i < 2),
            });
            let x = noise(batch * input * g.input_area(), seed + 6);
            let expanded = pointwise(&layers[0], g.input_area(), &x);
            let windows = depthwise(&layers[1], &g, &expanded);
            let mut want = pointwise(&layers[2], g.output_area(), &windows);
            let other = noise(want.len(), seed + 7);
            let mut epilogue = Epilogue { activation: f, ..Epilogue::default() };
            for w in &mut want {
                *w = f.map_or(*w, |f| f.apply(*w));
            }
            if residual {
                epilogue.residual = Some(&other);
                for (w, o) in want.iter_mut().zip(&other) {
                    *w += o;
                }
            }
            let range = want.iter().fold(1f32, |m, v| m.max(v.abs()));
            for isa in Isa::available() {
                let mut first: Option<Vec<f32>> = None;
                for &threads in crate::TEST_THREADS {
                    let context = Context::new(isa, threads);
                    let conv = Separable::new(&context, g, batch, layers, last);
                    let mut y = vec![f32::NAN; want.len()];
                    conv.run(&context, &x, &mut y, epilogue);
                    for (i, (y, want)) in y.iter().zip(&want).enumerate() {
                        let close = (y - want).abs() < 1e-5 * range;
                        prop_assert!(close, "{} of {i} is {y}, not {want}", isa.name());
                    }
                    let first = first.get_or_insert_with(|| y.clone());
                    prop_assert_eq!(&y, first, "{} threads", threads);
                }
            }
        }
    }
}
