//! How large each level should be: dynamic level sizes.
//!
//! The last level is as large as it is; each level above should be a `fanout`-th of the one below. The *base level*, to
//! which level 0 is compacted, is the first one whose share would still pass `level_base_bytes / fanout`; the levels
//! between are empty. So a small store has level 0 and the last level only, and about nine tenths of a large one are in
//! the last level, which bounds the space that shadowed entries take. No target is ever below `level_base_bytes`: a
//! level of a few megabytes over one of gigabytes would make level 0 wait at its narrow neck.

use base::limits::LEVELS;

use crate::options::PickerOptions;
use crate::version::TreeVersion;

/// The last level.
pub(crate) const LAST: usize = LEVELS - 1;

/// Where level 0 goes, and how large each level should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelTargets {
    /// The level to which level 0 is compacted.
    pub base: usize,
    /// Most bytes of each level from the base on; 0 above it.
    pub bytes: [u64; LEVELS],
}

impl LevelTargets {
    /// The targets for a version.
    #[must_use]
    pub fn of(version: &TreeVersion, options: &PickerOptions) -> Self {
        let mut sizes = [0; LEVELS];
        for (level, size) in sizes.iter_mut().enumerate() {
            *size = version.level_bytes(level);
        }
        Self::for_sizes(&sizes, options)
    }

    /// The targets for levels of these sizes; that of level 0 has no influence.
    #[must_use]
    pub fn for_sizes(sizes: &[u64; LEVELS], options: &PickerOptions) -> Self {
        let fanout = options.fanout.max(2);
        let level_base_bytes = options.level_base_bytes.max(fanout);
        let sorted = || sizes.iter().enumerate().skip(1).filter(|(_, bytes)| **bytes > 0);
        let first_occupied = sorted().map(|(level, _)| level).next().unwrap_or(LAST);
        let largest = sorted().map(|(_, bytes)| *bytes).max().unwrap_or(0);

        // What the first occupied level may hold if the largest size is that of the last level.
        let mut base = first_occupied;
        let mut base_bytes = (first_occupied..LAST).fold(largest, |bytes, _| bytes / fanout);
        while base > 1 && base_bytes > level_base_bytes {
            base -= 1;
            base_bytes /= fanout;
        }
        let mut share = base_bytes.clamp(level_base_bytes / fanout + 1, level_base_bytes);
        let mut bytes = [0; LEVELS];
        for target in bytes.iter_mut().skip(base) {
            *target = share.max(level_base_bytes);
            share = share.saturating_mul(fanout);
        }
        Self { base, bytes }
    }

    /// The target of a level in bytes.
    #[must_use]
    pub fn bytes(&self, level: usize) -> u64 {
        self.bytes.get(level).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use expect_test::expect;

    use super::*;

    #[test]
    fn targets_follow_the_size_of_the_last_level() {
        let options = PickerOptions::with_sizes(64 << 20, 256 << 20);
        let mut table = String::new();
        // Sizes of levels 1 to 6 in MiB.
        for sizes in [
            [0, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 100],
            [0, 0, 0, 0, 0, 256],
            [0, 0, 0, 0, 0, 257],
            [0, 0, 0, 0, 0, 2_600],
            [0, 0, 0, 0, 300, 2_600],
            [0, 0, 0, 0, 300, 30_000],
            [0, 0, 0, 250, 2_500, 20_000],
            [0, 0, 0, 0, 0, 3_000_000],
            [0, 0, 0, 0, 0, 4_000_000_000],
            [100, 0, 0, 0, 0, 100],
        ] {
            let mut bytes = [0; LEVELS];
            for (level, mib) in sizes.into_iter().enumerate() {
                bytes[level + 1] = mib << 20;
            }
            let targets = LevelTargets::for_sizes(&bytes, &options);
            let mib: Vec<u64> = targets.bytes.iter().skip(1).map(|bytes| bytes >> 20).collect();
            writeln!(table, "{sizes:?} -> base {} targets {mib:?}", targets.base).unwrap();
        }
        expect![[r#"
            [0, 0, 0, 0, 0, 0] -> base 6 targets [0, 0, 0, 0, 0, 256]
            [0, 0, 0, 0, 0, 100] -> base 6 targets [0, 0, 0, 0, 0, 256]
            [0, 0, 0, 0, 0, 256] -> base 6 targets [0, 0, 0, 0, 0, 256]
            [0, 0, 0, 0, 0, 257] -> base 5 targets [0, 0, 0, 0, 256, 256]
            [0, 0, 0, 0, 0, 2600] -> base 4 targets [0, 0, 0, 256, 260, 2600]
            [0, 0, 0, 0, 300, 2600] -> base 4 targets [0, 0, 0, 256, 260, 2600]
            [0, 0, 0, 0, 300, 30000] -> base 3 targets [0, 0, 256, 300, 3000, 30000]
            [0, 0, 0, 250, 2500, 20000] -> base 4 targets [0, 0, 0, 256, 2000, 20000]
            [0, 0, 0, 0, 0, 3000000] -> base 1 targets [256, 300, 3000, 30000, 300000, 3000000]
            [0, 0, 0, 0, 0, 4000000000] -> base 1 targets [256, 2560, 25600, 256000, 2560000, 25600000]
            [100, 0, 0, 0, 0, 100] -> base 1 targets [256, 256, 2560, 25600, 256000, 2560000]
        "#]]
        .assert_eq(&table);
    }

    #[test]
    fn the_base_is_never_level_0_nor_below_an_occupied_level() {
        let options = PickerOptions::with_sizes(1 << 10, 4 << 10);
        for shift in 0..63 {
            for occupied in 1..LEVELS {
                let mut sizes = [0; LEVELS];
                sizes[LAST] = 1 << shift;
                sizes[occupied] = 1;
                let targets = LevelTargets::for_sizes(&sizes, &options);
                assert!((1..=occupied).contains(&targets.base), "{sizes:?}: {targets:?}");
                assert!(targets.bytes[targets.base..].iter().all(|bytes| *bytes >= options.level_base_bytes));
            }
        }
    }
}
