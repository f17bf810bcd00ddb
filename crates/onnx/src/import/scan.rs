//! How many things a file holds, before memory is set aside for any of them.
//!
//! A message of two bytes may decode to a structure of hundreds, so a file of moderate size could ask
//! for far more memory than it has bytes. This counts what the decoder would make without making it.

/// The most messages and strings in one file: fifty times what the largest networks have.
const MOST_FIELDS: usize = 1_000_000;

/// The messages of `onnx.proto` that hold others.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    Function,
    /// Text, bytes or a message without messages in it.
    Leaf,
}

impl Kind {
    /// What the field `number` holds.
    fn field(self, number: u64) -> Kind {
        match (self, number) {
            (Kind::Model, 7) => Kind::Graph,
            (Kind::Model, 25) => Kind::Function,
            (Kind::Graph, 1) | (Kind::Function, 7) => Kind::Node,
            (Kind::Graph, 5) | (Kind::Attribute, 5) => Kind::Tensor,
            (Kind::Graph, 11 | 12) => Kind::ValueInfo,
            (Kind::Node, 5) | (Kind::Function, 11) => Kind::Attribute,
            (Kind::ValueInfo, 2) => Kind::Type,
            (Kind::Type, 1) => Kind::TensorType,
            (Kind::TensorType, 2) => Kind::Shape,
            _ => Kind::Leaf,
        }
    }
}

/// Checks that a model's fields are whole and not too many.
pub(super) fn check(model: &[u8]) -> Result<(), String> {
    let mut fields = 0;
    message(Kind::Model, model, &mut fields)
}

/// The nesting of [`Kind`]s has no cycle, so neither has this.
fn message(kind: Kind, mut bytes: &[u8], fields: &mut usize) -> Result<(), String> {
    let cut = || "is truncated or not an ONNX model".to_owned();
    while !bytes.is_empty() {
        let key = varint(&mut bytes).ok_or_else(cut)?;
        match key & 7 {
            0 => {
                varint(&mut bytes).ok_or_else(cut)?;
            }
            1 => {
                take(&mut bytes, 8).ok_or_else(cut)?;
            }
            5 => {
                take(&mut bytes, 4).ok_or_else(cut)?;
            }
            2 => {
                let length = varint(&mut bytes).ok_or_else(cut)?;
                let content = take(&mut bytes, length).ok_or_else(cut)?;
                *fields += 1;
                if *fields > MOST_FIELDS {
                    return Err(format!(
                        "holds more than {MOST_FIELDS} nodes, names and tensors"
                    ));
                }
                match kind.field(key >> 3) {
                    Kind::Leaf => {}
                    inner => message(inner, content, fields)?,
                }
            }
            other => {
                return Err(format!(
                    "is not an ONNX model: it has a field of wire type {other}"
                ));
            }
        }
    }
    Ok(())
}

fn take<'a>(bytes: &mut &'a [u8], n: u64) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(usize::try_from(n).ok()?)?;
    *bytes = tail;
    Some(head)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (&byte, tail) = bytes.split_first()?;
        *bytes = tail;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
