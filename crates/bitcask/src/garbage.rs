//! How much of each file is dead, and which files a merge takes on: Riak's triggers and thresholds.
//!
//! Pure: it sees counts and options.

use base::SegmentId;
use vlog::SegmentStatistics;

use crate::Options;

/// What is known of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStatus {
    /// Its number.
    pub segment: SegmentId,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its records, dead ones and tombstones included.
    pub records: u64,
    /// The records that keys have as their newest.
    pub live_records: u64,
    /// Their bytes.
    pub live_bytes: u64,
    /// When all that is alive has expired, in seconds since the Unix epoch; `None` for never.
    pub expired_from: Option<u64>,
    /// Whether it is finished, so that it can be merged.
    pub is_sealed: bool,
}

impl FileStatus {
    /// Bytes that a merge would give back, at the most.
    #[must_use]
    pub fn dead_bytes(&self) -> u64 {
        self.bytes.saturating_sub(vlog::HEADER_LEN as u64 + self.live_bytes)
    }

    /// Records that are dead, in percent.
    #[must_use]
    pub fn fragmentation(&self) -> u64 {
        let dead = self.records.saturating_sub(self.live_records);
        (dead.saturating_mul(100)).checked_div(self.records).unwrap_or(0)
    }

    /// Whether it alone calls for a merge.
    pub(crate) fn triggers(&self, options: &Options, now: u64) -> bool {
        self.is_over(options.frag_merge_trigger, options.dead_bytes_merge_trigger) || self.has_expired(options, now)
    }

    /// Whether it joins a merge that another file called for.
    fn joins(&self, options: &Options, now: u64) -> bool {
        self.is_over(options.frag_threshold, options.dead_bytes_threshold)
            || self.bytes < options.small_file_threshold
            || self.has_expired(options, now)
    }

    fn is_over(&self, percent: u8, bytes: u64) -> bool {
        let is_dead = self.live_records < self.records;
        is_dead && (self.fragmentation() >= u64::from(percent) || self.dead_bytes() >= bytes)
    }

    fn has_expired(&self, options: &Options, now: u64) -> bool {
        let over = |at: u64| at.saturating_add(options.expiry_grace_time) <= now;
        self.live_records > 0 && self.expired_from.is_some_and(over)
    }
}

/// The files of a merge that some file calls for, oldest first; none where no file does.
pub(crate) fn pick_triggered(files: &[FileStatus], options: &Options, now: u64) -> Vec<FileStatus> {
    let sealed = || files.iter().filter(|file| file.is_sealed);
    if !sealed().any(|file| file.triggers(options, now)) {
        return Vec::new();
    }
    let mut left = options.max_merge_size;
    let joins = |file: &&FileStatus| file.triggers(options, now) || file.joins(options, now);
    // What triggers comes before what merely joins, so that the limit never keeps it out.
    let mut picked: Vec<FileStatus> = sealed().filter(joins).copied().collect();
    picked.sort_by_key(|file| (!file.triggers(options, now), file.segment));
    let mut is_first = true;
    picked.retain(|file| {
        let fits = is_first || file.bytes <= left;
        is_first = false;
        left = if fits { left.saturating_sub(file.bytes) } else { left };
        fits
    });
    picked.sort_by_key(|file| file.segment);
    picked
}

/// The files of a merge of everything: all in which something may be dead, and small ones where there are several.
pub(crate) fn pick_all(files: &[FileStatus], options: &Options) -> Vec<FileStatus> {
    let mut picked: Vec<FileStatus> = files.iter().filter(|file| file.is_sealed).copied().collect();
    let is_small = |file: &FileStatus| file.bytes < options.small_file_threshold;
    let several = picked.iter().filter(|file| is_small(file)).count() > 1;
    picked
        .retain(|file| file.live_records < file.records || file.expired_from.is_some() || (several && is_small(file)));
    picked
}

/// Parts files into groups of which each fits into one file once it is merged. Where not even one fits, as one of nearly
/// 4 GiB may not, it is left as it is until more of it is dead.
pub(crate) fn groups(files: &[SegmentStatistics], file_bytes_max: u64) -> Vec<Vec<SegmentId>> {
    let mut groups: Vec<Vec<SegmentId>> = Vec::new();
    let mut room = 0;
    for (file, bytes) in files.iter().map(|file| (file.segment, file.moved_bytes())) {
        if bytes > SEGMENT_BYTES_MAX {
            continue;
        }
        match groups.last_mut().filter(|_| bytes <= room) {
            Some(group) => group.push(file),
            None => {
                groups.push(vec![file]);
                room = file_bytes_max.saturating_sub(vlog::HEADER_LEN as u64);
            }
        }
        room = room.saturating_sub(bytes);
    }
    groups
}

