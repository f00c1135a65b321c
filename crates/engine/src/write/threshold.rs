//! From which length on values go to the value log: a fixed length, or one that follows the lengths that are written.
//!
//! Fixed, a write reads two words that nobody changes. Adaptive, it also counts its values' lengths in a histogram; every
//! [`SIZES_BEFORE_UPDATE`] of them whoever counts the last one takes the percentile anew and halves all counts, so that
//! older lengths weigh less and less. Badger's `VLogPercentile` does the first half of that and never forgets. See
//! docs/adr/0013-what-large-values-cost.md.
//!
//! Invariants
//! 1. The length is never under the floor, which is `value_threshold`, and never over the limit of values in the tree,
//!    which wins over the floor.
//! 2. Only writes ask. Where a value stands says its entry, so nothing that was written depends on any of this, and
//!    nothing of it is stored: after an open the length is the floor until enough values were seen.
//! 3. Counters are relaxed and may lose a count to each other: the length is a matter of taste, not of correctness.

use base::sync::atomic::{AtomicU64, Ordering};

/// Values between two looks at the histogram; the lengths of some two times as many decide.
const SIZES_BEFORE_UPDATE: u64 = if cfg!(test) { 256 } else { 4_096 };

/// Buckets of one doubling of the length, as a power of two: lengths in one bucket differ by an eighth at the most.
const STEPS_BITS: u32 = 3;

/// Lengths up to the longest that the tree takes; all longer ones are in the last bucket.
const BUCKETS: usize = bucket_of(base::limits::INLINE_VALUE_LEN_MAX as u64 + 1) + 1;

/// From which length on values of one keyspace go to the value log.
#[derive(Debug)]
pub(crate) struct Threshold {
    floor: AtomicU64,
    limit: u64,
    /// Where the percentile is; zero until there is one.
    wanted: AtomicU64,
    adaptive: Option<Box<Adaptive>>,
}

#[derive(Debug)]
struct Adaptive {
    percentile: f64,
    seen: AtomicU64,
    counts: [AtomicU64; BUCKETS],
}

impl Threshold {
    /// A fixed length of `floor`, or one that follows `percentile` where that is over zero; `limit` is the length from
    /// which on a value must go to the value log.
    pub(crate) fn new(floor: u32, limit: usize, percentile: f64) -> Self {
        let adaptive = (percentile > 0.0).then(|| {
            let counts = [const { AtomicU64::new(0) }; BUCKETS];
            Box::new(Adaptive { percentile, seen: AtomicU64::new(0), counts })
        });
        Self { floor: AtomicU64::new(floor.into()), limit: limit as u64, wanted: AtomicU64::new(0), adaptive }
    }

    /// Length from which on a value goes to the value log now.
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.wanted.load(Ordering::Relaxed).max(self.floor.load(Ordering::Relaxed)).min(self.limit)
    }

    /// Notes the length of a value that is being written.
    #[inline]
    pub(crate) fn note(&self, len: usize) {
        if let Some(adaptive) = &self.adaptive
            && adaptive.add(len as u64)
            && let Some(wanted) = adaptive.take_percentile()
        {
            self.wanted.store(wanted, Ordering::Relaxed);
        }
    }

    /// Replaces the floor.
    pub(crate) fn set_floor(&self, floor: u32) {
        self.floor.store(floor.into(), Ordering::Relaxed);
    }
}

