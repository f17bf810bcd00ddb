//! Damaged files end in an error or in a graph, never in a panic.

mod common;

use std::sync::OnceLock;

use proptest::prelude::*;

/// Whole files of every kind: what is written here and what PyTorch's exporters write.
fn seeds() -> &'static [Vec<u8>] {
    static SEEDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let cases = common::cases();
        let own = cases
            .iter()
            .map(|c| slicewise_onnx::to_bytes(&c.graph).unwrap());
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let entries = std::fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().path());
        let files = entries.filter(|p| p.extension().is_some_and(|e| e == "onnx"));
        own.chain(files.map(|p| std::fs::read(p).unwrap()))
            .collect()
    })
}

/// A byte that is damaged: where, as a share of the file, and how.
#[derive(Clone, Debug)]
enum Damage {
    Flip(f64, u8),
    Set(f64, u8),
    Remove(f64, usize),
    Repeat(f64, usize),
    Truncate(f64),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = 0.0..1.0f64;
    let special = prop::sample::select(vec![0u8, 1, 2, 0x7f, 0x80, 0xff]);
    prop_oneof![
        4 => (at.clone(), 0u8..8).prop_map(|(at, bit)| Damage::Flip(at, 1 << bit)),
        4 => (at.clone(), special).prop_map(|(at, byte)| Damage::Set(at, byte)),
        1 => (at.clone(), 1usize..9).prop_map(|(at, n)| Damage::Remove(at, n)),
        1 => (at.clone(), 1usize..99).prop_map(|(at, n)| Damage::Repeat(at, n)),
        1 => at.prop_map(Damage::Truncate),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    let place = |at: f64| ((bytes.len() as f64 * at) as usize).min(bytes.len().saturating_sub(1));
    if bytes.is_empty() {
        return;
    }
    match *damage {
        Damage::Flip(at, bits) => {
            let i = place(at);
            bytes[i] ^= bits;
        }
        Damage::Set(at, byte) => {
            let i = place(at);
            bytes[i] = byte;
        }
        Damage::Remove(at, n) => {
            let i = place(at);
            bytes.drain(i..(i + n).min(bytes.len()));
        }
        Damage::Repeat(at, n) => {
            let i = place(at);
            let part = bytes[i..(i + n).min(bytes.len())].to_vec();
            bytes.splice(i..i, part);
        }
        Damage::Truncate(at) => bytes.truncate(place(at)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_never_panic(seed in 0usize..10_000, damages in prop::collection::vec(damage(), 1..6)) {
        let seeds = seeds();
        let mut bytes = seeds[seed % seeds.len()].clone();
        for d in &damages {
            apply(&mut bytes, d);
        }
        if let Err(error) = slicewise_onnx::from_bytes("damaged.onnx", &bytes) {
            prop_assert!(error.to_string().contains("damaged.onnx"), "{error}");
        }
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = slicewise_onnx::from_bytes("noise.onnx", &bytes);
    }
}

#[test]
fn a_file_cut_at_any_byte_is_an_error_or_a_whole_graph() {
    for seed in seeds().iter().filter(|s| s.len() < 2000).take(20) {
        for end in 0..seed.len() {
            let _ = slicewise_onnx::from_bytes("cut.onnx", &seed[..end]);
        }
    }
}
