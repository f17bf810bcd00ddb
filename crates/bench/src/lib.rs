//! Benchmark suites, measurement rounds, statistics and records.
