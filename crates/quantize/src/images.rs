//! Calibration images: files of a folder, read one at a time.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use slicewise_graph::{DType, Graph, Shape, Tensor, npy, npy::NpyError};

use crate::QuantizeError;

/// Inputs to calibrate with, loaded when they are needed.
pub trait Images {
    /// How many there are.
    fn count(&self) -> usize;

    /// What messages call one of them.
    fn name(&self, index: usize) -> String;

    /// One input with a batch of one, `[1, C, spatial…]` f32, all values finite.
    ///
    /// # Errors
    /// If it cannot be read or does not fit the network.
    fn load(&self, index: usize) -> Result<Tensor, QuantizeError>;
}

/// The values that the darkest and the brightest pixel of a PNG stand for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PixelRange {
    /// The darkest.
    pub low: f32,
    /// The brightest.
    pub high: f32,
}

impl Default for PixelRange {
    fn default() -> Self {
        PixelRange {
            low: 0.0,
            high: 1.0,
        }
    }
}

impl FromStr for PixelRange {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let ends = text
            .split_once(':')
            .and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
        match ends {
            Some((low, high)) if f32::is_finite(low) && f32::is_finite(high) && low < high => {
                Ok(PixelRange { low, high })
            }
            _ => Err(format!("'{text}': write LOW:HIGH, as in 0:1 or -1:1")),
        }
    }
}

/// The images of a folder's `.npy` and `.png` files, in the order of their names. An `.npy` file
/// holds one image `[C, spatial…]` or several `[N, C, spatial…]`.
#[derive(Debug)]
pub struct Folder {
    /// The shape of one image, without a batch.
    want: Vec<usize>,
    pixels: PixelRange,
    /// Files and the index of the image in each, for files that hold several.
    images: Vec<(PathBuf, Option<usize>)>,
}

impl Folder {
    /// Lists a folder's images and checks their shapes; at most `limit` of them, spread evenly.
    ///
    /// # Errors
    /// If the folder cannot be read or holds no image, or one does not fit `graph`'s input.
    pub fn open(
        folder: &Path,
        graph: &Graph,
        limit: usize,
        pixels: PixelRange,
    ) -> Result<Self, QuantizeError> {
        let problem = |e: std::io::Error| QuantizeError::File {
            file: folder.display().to_string(),
            problem: e.to_string(),
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(problem)? {
            let path = entry.map_err(problem)?.path();
            let known = ["npy", "png"];
            let has = |e: &std::ffi::OsStr| known.iter().any(|k| e.eq_ignore_ascii_case(k));
            if path.is_file() && path.extension().is_some_and(has) {
                files.push(path);
            }
        }
        files.sort();
        let mut all = Folder {
            want: image_shape(graph)?,
            pixels,
            images: Vec::new(),
        };
        for file in files {
            all.list(file)?;
        }
        let found = all.images.len();
        if found == 0 || limit == 0 {
            return Err(QuantizeError::Empty {
                folder: folder.display().to_string(),
            });
        }
        if found > limit {
            let picked = (0..limit).map(|i| all.images[i * found / limit].clone());
            all.images = picked.collect();
        }
        Ok(all)
    }

    /// Adds the images of one file.
    fn list(&mut self, file: PathBuf) -> Result<(), QuantizeError> {
        if is_png(&file) {
            self.images.push((file, None));
            return Ok(());
        }
        let tensor = read_npy(&file)?;
        let shape = tensor.shape();
        if tensor.dtype() == DType::F32 && shape == self.want {
            self.images.push((file, None));
        } else if tensor.dtype() == DType::F32 && shape.get(1..) == Some(&self.want) {
            self.images
                .extend((0..shape[0]).map(|i| (file.clone(), Some(i))));
        } else {
            let got = format!("{} {shape:?}", tensor.dtype());
            return Err(self.misfit(file.display().to_string(), got));
        }
        Ok(())
    }

    fn misfit(&self, file: String, got: String) -> QuantizeError {
        QuantizeError::Shape {
            file,
            want: format!("f32 {:?}, or several of them in one array", self.want),
            got,
        }
    }

    fn png(&self, path: &Path) -> Result<Vec<f32>, QuantizeError> {
        let file = path.display().to_string();
        let failed = |problem: String| QuantizeError::File {
            file: file.clone(),
            problem,
        };
        let [channels, height, width] = self.want[..] else {
            return Err(failed(
                "the network takes volumes, this is a PNG; give .npy files".into(),
            ));
        };
        let reader = File::open(path).map_err(|e| failed(e.to_string()))?;
        let mut decoder = png::Decoder::new(BufReader::new(reader));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().map_err(|e| failed(e.to_string()))?;
        let info = reader.info();
        let (w, h) = (info.width as usize, info.height as usize);
        if (h, w) != (height, width) {
            return Err(self.misfit(file, format!("a PNG of {h}x{w} pixels")));
        }
        let (color, depth) = reader.output_color_type();
        let samples = color.samples();
        let colors = if samples >= 3 { 3 } else { 1 };
        if colors != 1 && colors != channels {
            let got = format!("a PNG of {colors} colours");
            return Err(self.misfit(file, got));
        }
        let size = reader.output_buffer_size();
        let mut bytes = vec![0; size.ok_or_else(|| failed("it is too large".into()))?];
        reader
            .next_frame(&mut bytes)
            .map_err(|e| failed(e.to_string()))?;
        let wide = depth == png::BitDepth::Sixteen;
        let span = self.pixels.high - self.pixels.low;
        let sample = |at: usize| {
            let level = match wide {
                true => f32::from(u16::from_be_bytes([bytes[2 * at], bytes[2 * at + 1]])) / 65535.0,
                false => f32::from(bytes[at]) / 255.0,
            };
            self.pixels.low + span * level
        };
        let plane = |c: usize| (0..h * w).map(move |p| p * samples + c.min(colors - 1));
        Ok((0..channels).flat_map(plane).map(sample).collect())
    }
}

impl Images for Folder {
    fn count(&self) -> usize {
        self.images.len()
    }