/// Most bytes of records in a file.
const SEGMENT_BYTES_MAX: u64 = u32::MAX as u64 - vlog::HEADER_LEN as u64;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(segment: u32, live_records: u64, live_bytes: u64) -> FileStatus {
        FileStatus {
            segment: SegmentId(segment),
            bytes: 100_112,
            records: 100,
            live_records,
            live_bytes,
            expired_from: None,
            is_sealed: true,
        }
    }

    fn options() -> Options {
        Options {
            dead_bytes_merge_trigger: 90_000,
            dead_bytes_threshold: 70_000,
            small_file_threshold: 1_000,
            ..Options::default()
        }
    }

    fn picked(files: &[FileStatus], options: &Options) -> Vec<u32> {
        pick_triggered(files, options, 1_000).iter().map(|file| file.segment.0).collect()
    }

    #[test]
    fn a_merge_begins_with_a_trigger_and_takes_along_what_is_over_a_threshold() {
        let joining = [file(1, 60, 100_000), file(2, 61, 100_000), file(3, 100, 30_000), file(4, 99, 30_000)];
        assert_eq!(picked(&joining, &options()), []);
        let by_share = [&joining[..], &[file(5, 40, 100_000)]].concat();
        assert_eq!(picked(&by_share, &options()), [1, 4, 5]);
        let by_bytes = [&joining[..], &[file(5, 99, 10_000)]].concat();
        assert_eq!(picked(&by_bytes, &options()), [1, 4, 5]);
        let small = FileStatus { bytes: 999, ..file(6, 100, 800) };
        assert_eq!(picked(&[by_bytes, vec![small]].concat(), &options()), [1, 4, 5, 6]);
    }

    #[test]
    fn a_file_that_is_written_to_is_never_merged() {
        let active = FileStatus { is_sealed: false, ..file(1, 0, 0) };
        assert_eq!(picked(&[active], &options()), []);
        assert_eq!(pick_all(&[active], &options()), []);
        assert_eq!(picked(&[active, file(2, 0, 0)], &options()), [2]);
    }

    #[test]
    fn a_file_of_which_all_has_expired_calls_for_a_merge_once_the_grace_is_over() {
        let expired = FileStatus { expired_from: Some(900), ..file(1, 100, 100_000) };
        assert_eq!(picked(&[expired], &options()), [1]);
        assert_eq!(picked(&[expired], &Options { expiry_grace_time: 101, ..options() }), []);
    }

    #[test]
    fn a_merge_stays_below_its_limit_but_takes_at_least_one_file() {
        let files = [file(1, 50, 50_000), file(2, 10, 10_000), file(3, 10, 10_000)];
        assert_eq!(picked(&files, &Options { max_merge_size: 1, ..options() }), [2]);
        assert_eq!(picked(&files, &Options { max_merge_size: 250_000, ..options() }), [2, 3]);
        assert_eq!(picked(&files, &options()), [1, 2, 3]);
    }

    fn statistics(segment: u32, records: u64, bytes: u64) -> SegmentStatistics {
        SegmentStatistics {
            segment: SegmentId(segment),
            newest_address: SegmentId(segment),
            file_bytes: vlog::HEADER_LEN as u64 + bytes,
            records,
            dead_records: 0,
            dead_bytes: 0,
            sealed: true,
            collected: false,
            owners: Vec::new(),
        }
    }

    fn grouped(files: &[SegmentStatistics], file_bytes_max: u64) -> Vec<Vec<u32>> {
        let groups = groups(files, file_bytes_max);
        groups.iter().map(|group| group.iter().map(|id| id.0).collect()).collect()
    }

    #[test]
    fn merged_files_are_no_longer_than_files_may_be() {
        let [mut third, mut fourth] = [statistics(3, 10, 500), statistics(4, 10, 500)];
        third.collected = true;
        (fourth.dead_records, fourth.dead_bytes) = (5, 250);
        let files = [statistics(1, 10, 420), statistics(2, 10, 420), third, fourth, statistics(5, 100, 5_000)];
        assert_eq!(grouped(&files, 1_112), [&[1, 2][..], &[3, 4], &[5]]);
        assert_eq!(grouped(&files, 1_111), [&[1][..], &[2], &[3, 4], &[5]]);
    }

    #[test]
    fn a_file_that_would_not_fit_into_one_once_it_is_merged_waits_until_more_of_it_is_dead() {
        let most = u64::from(u32::MAX);
        let full = most - vlog::HEADER_LEN as u64;
        let mut file = statistics(1, 1_000, full);
        (file.dead_records, file.dead_bytes) = (10, 990 * 8 - 1);
        assert_eq!(grouped(&[file.clone(), statistics(2, 1, 100)], most), [[2]]);
        file.dead_bytes = 990 * 8;
        assert_eq!(grouped(&[file, statistics(2, 1, 100)], most), [[1], [2]]);
    }

    #[test]
    fn a_file_without_records_has_no_fragmentation() {
        assert_eq!(FileStatus { records: 0, ..file(1, 0, 0) }.fragmentation(), 0);
    }
}
