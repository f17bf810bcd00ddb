//! Arithmetic on raw slices: every kernel with its scalar reference, and the thread pool.
