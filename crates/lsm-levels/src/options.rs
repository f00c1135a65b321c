//! Options of the tree and of picking, with their defaults.

use sstable::ReadOptions;

/// How the tree's files are kept and read.
#[derive(Clone, Debug)]
pub struct LevelsOptions {
    /// How tables are read. The store id is that of the manifest, whatever stands here. If there are keys, the manifest is
    /// encrypted as well, since it has bounds of tables.
    pub read: ReadOptions,
    /// The manifest is written afresh after this many edits. Default 4,096.
    pub manifest_edits_max: u64,
    /// The manifest is written afresh after this many bytes of edits. Default 16 MiB.
    pub manifest_bytes_max: u64,
    /// Nothing is written and every edit is refused. Default off.
    pub read_only: bool,
}

impl LevelsOptions {
    /// The defaults, with tables read as told.
    #[must_use]
    pub fn new(read: ReadOptions) -> Self {
        Self { read, manifest_edits_max: 4_096, manifest_bytes_max: 16 << 20, read_only: false }
    }
}

/// What a tree should look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PickerOptions {
    /// Level 0 is due for compaction at this many sorted runs. Default 4.
    pub level0_runs_max: usize,
    /// Runs of level 0 are merged among themselves, while the way down is busy, from this many on. Default 6.
    pub level0_merge_runs_min: usize,
    /// Least target of any level, and most of the uppermost sorted one. Default 256 MiB.
    pub level_base_bytes: u64,
    /// How much larger a level is than the one above. Default 10.
    pub fanout: u64,
    /// An output table ends once it is this large. Default 64 MiB.
    pub target_file_bytes: u64,
    /// An output table ends before it overlaps more than this of the level below its own. Default ten target files.
    pub grandparent_bytes_max: u64,
    /// A compaction takes no more inputs than this once it has what it must take. Default 25 target files.
    pub compaction_bytes_max: u64,
}

impl Default for PickerOptions {
    fn default() -> Self {
        Self::with_sizes(64 << 20, 256 << 20)
    }
}

impl PickerOptions {
    /// Defaults in proportion to the size of a table and the least size of a level, in bytes.
    #[must_use]
    pub const fn with_sizes(target_file_bytes: u64, level_base_bytes: u64) -> Self {
        Self {
            level0_runs_max: 4,
            level0_merge_runs_min: 6,
            level_base_bytes,
            fanout: 10,
            target_file_bytes,
            grandparent_bytes_max: target_file_bytes.saturating_mul(10),
            compaction_bytes_max: target_file_bytes.saturating_mul(25),
        }
    }
}
