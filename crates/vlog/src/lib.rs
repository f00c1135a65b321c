#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod append;
mod beside;
mod collect;
mod compressed;
mod copied;
mod dead_set;
mod death_list;
mod deaths;
mod entries;
mod error;
mod fields;
mod file_name;
mod finish;
mod header;
mod hint;
mod log;
mod manifest;
mod map;
mod noted;
mod options;
mod read_ahead;
mod record;
mod recovery;
mod restore;
mod scan;
mod seal;
mod segment;
mod segment_header;
mod segment_set;
mod sync;
mod tally;
#[cfg(test)]
mod tests;
mod whole_file;

pub use collect::{CollectContext, CollectStep, Collection};
pub use compressed::compress_value;
pub use dead_set::DeadSet;
pub use deaths::UnreferencedRecords;
pub use entries::Entries;
pub use error::{Error, Result};
pub use file_name::{dead_path, deaths_path, hint_path, manifest_path, map_path, segment_path};
pub use header::{CompanionId, HEADER_LEN};
pub use log::{SegmentStatistics, ValueLog};
pub use manifest::OwnerTotals;
pub use noted::DamagedDeaths;
pub use options::{IoMode, Options, RecoveryInput};
pub use read_ahead::ReadAhead;
pub use record::{RECORD_OVERHEAD, record_len, value_len};
pub use recovery::{TornTail, VlogRecovery};
pub use scan::Entry;
pub use segment::{Segment, ValueRecord};
pub use segment_set::SegmentSet;