impl Adaptive {
    /// Whether it is time to take the percentile anew.
    fn add(&self, len: u64) -> bool {
        if let Some(count) = self.counts.get(bucket_of(len).min(BUCKETS - 1)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.seen.fetch_add(1, Ordering::Relaxed) % SIZES_BEFORE_UPDATE == SIZES_BEFORE_UPDATE - 1
    }

    /// The least length of the bucket in which the percentile lies, so that where all values have one length they go to
    /// the value log; halves the counts.
    fn take_percentile(&self) -> Option<u64> {
        let counts: Vec<u64> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        for (count, value) in self.counts.iter().zip(&counts) {
            count.store(value / 2, Ordering::Relaxed);
        }
        let total: u64 = counts.iter().sum();
        let rank = ((total as f64 * self.percentile).ceil() as u64).max(1);
        let mut up_to = 0;
        let reached = counts.iter().position(|count| {
            up_to += count;
            up_to >= rank
        });
        reached.map(least_len_of)
    }
}

/// The bucket of a length: those below eight have one each, each doubling above has eight.
const fn bucket_of(len: u64) -> usize {
    if len < 1 << STEPS_BITS {
        return len as usize;
    }
    let shift = len.ilog2() - STEPS_BITS;
    ((shift as usize) << STEPS_BITS) + (len >> shift) as usize
}

/// The least length in a bucket.
const fn least_len_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 << STEPS_BITS {
        return bucket;
    }
    let shift = (bucket >> STEPS_BITS) - 1;
    (bucket - (shift << STEPS_BITS)) << shift
}

#[cfg(test)]
mod tests {
    use base::rng::Rng;

    use super::*;
    use crate::{Db, KeyspaceOptions, Options, Read};

    const LIMIT: usize = 1 << 20;

    fn is_near(found: u64, expected: u64) -> bool {
        found <= expected && expected - found <= expected / 8
    }

    #[test]
    fn buckets_are_in_order_without_a_gap_and_an_eighth_wide_at_the_most() {
        let mut next = 0;
        for bucket in 0..BUCKETS {
            let least = least_len_of(bucket);
            assert_eq!(least, next);
            assert_eq!(bucket_of(least), bucket);
            next = least_len_of(bucket + 1);
            assert_eq!(bucket_of(next - 1), bucket);
            assert!(next - least <= (least / 8).max(1));
        }
    }

    #[test]
    fn a_fixed_threshold_stays_whatever_is_written() {
        let threshold = Threshold::new(1_000, LIMIT, 0.0);
        for len in 0..10 * SIZES_BEFORE_UPDATE {
            threshold.note(len as usize);
        }
        assert_eq!(threshold.get(), 1_000);
        threshold.set_floor(2_000);
        assert_eq!(threshold.get(), 2_000);
        assert_eq!(Threshold::new(u32::MAX, LIMIT, 0.0).get(), LIMIT as u64);
    }

    #[test]
    fn an_adaptive_one_follows_the_lengths_between_its_floor_and_its_limit() {
        let threshold = Threshold::new(1_000, LIMIT, 0.9);
        assert_eq!(threshold.get(), 1_000, "nothing was seen yet");
        let mut rng = Rng::new(3);
        let mut write = |lens: std::ops::Range<u64>| {
            for _ in 0..16 * SIZES_BEFORE_UPDATE {
                threshold.note((lens.start + rng.below(lens.end - lens.start)) as usize);
            }
            threshold.get()
        };
        let found = write(0..100_000);
        assert!((75_000..=93_000).contains(&found), "{found}");
        let found = write(5_000..5_001);
        assert!(is_near(found, 5_000), "older lengths are forgotten, not {found}");
        assert_eq!(write(0..500), 1_000, "never under the floor");
        assert_eq!(write(3 << 20..4 << 20), LIMIT as u64, "never over the limit");
        threshold.set_floor(u32::MAX);
        assert_eq!(threshold.get(), LIMIT as u64);
    }

