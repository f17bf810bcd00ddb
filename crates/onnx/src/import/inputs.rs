//! The values that a file asks for at run time.

use slicewise_graph::{DType, Dim, NodeId, Shape};

use super::{Importer, Result};
use crate::proto::tensor_proto::DataType;
use crate::proto::tensor_shape_proto::dimension;
use crate::proto::{ValueInfoProto, type_proto};

impl Importer<'_> {
    /// The sizes and the element type of a graph input.
    pub(super) fn input_type(&self, name: &str, input: &ValueInfoProto) -> Result<(Shape, DType)> {
        let fail = |problem: String| Err(self.malformed(format!("input '{name}' {problem}")));
        let Some(type_proto::Value::TensorType(t)) =
            input.r#type.as_ref().and_then(|t| t.value.as_ref())
        else {
            return fail("is not a tensor".to_owned());
        };
        let dtype = match t.elem_type.and_then(|c| DataType::try_from(c).ok()) {
            Some(DataType::Float) => DType::F32,
            Some(DataType::Uint8) => DType::U8,
            Some(DataType::Int8) => DType::I8,
            other => {
                let got = other.map_or("unknown", |d| d.as_str_name());
                return fail(format!(
                    "has elements of type {got}; export the model in float32"
                ));
            }
        };
        let Some(shape) = &t.shape else {
            return fail("has no shape; export the model with fixed sizes".to_owned());
        };
        let mut dims = Vec::with_capacity(shape.dim.len());
        for (i, d) in shape.dim.iter().enumerate() {
            dims.push(match &d.value {
                Some(dimension::Value::DimValue(n)) => match usize::try_from(*n) {
                    Ok(n) if n > 0 => Dim::Fixed(n),
                    _ => return fail(format!("has size {n} on axis {i}")),
                },
                _ if i == 0 => Dim::Batch,
                _ => {
                    return fail(format!(
                        "leaves axis {i} open; only the batch (axis 0) may be: export the model with fixed sizes"
                    ));
                }
            });
        }
        let shape: Shape = dims.into_iter().collect();
        if shape.elements().is_none_or(|n| n > isize::MAX as usize / 8) {
            return fail(format!(
                "claims the sizes {shape}, more than can be addressed"
            ));
        }
        Ok((shape, dtype))
    }

    /// Checks that an output that the file declares for every image is one: what is alike for all
    /// images is kept once.
    pub(super) fn check_output(&self, output: &ValueInfoProto, id: NodeId) -> Result<()> {
        let declared = |output: &ValueInfoProto| -> Option<bool> {
            let type_proto::Value::TensorType(t) = output.r#type.as_ref()?.value.as_ref()?;
            let first = t.shape.as_ref()?.dim.first()?.value.as_ref()?;
            Some(matches!(first, dimension::Value::DimParam(_)))
        };
        let open = |id: NodeId| self.shape(id).dims().contains(&Dim::Batch);
        let batched = self.graph.inputs().into_iter().any(open);
        if declared(output) == Some(true) && batched && !open(id) {
            let name = output.name.as_deref().unwrap_or_default();
            return Err(self.malformed(format!(
                "output '{name}' repeats one value for every image; export the model with a fixed batch"
            )));
        }
        Ok(())
    }

    /// Checks that all open batches have one name: they will take one value.
    pub(super) fn check_batch(&self, inputs: &[ValueInfoProto]) -> Result<()> {
        let batch = |input: &ValueInfoProto| -> Option<String> {
            let type_proto::Value::TensorType(t) = input.r#type.as_ref()?.value.as_ref()?;
            match t.shape.as_ref()?.dim.first()?.value.as_ref()? {
                dimension::Value::DimParam(name) if !name.is_empty() => Some(name.clone()),
                _ => None,
            }
        };
        let names: Vec<String> = inputs.iter().filter_map(batch).collect();
        match names.iter().find(|n| **n != names[0]) {
            Some(other) => Err(self.malformed(format!(
                "has inputs with two open batches, '{}' and '{other}'; they must be one",
                names[0]
            ))),
            None => Ok(()),
        }
    }
}
