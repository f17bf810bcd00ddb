//! Benchmarks that can be believed: what is measured (suites), how (interleaved rounds), what came
//! of it (statistics), and the record that holds all of it together with the machine it came from.
#![forbid(unsafe_code)]

pub mod accuracy;
mod arm;
pub mod campaign;
mod check;
pub mod compare;
pub mod conditions;
pub mod csv;
mod date;
pub mod json;
pub mod judge;
pub mod lab;
pub mod machine;
pub mod model;
pub mod plan;
pub mod profile;
pub mod program;
pub mod ranking;
pub mod recommend;
pub mod record;
pub mod report;
pub mod resume;
pub mod rounds;
pub mod scan;
#[cfg(test)]
mod schema;
pub mod shift;
pub mod statistics;
pub mod store;
mod suite;
pub mod table;
pub mod verdict;

pub use date::now_rfc3339;
pub use suite::Suite;