    #[test]
    fn many_threads_count_together() {
        let threshold = Threshold::new(0, LIMIT, 0.5);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..20 * SIZES_BEFORE_UPDATE).for_each(|_| threshold.note(4_096)));
            }
        });
        assert_eq!(threshold.get(), 4_096);
    }

    fn write_many(db: &Db, prefix: &str, lens: impl Fn(u64) -> usize) {
        for n in 0..3 * SIZES_BEFORE_UPDATE {
            db.insert(format!("{prefix}{n:04}"), vec![n as u8; lens(n)]).unwrap();
        }
    }

    fn thresholds(db: &Db) -> Vec<u64> {
        db.metrics().value_thresholds.into_iter().map(|(_, bytes)| bytes).collect()
    }

    #[test]
    fn new_values_go_by_the_new_threshold_and_old_ones_stay_where_they_are() {
        let db = Options::new().value_threshold(100).value_log_percentile(0.9).open_in_memory().unwrap();
        write_many(&db, "a", |n| 100 + (n % 10) as usize * 100);
        let threshold = thresholds(&db)[0];
        assert!((800..=1_000).contains(&threshold), "{threshold}");
        let separated = |key: &str| db.get_item(key).unwrap().unwrap().is_separated();
        assert!(separated("a0001") && separated("a0009"), "all were above the floor at first");
        db.insert("b", vec![7; 200]).unwrap();
        db.insert("c", vec![7; 2_000]).unwrap();
        assert!(!separated("b") && separated("c"));

        db.flush().unwrap();
        db.compact(.., crate::CompactOptions::new()).unwrap();
        assert!(separated("a0001") && !separated("b") && separated("c"));
        for n in 0..3 * SIZES_BEFORE_UPDATE {
            let expected = vec![n as u8; 100 + (n % 10) as usize * 100];
            assert_eq!(db.get(format!("a{n:04}")).unwrap().unwrap(), expected);
        }
        assert_eq!(db.get("b").unwrap().unwrap(), vec![7; 200]);
    }

    #[test]
    fn a_store_that_is_opened_again_begins_at_the_floor() {
        let vfs = std::sync::Arc::new(vfs::MemFs::new(1));
        let options = || Options::new().vfs(vfs.clone()).value_threshold(100).value_log_percentile(0.5);
        let db = options().open("/store").unwrap();
        write_many(&db, "a", |_| 1_024);
        assert_eq!(thresholds(&db), [1_024]);
        db.close().unwrap();
        let db = options().open("/store").unwrap();
        assert_eq!(thresholds(&db), [100]);
        assert_eq!(db.iter().filter(|item| item.as_ref().unwrap().value().unwrap().len() == 1_024).count(), 768);
    }

    #[test]
    fn off_means_exactly_the_threshold_that_was_set() {
        let db = Options::new().value_threshold(500).open_in_memory().unwrap();
        write_many(&db, "a", |n| 10 * n as usize % 5_000);
        assert_eq!(thresholds(&db), [500]);
        for item in db.iter() {
            let item = item.unwrap();
            assert_eq!(item.is_separated(), item.value_len() >= 500);
        }
    }

    #[test]
    fn a_value_over_inline_max_is_separated_whatever_the_threshold() {
        let db = Options::new().value_threshold(u32::MAX).memtable_size(1 << 20).open_in_memory().unwrap();
        assert_eq!(thresholds(&db), [(64 << 10) + 1]);
        db.insert("inline", vec![1; 64 << 10]).unwrap();
        db.insert("separated", vec![1; (64 << 10) + 1]).unwrap();
        assert!(!db.get_item("inline").unwrap().unwrap().is_separated());
        assert!(db.get_item("separated").unwrap().unwrap().is_separated());
        assert_eq!(thresholds(&Options::new().open_in_memory().unwrap()), [1_024]);
    }

    #[test]
    fn a_keyspace_learns_by_itself_and_its_own_threshold_is_its_floor() {
        let db = Options::new().value_threshold(100).value_log_percentile(0.5).open_in_memory().unwrap();
        let own = db.keyspace("own", KeyspaceOptions::new().value_threshold(3_000)).unwrap();
        let plain = db.keyspace("plain", KeyspaceOptions::new()).unwrap();
        assert_eq!(thresholds(&db), [100, 3_000, 100]);
        for n in 0..2 * SIZES_BEFORE_UPDATE {
            own.insert(n.to_be_bytes(), [0; 2_048]).unwrap();
            plain.insert(n.to_be_bytes(), [0; 1_024]).unwrap();
        }
        assert_eq!(thresholds(&db), [100, 3_000, 1_024]);
        assert!(!own.get_item(0_u64.to_be_bytes()).unwrap().unwrap().is_separated());
        db.keyspace("own", KeyspaceOptions::new().value_threshold(4_000)).unwrap();
        assert_eq!(thresholds(&db), [100, 4_000, 1_024]);
    }
}
