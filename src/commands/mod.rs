//! One file per verb.

pub(crate) mod bench;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod engines;
pub(crate) mod kernels;
pub(crate) mod models;
pub(crate) mod profile;
pub(crate) mod recommend;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod segment;
pub(crate) mod trial;
