//! Which algorithm computes a convolution.
//!
//! What may be used ([`candidates`]) is kept apart from what is fastest ([`cost`]), so that a
//! benchmark can time every candidate of a layer and compare with the choice.

use slicewise_kernels::{Convolution, Geometry, Isa, WinogradTile};

/// How far results may be from the definition's, for speed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Accuracy {
    /// What is about as exact as summing in single precision: Winograd's smallest tiles, those of
    /// convolutions with a stride, or none.
    Strict,
    /// Tiles of 4×4 and, in volumes, 2×4×4: twice the rounding error of a direct convolution.
    #[default]
    Default,
    /// Also tiles of 4×4×4: twice that once more.
    Fast,
}

/// A convolution as far as its speed depends on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layer {
    /// Sizes, taps, strides, padding.
    pub geometry: Geometry,
    /// Images.
    pub batch: usize,
    /// Groups of channels.
    pub groups: usize,
    /// Input channels.
    pub channels: usize,
    /// Output channels.
    pub out: usize,
}

/// A way to compute a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Every product of the definition: [`slicewise_kernels::Convolution`].
    Direct,
    /// Fewer products of transformed tiles: [`slicewise_kernels::Winograd`].
    Winograd(WinogradTile),
}

const TILES: [WinogradTile; 5] = [
    WinogradTile { depth: 1, plane: 2 },
    WinogradTile { depth: 1, plane: 4 },
    WinogradTile { depth: 2, plane: 2 },
    WinogradTile { depth: 2, plane: 4 },
    WinogradTile { depth: 4, plane: 4 },
];

/// The algorithms that compute `layer`.
pub fn candidates(layer: &Layer) -> Vec<Algorithm> {
    let fitting = TILES.into_iter().filter(|t| t.fits(&layer.geometry));
    std::iter::once(Algorithm::Direct)
        .chain(fitting.map(Algorithm::Winograd))
        .collect()
}

/// The part of the peak that products of transformed tiles reach, direct convolutions, and those of
/// groups of channels with AVX2: 0.5 to 0.75 on Zen 3, for groups of 16 to 48 channels.
const PRODUCTS: f64 = 0.92;
const DIRECT: f64 = 0.85;
const GROUPED_AVX2: f64 = 0.75;

/// What `layer` takes, in multiply-adds of a register at the machine's peak.
pub fn cost(isa: Isa, layer: &Layer, algorithm: Algorithm) -> f64 {
    let g = &layer.geometry;
    let lanes = isa.lanes();
    let [depth, height, width] = g.output;
    let (channels, out) = (layer.channels as f64, layer.out as f64);
    match algorithm {
        Algorithm::Direct => {
            let group = layer.out / layer.groups.max(1);
            // Copying an element into a register takes about as long as 16 channels' products.
            let (registers, copy) = match Convolution::gathers(isa, g, group) {
                true => (
                    (depth * height * width).div_ceil(lanes),
                    16.0 / group as f64,
                ),
                false => (depth * height * width.div_ceil(lanes), 0.0),
            };
            let per_register = g.taps() as f64 * channels * out / layer.groups as f64;
            let reached = match layer.groups > 1 && isa.lanes() == 8 {
                true => GROUPED_AVX2,
                false => DIRECT,
            };
            (registers * layer.batch) as f64 * per_register * (1.0 + copy) / reached
        }
        Algorithm::Winograd(tile) => {
            // Rows of tiles are made of whole registers of pixels.
            let runs = depth.div_ceil(tile.depth) * height.div_ceil(tile.plane);
            let runs = runs * width.div_ceil(lanes) * layer.batch;
            let vectors = runs.div_ceil(tile.plane);
            let products = tile.products(g) as f64 * channels * out / layer.groups as f64;
            let (input, output) = tile.transforms(g);
            vectors as f64 * (products / PRODUCTS + input * channels + output * out)
        }
    }
}

/// The same for products of small numbers, `per_lane` to a lane of a register.
pub(crate) fn packed_cost(isa: Isa, layer: &Layer, per_lane: usize) -> f64 {
    let [depth, height, width] = layer.geometry.flattened().output;
    let registers = depth * height * width.div_ceil(isa.lanes()) * layer.batch;
    let channels = (layer.channels / layer.groups).next_multiple_of(per_lane);
    let products = layer.geometry.taps() * channels * layer.out / per_lane;
    // 0.93 to 0.97 of the peak are reached; a result costs some 12 instructions more.
    registers as f64 * (products as f64 + 12.0 * layer.out as f64) / 0.95
}

impl Accuracy {
    /// Whether an algorithm is accurate enough for `layer`.
    pub fn allows(self, layer: &Layer, algorithm: Algorithm) -> bool {
        let Algorithm::Winograd(tile) = algorithm else {
            return true;
        };
        match self {
            Accuracy::Strict => tile.plane == 2 || layer.geometry.stride[2] == 2,
            Accuracy::Default => tile.depth < 4,
            Accuracy::Fast => true,
        }
    }
}

/// The algorithm for `layer` with the least cost among those that are accurate enough.
pub fn choose(isa: Isa, layer: &Layer, accuracy: Accuracy) -> Algorithm {
    let allowed = candidates(layer)
        .into_iter()
        .filter(|a| accuracy.allows(layer, *a));
    let best = allowed.min_by(|a, b| cost(isa, layer, *a).total_cmp(&cost(isa, layer, *b)));
    best.unwrap_or(Algorithm::Direct)
}
