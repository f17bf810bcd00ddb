//! A data set in memory: the attributes that were read, as little-endian bytes or as items.

use super::Fault;
use super::tag::Tag;

/// The value of an attribute.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Text, or little-endian numbers.
    Bytes(Vec<u8>),
    /// The items of a sequence.
    Items(Vec<DataSet>),
}

/// Attributes and their values. Only those of the dictionary in `tag` are kept.
#[derive(Clone, Default, Debug)]
pub(crate) struct DataSet {
    elements: Vec<(Tag, [u8; 2], Value)>,
}

impl DataSet {
    /// Adds an attribute. Of one that occurs twice the first is kept.
    pub(crate) fn insert(&mut self, tag: Tag, vr: [u8; 2], value: Value) {
        // Files are in the order of tags, so this appends.
        let at = self.elements.partition_point(|e| e.0 < tag);
        if self.elements.get(at).is_none_or(|e| e.0 != tag) {
            self.elements.insert(at, (tag, vr, value));
        }
    }

    /// An attribute with its value representation.
    pub(crate) fn get(&self, tag: Tag) -> Option<([u8; 2], &Value)> {
        let at = self.elements.binary_search_by_key(&tag, |e| e.0).ok()?;
        let (_, vr, value) = &self.elements[at];
        Some((*vr, value))
    }

    /// The attributes in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Tag, [u8; 2], &Value)> {
        self.elements
            .iter()
            .map(|(tag, vr, value)| (*tag, *vr, value))
    }

    /// The bytes of an attribute that is not a sequence.
    pub(crate) fn bytes(&self, tag: Tag) -> Option<&[u8]> {
        match self.get(tag)?.1 {
            Value::Bytes(bytes) => Some(bytes),
            Value::Items(_) => None,
        }
    }

    /// The items of a sequence; none if it is absent.
    pub(crate) fn items(&self, tag: Tag) -> &[DataSet] {
        match self.get(tag) {
            Some((_, Value::Items(items))) => items,
            _ => &[],
        }
    }

    /// The first item of a sequence.
    pub(crate) fn item(&self, tag: Tag) -> Option<&DataSet> {
        self.items(tag).first()
    }

    /// A text without its padding; nothing where it is absent or empty. Bytes beyond ASCII become `?`,
    /// which suits UIDs, codes and numbers; names for people are copied as bytes.
    pub(crate) fn text(&self, tag: Tag) -> Option<String> {
        let bytes = self.bytes(tag)?;
        let letter = |&b: &u8| if b.is_ascii() { b as char } else { '?' };
        let text: String = bytes.iter().map(letter).collect();
        let text = text.trim_matches([' ', '\0']);
        // Control characters would break the one line that a message is.
        let text: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        (!text.is_empty()).then_some(text)
    }

    /// The numbers of a decimal or integer string, or of binary floats; nothing where it is absent or empty.
    pub(crate) fn numbers(&self, tag: Tag) -> Result<Option<Vec<f64>>, Fault> {
        let Some((vr, Value::Bytes(bytes))) = self.get(tag) else {
            return Ok(None);
        };
        let numbers: Vec<f64> = match &vr {
            b"FD" => chunks(bytes, f64::from_le_bytes),
            b"FL" => chunks(bytes, |b| f32::from_le_bytes(b).into()),
            b"US" => chunks(bytes, |b| u16::from_le_bytes(b).into()),
            b"SS" => chunks(bytes, |b| i16::from_le_bytes(b).into()),
            b"UL" => chunks(bytes, |b| u32::from_le_bytes(b).into()),
            b"SL" => chunks(bytes, |b| i32::from_le_bytes(b).into()),
            _ => match self.text(tag) {
                None => return Ok(None),
                Some(text) => {
                    let number = |part: &str| part.trim().parse::<f64>().ok();
                    let numbers: Option<Vec<f64>> = text.split('\\').map(number).collect();
                    numbers
                        .ok_or_else(|| Fault::malformed(format!("{tag} is '{text}', no number")))?
                }
            },
        };
        if numbers.iter().any(|n| !n.is_finite()) {
            return Err(Fault::malformed(format!("{tag} is {numbers:?}")));
        }
        Ok((!numbers.is_empty()).then_some(numbers))
    }

    /// The first of the numbers of an attribute.
    pub(crate) fn number(&self, tag: Tag) -> Result<Option<f64>, Fault> {
        Ok(self.numbers(tag)?.map(|n| n[0]))
    }

    /// As many numbers as an attribute must have.
    pub(crate) fn vector<const N: usize>(&self, tag: Tag) -> Result<Option<[f64; N]>, Fault> {
        let Some(numbers) = self.numbers(tag)? else {
            return Ok(None);
        };
        let got = numbers.len();
        let vector = numbers.try_into();
        vector
            .map(Some)
            .map_err(|_| Fault::malformed(format!("{tag} has {got} numbers instead of {N}")))
    }

    /// A count or size.
    pub(crate) fn count(&self, tag: Tag) -> Result<Option<u32>, Fault> {
        match self.number(tag)? {
            None => Ok(None),
            Some(n) if n >= 0.0 && n <= f64::from(u32::MAX) && n.fract() == 0.0 => {
                Ok(Some(n as u32))
            }
            Some(n) => Err(Fault::malformed(format!("{tag} is {n}, not a count"))),
        }
    }
}

/// Little-endian numbers of `N` bytes; a rest is left out.
fn chunks<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    bytes.as_chunks().0.iter().map(|&c| number(c)).collect()
}
