//! A network and everything that is needed to use it, in one file: an ONNX model whose metadata hold the
//! card and a checksum of the whole file.

use std::fmt::Write;
use std::path::Path;

use sha2::{Digest, Sha256};
use slicewise_graph::Graph;
use slicewise_imaging::whole::WholeFile;

use crate::{Card, SegmentError};

/// The metadata key of the card, as JSON.
const CARD: &str = "slicewise.card";
/// The metadata key of the SHA-256 of the file, in which the value itself is counted as zeros.
const CHECKSUM: &str = "slicewise.sha256";
/// Digits of a SHA-256.
const DIGITS: usize = 64;

/// A network with its card.
#[derive(Clone, PartialEq, Debug)]
pub struct Bundle {
    /// The network, from images `[N, C, H, W]` to scores `[N, outputs, H, W]`.
    pub graph: Graph,
    /// What is to be known about it.
    pub card: Card,
    /// The SHA-256 that the file holds of itself, by which the model is known in manifests.
    pub sha256: String,
}

/// What a network takes and gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Channels of the input.
    pub channels: usize,
    /// Rows of the input and the output.
    pub height: usize,
    /// Columns of the input and the output.
    pub width: usize,
    /// Scores for every pixel.
    pub outputs: usize,
}

/// What a network takes and gives; the error says why it is none that segments images.
pub fn interface(graph: &Graph) -> Result<Interface, String> {
    let shape = |ids: &[_], what: &str| match ids {
        [id] => {
            let dims = graph.node(*id).shape.dims().to_vec();
            match dims.as_slice() {
                [_, c, h, w] => match (c.fixed(), h.fixed(), w.fixed()) {
                    (Some(c), Some(h), Some(w)) => Ok([c, h, w]),
                    _ => Err(format!("the sizes of its {what} are open")),
                },
                _ => Err(format!(
                    "its {what} is {}, not of images",
                    graph.node(*id).shape
                )),
            }
        }
        ids => Err(format!("it has {} {what}s, not one", ids.len())),
    };
    let [channels, height, width] = shape(&graph.inputs(), "input")?;
    let [outputs, h, w] = shape(graph.outputs(), "output")?;
    if (h, w) != (height, width) {
        return Err(format!(
            "it makes {h}×{w} scores of {height}×{width} pixels"
        ));
    }
    Ok(Interface {
        channels,
        height,
        width,
        outputs,
    })
}

/// Writes a bundle; the file appears whole or not at all. Gives its SHA-256.
///
/// # Errors
/// If the card does not fit the network, or the file cannot be written.
pub fn write(path: &Path, graph: &Graph, card: &Card) -> Result<String, SegmentError> {
    let file = path.display().to_string();
    let bad = |problem| SegmentError::Bundle {
        file: file.clone(),
        problem,
        mend: "export the scores of a 2D segmentation network, and mend the card",
    };
    let i = interface(graph).map_err(bad)?;
    card.check(i.channels, i.outputs).map_err(bad)?;
    let mut graph = graph.clone();
    // A card has string keys and finite numbers.
    let text = serde_json::to_string(card).map_err(|e| bad(e.to_string()))?;
    graph.metadata.insert(CARD.into(), text);
    graph.metadata.insert(CHECKSUM.into(), "0".repeat(DIGITS));
    let mut bytes = slicewise_onnx::to_bytes(&graph)?;
    let at = checksum_place(&bytes).ok_or_else(|| bad("its checksum has no place".into()))?;
    let sha256 = digest(&bytes);
    bytes[at..at + DIGITS].copy_from_slice(sha256.as_bytes());
    WholeFile::write(path, &bytes)?;
    Ok(sha256)
}

/// Writes a network that was made of another one: a bundle where its metadata still hold the card, and an
/// ONNX file otherwise. Gives the SHA-256 of a bundle.
///
/// # Errors
/// If the card cannot be read or does not fit the network any more, or the file cannot be written.
pub fn write_derived(path: &Path, graph: &Graph) -> Result<Option<String>, SegmentError> {
    let Some(text) = graph.metadata.get(CARD) else {
        slicewise_onnx::write(graph, path)?;
        return Ok(None);
    };
    let card = serde_json::from_str(text).map_err(|e| SegmentError::Bundle {
        file: path.display().to_string(),
        problem: format!("the card of the model cannot be read: {e}"),
        mend: "export the model anew with: slicewise models export",
    })?;
    write(path, graph, &card).map(Some)
}

/// Reads a bundle and checks it against its checksum.
///
/// # Errors
/// If the file cannot be read, is an ONNX model without a card, was changed, or does not segment images.
pub fn read(path: &Path) -> Result<Bundle, SegmentError> {
    let file = path.display().to_string();
    let bad = |problem: String| SegmentError::Bundle {
        file: file.clone(),
        problem,
        mend: "export it anew with: slicewise models export",
    };
    let mut bytes = read_bytes(path)?;
    let claimed = take_checksum(&mut bytes);
    let Some((at, claimed)) = claimed else {
        // Tell a network without a card from what is no network at all.
        slicewise_onnx::from_bytes(&file, &bytes).map_err(|e| SegmentError::Bundle {
            // Its message begins with the file's name.
            problem: e.to_string().replacen(&format!("{file}: "), "", 1),
            file: file.clone(),
            mend: "give the file that models export wrote",
        })?;
        return Err(bad(
            "it is a network without classes and without an account of its input".into(),
        ));
    };
    let found = digest(&bytes);
    if found != claimed {
        return Err(bad(format!(
            "its checksum is {found}, it says {claimed}: it was damaged or changed"
        )));
    }
    bytes[at..at + DIGITS].copy_from_slice(claimed.as_bytes());
    let graph = slicewise_onnx::from_bytes(&file, &bytes)?;
    let text = graph.metadata.get(CARD);
    let text = text.ok_or_else(|| bad("it has no card".into()))?;
    let card: Card =
        serde_json::from_str(text).map_err(|e| bad(format!("its card cannot be read: {e}")))?;
    let i = interface(&graph).map_err(bad)?;
    card.check(i.channels, i.outputs).map_err(bad)?;
    Ok(Bundle {
        graph,
        card,
        sha256: found,
    })
}