    fn name(&self, index: usize) -> String {
        let (file, part) = &self.images[index];
        match part {
            Some(part) => format!("{} [{part}]", file.display()),
            None => file.display().to_string(),
        }
    }

    fn load(&self, index: usize) -> Result<Tensor, QuantizeError> {
        let (path, part) = &self.images[index];
        let name = self.name(index);
        let data = if is_png(path) {
            self.png(path)?
        } else {
            let tensor = read_npy(path)?;
            let size = self.want.iter().product::<usize>();
            let begin = part.unwrap_or(0) * size;
            // The file may have changed since it was listed.
            let all = tensor.as_f32().and_then(|all| all.get(begin..begin + size));
            let got = || format!("{} {:?}", tensor.dtype(), tensor.shape());
            all.ok_or_else(|| self.misfit(name.clone(), got()))?
                .to_vec()
        };
        check_values(&name, &data)?;
        let shape = [&[1], &self.want[..]].concat();
        Ok(Tensor::new(&shape, data)?)
    }
}

/// Reproducible noise in place of images: every operator gets to see values, but not those of real
/// images, so nothing about accuracy follows.
#[derive(Debug)]
pub struct Synthetic {
    want: Vec<usize>,
    count: usize,
}

impl Synthetic {
    /// `count` images for `graph`.
    ///
    /// # Errors
    /// If the graph does not take one image.
    pub fn new(graph: &Graph, count: usize) -> Result<Self, QuantizeError> {
        let want = image_shape(graph)?;
        Ok(Synthetic { want, count })
    }
}

impl Images for Synthetic {
    fn count(&self) -> usize {
        self.count
    }

    fn name(&self, index: usize) -> String {
        format!("synthetic image {index}")
    }

    fn load(&self, index: usize) -> Result<Tensor, QuantizeError> {
        let shape = [&[1], &self.want[..]].concat();
        let mut state = 0x9E37_79B9_7F4A_7C15u64.wrapping_mul(index as u64 + 1);
        let row = self.want.last().copied().unwrap_or(1).max(1);
        let mut level = 0.0f32;
        Ok(Tensor::from_fn(&shape, |i| {
            // SplitMix64 (Steele et al. 2014).
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            let noise = (((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32) - 1.0;
            // Flat stretches with noise on them, as tissues are.
            if i.is_multiple_of(row.div_ceil(8)) {
                level = noise;
            }
            (0.8 * level + 0.2 * noise).clamp(-1.0, 1.0)
        }))
    }
}

/// The shape of one input without its batch.
fn image_shape(graph: &Graph) -> Result<Vec<usize>, QuantizeError> {
    let unsuitable = |problem: &str| QuantizeError::Unsuitable {
        graph: graph.name.clone(),
        problem: problem.into(),
    };
    let inputs = graph.inputs();
    let [input] = inputs[..] else {
        return Err(unsuitable(
            "calibration feeds one input, this network takes another number",
        ));
    };
    let node = graph.node(input);
    let dims = node.shape.dims().get(1..).unwrap_or_default().iter();
    let sizes: Shape = dims.copied().collect();
    match sizes.sizes() {
        Some(sizes) if !sizes.is_empty() && node.dtype == DType::F32 => Ok(sizes),
        _ => Err(unsuitable("calibration feeds [N, C, spatial] f32 alone")),
    }
}

fn is_png(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("png"))
}

fn read_npy(path: &Path) -> Result<Tensor, QuantizeError> {
    npy::read(path).map_err(|e| QuantizeError::File {
        file: path.display().to_string(),
        problem: match e {
            NpyError::Io { source, .. } => source.to_string(),
            NpyError::Format { problem, .. } => format!("not a readable .npy file: {problem}"),
            other => other.to_string(),
        },
    })
}

/// Values must be finite and not all alike.
fn check_values(file: &str, data: &[f32]) -> Result<(), QuantizeError> {
    let count = data.iter().filter(|v| !v.is_finite()).count();
    if count > 0 {
        return Err(QuantizeError::NotFinite {
            file: file.into(),
            count,
        });
    }
    match data {
        [first, rest @ ..] if data.len() > 1 && rest.iter().all(|v| v == first) => {
            Err(QuantizeError::Constant {
                file: file.into(),
                value: *first,
            })
        }
        _ => Ok(()),
    }
}
