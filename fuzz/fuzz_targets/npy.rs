//! No bytes make the `.npy` reader panic, overflow or allocate more than they hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(tensor) = slicewise_graph::npy::from_bytes(bytes) {
        // Booleans and small integers widen to four bytes at most.
        assert!(tensor.len() * tensor.dtype().bytes() <= 4 * bytes.len());
    }
});
