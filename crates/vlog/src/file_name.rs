//! The names of the files in a value log's folder.
//!
//! ```text
//! NNNNNN.vlog   records of segment NNNNNN (at least six digits)
//! NNNNNN.hint   what those records are, without their values; written when the segment is sealed
//! NNNNNN.dead   which of those records are dead
//! NNNNNN.map    where in a collected segment the record of an address stands
//! NNNNNN.deaths death list of ticket NNNNNN
//! VLOG-MANIFEST the sealed segments and the counters
//! *.tmp         a file of one of these kinds that is not whole yet
//! ```

use std::path::{Path, PathBuf};

use base::SegmentId;

/// Name of the manifest.
pub(crate) const MANIFEST: &str = "VLOG-MANIFEST";

const TEMPORARY_SUFFIX: &str = ".tmp";

/// A name that this crate gives to files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FileName {
    Segment(SegmentId),
    Hint(SegmentId),
    Dead(SegmentId),
    Map(SegmentId),
    Deaths(u64),
    Manifest,
    Temporary,
}

impl FileName {
    /// Reads a name; `None` for any that this crate would not give.
    pub(crate) fn parse(name: &Path) -> Option<Self> {
        let name = name.to_str()?;
        if name == MANIFEST {
            return Some(Self::Manifest);
        }
        if let Some(stem) = name.strip_suffix(TEMPORARY_SUFFIX) {
            return Self::parse(Path::new(stem)).filter(|of| *of != Self::Temporary).map(|_| Self::Temporary);
        }
        let (digits, extension) = name.split_once('.')?;
        let number = parse_number(digits)?;
        let segment = || u32::try_from(number).ok().map(SegmentId);
        match extension {
            "vlog" => segment().map(Self::Segment),
            "hint" => segment().map(Self::Hint),
            "dead" => segment().map(Self::Dead),
            "map" => segment().map(Self::Map),
            "deaths" => Some(Self::Deaths(number)),
            _ => None,
        }
    }
}

/// Accepts exactly what `{:06}` prints, so that no two names mean one file.
fn parse_number(digits: &str) -> Option<u64> {
    let number: u64 = digits.parse().ok()?;
    (format!("{number:06}") == digits).then_some(number)
}

/// The path of a segment's records.
#[must_use]
pub fn segment_path(dir: &Path, segment: SegmentId) -> PathBuf {
    dir.join(format!("{:06}.vlog", segment.0))
}

/// The path of a segment's hint file.
#[must_use]
pub fn hint_path(dir: &Path, segment: SegmentId) -> PathBuf {
    dir.join(format!("{:06}.hint", segment.0))
}

/// The path of a segment's dead set.
#[must_use]
pub fn dead_path(dir: &Path, segment: SegmentId) -> PathBuf {
    dir.join(format!("{:06}.dead", segment.0))
}

/// The path of a collected segment's map.
#[must_use]
pub fn map_path(dir: &Path, segment: SegmentId) -> PathBuf {
    dir.join(format!("{:06}.map", segment.0))
}

/// The path of a ticket's death list.
#[must_use]
pub fn deaths_path(dir: &Path, ticket: u64) -> PathBuf {
    dir.join(format!("{ticket:06}.deaths"))
}

/// The path of the manifest.
#[must_use]
pub fn manifest_path(dir: &Path) -> PathBuf {
    dir.join(MANIFEST)
}

/// Where a file is written before it is whole.
pub(crate) fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY_SUFFIX);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_is_given_is_read_back() {
        let dir = Path::new("");
        for id in [0, 7, 999_999, 1_000_000, u32::MAX].map(SegmentId) {
            assert_eq!(FileName::parse(&segment_path(dir, id)), Some(FileName::Segment(id)));
            assert_eq!(FileName::parse(&hint_path(dir, id)), Some(FileName::Hint(id)));
            assert_eq!(FileName::parse(&dead_path(dir, id)), Some(FileName::Dead(id)));
            assert_eq!(FileName::parse(&map_path(dir, id)), Some(FileName::Map(id)));
            assert_eq!(FileName::parse(&temporary_path(&hint_path(dir, id))), Some(FileName::Temporary));
        }
        assert_eq!(FileName::parse(&deaths_path(dir, u64::MAX)), Some(FileName::Deaths(u64::MAX)));
        assert_eq!(FileName::parse(&manifest_path(dir)), Some(FileName::Manifest));
        assert_eq!(FileName::parse(&temporary_path(&manifest_path(dir))), Some(FileName::Temporary));
    }

    #[test]
    fn other_names_are_nobody_s() {
        for name in [
            "LOCK",
            "1.vlog",
            "0000001.vlog",
            "+00001.vlog",
            "000001.VLOG",
            "000001.maps",
            "000001.vlog.bak",
            ".tmp",
            "note.tmp",
            "000001.vlog.tmp.tmp",
            "4294967296.vlog",
            "000001",
        ] {
            assert_eq!(FileName::parse(Path::new(name)), None, "{name}");
        }
    }
}
