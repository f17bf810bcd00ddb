//! Records as pictures and as one page that stands on its own.

mod interval;
mod row;
mod source;

pub use interval::{Interval, speed_up};
pub use row::Row;
pub(crate) use row::name;
pub use source::{Content, Source, SourceError, newest_record};
