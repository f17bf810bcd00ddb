//! From the keys of a file to the keys of a model: what training tools add to names.

/// Endings of what is in state dicts but not needed to run a network.
const BOOKKEEPING: &[&str] = &["num_batches_tracked"];

/// Whether a key holds nothing that a network computes with.
pub(super) fn is_bookkeeping(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key);
    BOOKKEEPING.contains(&last)
}

/// A key without what `DataParallel` and `torch.compile` put before it.
pub(super) fn unwrapped(key: &str) -> String {
    let compiled = key.replace("_orig_mod.", "");
    let mut key = compiled.as_str();
    while let Some(inner) = key.strip_prefix("module.") {
        key = inner;
    }
    key.to_owned()
}

/// The first name of a parameter that nnU-Net registers under several: its decoder holds the
/// encoder as well, and every block lists its layers once more.
pub(super) fn without_alias(key: &str) -> Option<String> {
    let inner = key.strip_prefix("decoder.encoder.");
    let outer = inner.map(|rest| format!("encoder.{rest}"));
    let name = outer.as_deref().unwrap_or(key);
    let layers = name
        .replace(".all_modules.0.", ".conv.")
        .replace(".all_modules.1.", ".norm.");
    (layers != key).then_some(layers)
}

/// What timm's `features_only` wrappers may call a classifier's key: the same, `stages_0.blocks`
/// for `stages.0.blocks` where a sequence of modules is flattened, or `model.blocks`.
pub(super) fn wrapped(key: &str) -> [String; 3] {
    let flattened = key.replacen('.', "_", 1);
    [key.to_owned(), flattened, format!("model.{key}")]
}

/// Whether the file holds an encoder without the prefix that it has in a segmentation network.
pub(super) fn is_bare<'a>(mut keys: impl Iterator<Item = &'a String>) -> bool {
    !keys.any(|k| k.starts_with("encoder.") || k.starts_with("decoder."))
}

/// Whether a key belongs to a block whose branches were merged into one convolution.
pub(super) fn is_deployed(key: &str) -> bool {
    key.contains(".reparam_conv.")
}