/// Checks a file against the checksum that it holds of itself; false if it holds none.
///
/// # Errors
/// If it cannot be read, or was changed.
pub fn verify(path: &Path) -> Result<bool, SegmentError> {
    let mut bytes = read_bytes(path)?;
    let Some((_, claimed)) = take_checksum(&mut bytes) else {
        return Ok(false);
    };
    let found = digest(&bytes);
    match found == claimed {
        true => Ok(true),
        false => Err(SegmentError::Bundle {
            file: path.display().to_string(),
            problem: format!(
                "its checksum is {found}, it says {claimed}: it was damaged or changed"
            ),
            mend: "export it anew with: slicewise models export",
        }),
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, SegmentError> {
    let io = |e| slicewise_imaging::ImagingError::io(path, e);
    let metadata = std::fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(SegmentError::Bundle {
            file: path.display().to_string(),
            problem: "it is not a file".into(),
            mend: "name the file that models export wrote",
        });
    }
    Ok(std::fs::read(path).map_err(io)?)
}

/// Takes the checksum out of a file and leaves zeros in its place; the place and the checksum.
fn take_checksum(bytes: &mut [u8]) -> Option<(usize, String)> {
    let at = checksum_place(bytes)?;
    let digits = &mut bytes[at..at + DIGITS];
    let text = std::str::from_utf8(digits).ok()?.to_owned();
    digits.fill(b'0');
    Some((at, text))
}

/// Where the checksum's digits are: behind its key as a protobuf string. The last such place, because
/// metadata come after the weights.
fn checksum_place(bytes: &[u8]) -> Option<usize> {
    let mut key = CHECKSUM.as_bytes().to_vec();
    // Field 2, length-delimited, of 64 bytes.
    key.extend([0x12, DIGITS as u8]);
    let windows = bytes.windows(key.len());
    let at = windows.enumerate().rfind(|(_, w)| *w == key)?.0 + key.len();
    (at + DIGITS <= bytes.len()).then_some(at)
}

/// The SHA-256 of bytes in hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(DIGITS);
    for byte in Sha256::digest(bytes) {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use slicewise_graph::passes;
    use slicewise_zoo as zoo;

    pub(crate) fn small() -> (Graph, Card) {
        let options = zoo::Options::default().size(&[32, 64]).classes(5);
        let mut graph = zoo::build("mobilenetv4_conv_small+fpn", &options).unwrap();
        zoo::fill(&mut graph).unwrap();
        let graph = passes::simplify(&graph).unwrap();
        (graph, Card::of_outputs("mobilenetv4_conv_small+fpn", 5))
    }

    #[test]
    fn a_bundle_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.onnx");
        let (graph, card) = small();
        let sha256 = write(&path, &graph, &card).unwrap();
        let bundle = read(&path).unwrap();
        assert_eq!((bundle.card, bundle.sha256), (card, sha256));
        assert_eq!(bundle.graph.nodes(), graph.nodes());
        assert!(verify(&path).unwrap());
    }

    #[test]
    fn what_is_made_of_a_bundle_is_a_bundle_and_of_a_network_a_network() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["b.onnx", "c.onnx"].map(|name| folder.path().join(name));
        let (graph, card) = small();
        write(&first, &graph, &card).unwrap();
        let mut made = read(&first).unwrap().graph;
        made.name = "made of it".into();
        let sha256 = write_derived(&second, &made).unwrap();
        let bundle = read(&second).unwrap();
        assert_eq!((bundle.card, Some(bundle.sha256)), (card, sha256));
        assert_eq!(write_derived(&second, &graph).unwrap(), None);
        assert!(read(&second).is_err());
    }

    #[test]
    fn a_change_anywhere_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.onnx");
        let (graph, card) = small();
        write(&path, &graph, &card).unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in [good.len() / 3, good.len() / 2, good.len() - 100] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert!(read(&path).is_err(), "{at} of {}", good.len());
        }
        std::fs::write(&path, &good[..good.len() - 50]).unwrap();
        assert!(read(&path).is_err());
    }

    #[test]
    fn what_is_no_bundle_is_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.onnx");
        let (graph, card) = small();
        let cases: [(&dyn Fn(), &str); 4] = [
            (
                &|| slicewise_onnx::write(&graph, &path).unwrap(),
                "without classes",
            ),
            (
                &|| std::fs::write(&path, b"hello").unwrap(),
                "not an ONNX model",
            ),
            (&|| std::fs::remove_file(&path).unwrap(), "b.onnx"),
            (&|| std::fs::create_dir(&path).unwrap(), "not a file"),
        ];
        for (make, want) in cases {
            make();
            let got = read(&path).unwrap_err().to_string();
            assert!(got.contains(want), "{got}, not {want}");
        }
        let wrong = Card {
            first_label: 7,
            ..card
        };
        assert!(write(&folder.path().join("c.onnx"), &graph, &wrong).is_err());
    }
}
