//! What is worth collecting. Pure: statistics of segments in, a choice out.
//!
//! A segment is the better to collect the more of it is dead, since what lives must be copied, and the older its youngest
//! record is, since what has lived for long will live on and the space stays won: the ratio of benefit to cost of
//! log-structured file systems (Rosenblum and Ousterhout, 1992), but with age weighing less than there. With its full weight
//! old segments with little garbage go before young ones with much, and a tenth more is written than by the most garbage
//! alone; with its fourth root nearly the least, whether all keys are overwritten alike or some far more often.

use base::SegmentId;
use vlog::{HEADER_LEN, SegmentStatistics};

/// Segments are collected together up to this many.
const SEGMENTS_MAX: usize = 32;

/// With less than this dead, copying the rest wins nothing worth having.
const DEAD_PART_MIN: f64 = 0.05;

/// The power of a segment's age that its benefit is in proportion to.
const AGE_WEIGHT: f64 = 0.25;

/// That many segments of which each is less than this part of the usual size are put together, garbage or not.
const SMALL_SEGMENTS: usize = 32;
const SMALL_PART: u64 = 8;

/// Bytes of records in a segment.
pub(crate) fn record_bytes(of: &SegmentStatistics) -> u64 {
    of.file_bytes.saturating_sub(HEADER_LEN as u64)
}

/// Bytes of records that live in a segment.
pub(crate) fn live_bytes(of: &SegmentStatistics) -> u64 {
    record_bytes(of).saturating_sub(of.dead_bytes)
}

/// The dead part of a segment.
pub(crate) fn dead_part(of: &SegmentStatistics) -> f64 {
    of.dead_bytes as f64 / record_bytes(of).max(1) as f64
}

/// Whether enough of a segment is dead.
pub(crate) fn is_worth_it(of: &SegmentStatistics, dead_part_min: f64) -> bool {
    of.sealed && dead_part(of) >= dead_part_min.max(DEAD_PART_MIN)
}

/// The segments to be collected together to win the most space, so that one of about `output_bytes` holds what is left;
/// none where nothing is worth it.
pub(crate) fn choose(segments: &[SegmentStatistics], dead_part_min: f64, output_bytes: u64) -> Vec<SegmentId> {
    let newest = segments.iter().map(|of| of.newest_address.0).max().unwrap_or(0);
    let mut candidates: Vec<&SegmentStatistics> = segments.iter().filter(|of| is_worth_it(of, dead_part_min)).collect();
    let all_dead: Vec<SegmentId> =
        candidates.iter().filter(|of| live_bytes(of) == 0).map(|of| of.segment).take(SEGMENTS_MAX).collect();
    if !all_dead.is_empty() {
        return all_dead;
    }
    candidates.sort_by(|one, other| benefit(other, newest).total_cmp(&benefit(one, newest)));
    up_to(candidates.into_iter(), output_bytes)
}

/// Small segments that are to be put together, once there are many: each costs an open file.
pub(crate) fn choose_small(segments: &[SegmentStatistics], output_bytes: u64) -> Vec<SegmentId> {
    let is_small = |of: &&SegmentStatistics| of.sealed && of.file_bytes < output_bytes / SMALL_PART;
    let small: Vec<&SegmentStatistics> = segments.iter().filter(is_small).collect();
    if small.len() < SMALL_SEGMENTS { Vec::new() } else { up_to(small.into_iter(), output_bytes) }
}

fn benefit(of: &SegmentStatistics, newest: u32) -> f64 {
    let dead = dead_part(of);
    let age = f64::from(newest - of.newest_address.0) + 1.0;
    dead * age.powf(AGE_WEIGHT) / (2.0 - dead)
}

/// As many as leave no more than `output_bytes`, but at least one.
fn up_to<'a>(segments: impl Iterator<Item = &'a SegmentStatistics>, output_bytes: u64) -> Vec<SegmentId> {
    let mut chosen = Vec::new();
    let mut left = 0;
    for of in segments {
        left += live_bytes(of);
        if !chosen.is_empty() && (left > output_bytes || chosen.len() == SEGMENTS_MAX) {
            break;
        }
        chosen.push(of.segment);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(id: u32, kib: u64, dead_kib: u64) -> SegmentStatistics {
        SegmentStatistics {
            segment: SegmentId(id),
            newest_address: SegmentId(id),
            file_bytes: (kib << 10) + HEADER_LEN as u64,
            records: kib,
            dead_records: dead_kib,
            dead_bytes: dead_kib << 10,
            sealed: true,
            collected: false,
            owners: Vec::new(),
        }
    }

    fn ids(ids: &[u32]) -> Vec<SegmentId> {
        ids.iter().copied().map(SegmentId).collect()
    }

    #[test]
    fn what_is_all_dead_goes_first_and_by_itself() {
        let segments = [segment(1, 100, 90), segment(2, 100, 100), segment(3, 100, 0), segment(4, 100, 100)];
        assert_eq!(choose(&segments, 0.1, 1 << 20), ids(&[2, 4]));
    }

    #[test]
    fn of_two_with_the_same_garbage_the_older_goes_first() {
        let segments = [segment(1, 100, 50), segment(2, 100, 50), segment(9, 100, 0)];
        assert_eq!(choose(&segments, 0.1, 1), ids(&[1]));
    }

    #[test]
    fn more_garbage_weighs_more_than_a_little_age() {
        let segments = [segment(90, 100, 20), segment(91, 100, 80), segment(100, 100, 0)];
        assert_eq!(choose(&segments, 0.1, 1), ids(&[91]));
    }

    #[test]
    fn what_was_copied_with_old_addresses_waits_until_it_has_as_much_garbage_as_younger_ones() {
        let segments = [segment(1, 100, 15), segment(1_500, 100, 40), segment(2_000, 100, 0)];
        assert_eq!(choose(&segments, 0.1, 1), ids(&[1_500]));
    }

    #[test]
    fn what_is_left_fits_in_one_segment() {
        let segments: Vec<_> = (1..=10).map(|id| segment(id, 100, 60)).collect();
        assert_eq!(choose(&segments, 0.1, 120 << 10), ids(&[1, 2, 3]));
    }

    #[test]
    fn a_segment_that_is_open_or_has_too_little_garbage_is_left_alone() {
        let open = SegmentStatistics { sealed: false, ..segment(1, 100, 90) };
        assert_eq!(choose(&[open, segment(2, 100, 40), segment(3, 100, 4)], 0.5, 1 << 20), ids(&[]));
        assert_eq!(choose(&[segment(3, 100, 4)], 0.01, 1 << 20), ids(&[]));
    }

    #[test]
    fn small_segments_are_put_together_once_there_are_many() {
        let few: Vec<_> = (1..32).map(|id| segment(id, 1, 0)).collect();
        assert_eq!(choose_small(&few, 1 << 20), ids(&[]));
        let many: Vec<_> = (1..=40).map(|id| segment(id, 1, 0)).collect();
        assert_eq!(choose_small(&many, 1 << 20).len(), SEGMENTS_MAX);
    }
}
