//! What a process is in the middle of, told from the changes that its threads make to files.

use std::fmt;
use std::path::Path;

use vfs::Operation;

/// Something that a kill can fall into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// A commit, from the call to its return.
    Commit,
    /// A flush, from its table's first byte until the edit that publishes it is durable.
    Flush,
    /// A compaction that writes tables, likewise.
    Compaction,
    /// A new write-ahead log, from its creation until its name is durable.
    LogSwitch,
    /// A segment of the value log, from the sync of its records until the manifest that lists it is durable.
    SegmentSeal,
    /// A fresh manifest, from its creation until `CURRENT` names it durably.
    ManifestRewrite,
    /// The files of a collected segment of the value log, from their creation until they are durable.
    GcCopy,
    /// The manifest of the value log that names a collected segment in the place of others, from the dead set before it
    /// until it is durable.
    GcCommit,
    /// The removal of a file of a segment that was collected.
    Unlink,
    /// A new data key, from the first byte of the registry that has it until that is durable. Only of an encrypted store.
    KeyRotation,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Commit,
        Self::Flush,
        Self::Compaction,
        Self::LogSwitch,
        Self::SegmentSeal,
        Self::ManifestRewrite,
        Self::GcCopy,
        Self::GcCommit,
        Self::Unlink,
        Self::KeyRotation,
    ];

    /// Its bit in a set of phases.
    #[must_use]
    pub const fn bit(self) -> u16 {
        1 << self as u8
    }

    /// The phase of a name, as [`fmt::Display`] gives it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.to_string() == name)
    }

    /// What begins with a change, if anything does.
    fn begun_by(operation: Operation, path: &Path, thread: &str) -> Option<Self> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let collects = thread == "ratel-gc";
        match operation {
            Operation::Create if name.ends_with(".vlog.tmp") => Some(Self::GcCopy),
            Operation::Create if collects && name.ends_with(".dead.tmp") => Some(Self::GcCommit),
            Operation::Create if collects && name.starts_with("VLOG-MANIFEST") => Some(Self::GcCommit),
            Operation::Remove if collects => Some(Self::Unlink),
            _ if collects => None,
            Operation::Create if name.starts_with("KEYREGISTRY") => Some(Self::KeyRotation),
            Operation::Create if name.ends_with(".sst.tmp") && thread == "ratel-compact" => Some(Self::Compaction),
            Operation::Create if name.ends_with(".sst.tmp") => Some(Self::Flush),
            Operation::Create if name.ends_with(".wal") => Some(Self::LogSwitch),
            Operation::Create if name.ends_with(".hint.tmp") => Some(Self::SegmentSeal),
            Operation::Finish if name.ends_with(".vlog") => Some(Self::SegmentSeal),
            Operation::Create if name.starts_with("MANIFEST-") => Some(Self::ManifestRewrite),
            _ => None,
        }
    }

    /// The change with which it is nearly over: the next sync of a directory, or this sync of a file, ends it.
    fn last_change(self, operation: Operation, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match self {
            Self::Commit => false,
            Self::Flush | Self::Compaction => operation == Operation::Sync && name.starts_with("MANIFEST-"),
            Self::LogSwitch => operation == Operation::Create && name.ends_with(".wal"),
            Self::GcCopy => operation == Operation::Rename && name.ends_with(".vlog.tmp"),
            Self::Unlink => operation == Operation::Remove,
            Self::SegmentSeal | Self::GcCommit => operation == Operation::Rename && name.starts_with("VLOG-MANIFEST"),
            Self::ManifestRewrite => operation == Operation::Rename && name.starts_with("CURRENT"),
            Self::KeyRotation => operation == Operation::Rename && name.starts_with("KEYREGISTRY"),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Commit => "commit",
            Self::Flush => "flush",
            Self::Compaction => "compaction",
            Self::LogSwitch => "log-switch",
            Self::SegmentSeal => "segment-seal",
            Self::ManifestRewrite => "manifest-rewrite",
            Self::GcCopy => "gc-copy",
            Self::GcCommit => "gc-commit",
            Self::Unlink => "unlink",
            Self::KeyRotation => "key-rotation",
        })
    }
}

/// The phases that one thread is in; a later one may be part of an earlier one.
#[derive(Debug)]
pub(crate) struct ThreadPhases {
    /// With each, whether its last change was seen.
    within: Vec<(Phase, bool)>,
}

impl ThreadPhases {
    pub(crate) const fn new() -> Self {
        Self { within: Vec::new() }
    }

    /// A change begins.
    pub(crate) fn before(&mut self, operation: Operation, path: &Path, thread: &str) {
        if let Some(phase) = Phase::begun_by(operation, path, thread)
            && !self.within.iter().any(|(within, _)| *within == phase)
        {
            self.within.push((phase, false));
        }
    }

    /// A change has ended.
    pub(crate) fn after(&mut self, operation: Operation, path: &Path) {
        if let Some((phase, nearly_over)) = self.within.last_mut() {
            *nearly_over |= phase.last_change(operation, path);
            let ends_now =
                matches!(phase, Phase::Flush | Phase::Compaction | Phase::Unlink) || operation == Operation::SyncDir;
            if *nearly_over && ends_now {
                self.within.pop();
            }
        }
    }

    pub(crate) fn enter_commit(&mut self) {
        self.within = vec![(Phase::Commit, false)];
    }

    pub(crate) fn leave(&mut self) {
        self.within.clear();
    }

    pub(crate) fn bits(&self) -> u16 {
        self.within.iter().fold(0, |bits, (phase, _)| bits | phase.bit())
    }

    pub(crate) fn contains(&self, phase: Phase) -> bool {
        self.bits() & phase.bit() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_back_to_its_phase() {
        for phase in Phase::ALL {
            assert_eq!(Phase::named(&phase.to_string()), Some(phase));
        }
        assert_eq!(Phase::named("sleep"), None);
    }

    #[test]
    fn a_manifest_rewrite_within_a_flush_ends_before_it() {
        let mut phases = ThreadPhases::new();
        let mut change = |operation, path: &str| {
            phases.before(operation, Path::new(path), "ratel-flush");
            let within = phases.bits();
            phases.after(operation, Path::new(path));
            (within, phases.bits())
        };
        let (flush, rewrite) = (Phase::Flush.bit(), Phase::ManifestRewrite.bit());
        assert_eq!(change(Operation::Create, "/s/000007.sst.tmp"), (flush, flush));
        assert_eq!(change(Operation::SyncDir, "/s"), (flush, flush));
        assert_eq!(change(Operation::Create, "/s/MANIFEST-000002"), (flush | rewrite, flush | rewrite));
        assert_eq!(change(Operation::Rename, "/s/CURRENT.tmp"), (flush | rewrite, flush | rewrite));
        assert_eq!(change(Operation::SyncDir, "/s"), (flush | rewrite, flush));
        assert_eq!(change(Operation::Sync, "/s/MANIFEST-000002"), (flush, 0));
    }
}
