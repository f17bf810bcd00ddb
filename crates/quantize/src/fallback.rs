//! Layers put back to f32, the worst first, until the result agrees well enough.

use slicewise_graph::{Graph, NodeId, Tensor};

use crate::calibrate::observe;
use crate::{
    Agreement, Calibration, Compile, Images, Options, Placement, Progress, QuantizeError,
    Quantized,
    agreement::{decibels, power},
    compare, place, quantize,
};

/// Images that the layers' sensitivities are measured on.
const SENSITIVITY_IMAGES: usize = 4;

/// A graph quantized as far as its accuracy allows.
#[derive(Clone, Debug)]
pub struct Fallback {
    /// The graph.
    pub quantized: Quantized,
    /// What is quantized in it.
    pub placement: Placement,
    /// The options with the layers that stay in f32.
    pub options: Options,
    /// Every layer by name with the SQNR of the result in dB when it alone is quantized, worst first.
    pub sensitivity: Vec<(String, f64)>,
    /// How far the result agrees.
    pub agreement: Agreement,
}

/// The first `count` of a set of images.
struct First<'a> {
    images: &'a dyn Images,
    count: usize,
}

impl Images for First<'_> {
    fn count(&self) -> usize {
        self.count.min(self.images.count())
    }

    fn name(&self, index: usize) -> String {
        self.images.name(index)
    }

    fn load(&self, index: usize) -> Result<Tensor, QuantizeError> {
        self.images.load(index)
    }
}

/// Quantizes `graph` and puts as few layers back to f32 as it takes for at least `target` of the
/// foreground's labels to agree with f32 on `images`. Layers go in the order of what each alone does
/// to the result; how many is found by halving.
///
/// # Errors
/// If an image cannot be used, the engine fails, or the target is not reached although only the
/// last layer is left.
pub fn keep_accuracy(
    graph: &Graph,
    calibration: &Calibration,
    options: &Options,
    target: f64,
    images: &dyn Images,
    compile: &mut Compile<'_>,
    progress: &mut Progress<'_>,
) -> Result<Fallback, QuantizeError> {
    let mut search = Search {
        graph,
        calibration,
        options,
        images,
        compile,
    };
    let whole = search.with_kept(&[], progress)?;
    if whole.agreement.foreground >= target {
        return Ok(whole);
    }
    let sensitivity = search.sensitivity(progress)?;
    let names: Vec<&str> = sensitivity.iter().map(|(name, _)| name.as_str()).collect();
    // The fewest that suffice are more than `few` and at most `many`.
    let (mut few, mut many) = (0, names.len());
    let mut found = None;
    while many - few > 1 {
        let middle = (few + many) / 2;
        let tried = search.with_kept(&names[..middle], progress)?;
        if tried.agreement.foreground >= target {
            many = middle;
            found = Some(tried);
        } else {
            few = middle;
        }
    }
    match found {
        Some(found) => Ok(Fallback {
            sensitivity,
            ..found
        }),
        None => Err(QuantizeError::Unsuitable {
            graph: graph.name.clone(),
            problem: format!(
                "{:.4} of the foreground's labels agree with f32 when every layer is quantized, and putting \
                 back all but the last does not reach {target}; use f32 or bf16",
                whole.agreement.foreground
            ),
        }),
    }
}

fn values(tensor: &Tensor) -> &[f32] {
    tensor.as_f32().unwrap_or_default()
}

struct Search<'a, 'b> {
    graph: &'a Graph,
    calibration: &'a Calibration,
    options: &'a Options,
    images: &'a dyn Images,
    compile: &'a mut Compile<'b>,
}

impl Search<'_, '_> {
    /// The graph with some more layers in f32.
    fn with_kept(
        &mut self,
        names: &[&str],
        progress: &mut Progress<'_>,
    ) -> Result<Fallback, QuantizeError> {
        let mut options = self.options.clone();
        options.keep.extend(names.iter().map(|n| n.to_string()));
        let placement = place(self.graph, &options)?;
        let quantized = quantize(self.graph, &placement, self.calibration, &options)?;
        let compared = compare(
            self.graph,
            &quantized,
            &[],
            self.images,
            self.compile,
            progress,
        )?;
        Ok(Fallback {
            quantized,
            placement,
            options,
            sensitivity: Vec::new(),
            agreement: compared.agreement,
        })
    }

    /// What each layer alone does to the result, worst first.
    fn sensitivity(
        &mut self,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<(String, f64)>, QuantizeError> {
        let layers = place(self.graph, self.options)?.layers;
        let name = |id: NodeId| self.graph.node(id).name.clone();
        let names: Vec<String> = layers.iter().map(|l| name(l.node)).collect();
        let images = First {
            images: self.images,
            count: SENSITIVITY_IMAGES,
        };
        let mut floats = (self.compile)(self.graph).map_err(QuantizeError::Engine)?;
        let mut references = Vec::new();
        for index in 0..images.count() {
            references.push(observe(&mut floats, &images, index)?.swap_remove(0));
        }
        let mut result = Vec::new();
        for (done, name) in names.iter().enumerate() {
            progress("measuring each layer", done, names.len());
            let mut options = self.options.clone();
            options
                .keep
                .extend(names.iter().filter(|n| *n != name).cloned());
            let placement = place(self.graph, &options)?;
            let quantized = quantize(self.graph, &placement, self.calibration, &options)?;
            let mut run = (self.compile)(&quantized.graph).map_err(QuantizeError::Engine)?;
            let (mut signal, mut noise) = (0.0, 0.0);
            for (index, reference) in references.iter().enumerate() {
                let got = observe(&mut run, &images, index)?.swap_remove(0);
                let (s, n) = power(values(reference), values(&got));
                signal += s;
                noise += n;
            }
            result.push((name.clone(), decibels(signal, noise)));
        }
        progress("measuring each layer", names.len(), names.len());
        result.sort_by(|a, b| a.1.total_cmp(&b.1));
        Ok(result)
    }
}
