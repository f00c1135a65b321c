//! When the entries of a table expire: an exact answer for few, a sample of many, fair by bytes.
//!
//! Invariants
//! 1. The weight of every entry that expires is in exactly one sample, or in the one that is being gathered.
//! 2. The same entries in the same order give the same answer, so a reader can tell a table that states another.

use base::rng::Rng;
use base::{EntryKind, EntryMeta};

/// Number of parts of a table whose expiry is told.
pub(crate) const PARTS: usize = 8;

/// When what a table holds expires, in seconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableExpiry {
    /// When the first of the entries that expire does so; 0 where none does.
    pub first: u64,
    /// By each of these moments another eighth of the table has expired, in bytes of user keys, entries and the records in
    /// the value log that they point to: about when for the many, exactly when for the last of all eight.
    pub eighths: Vec<u64>,
}

/// With so many samples, each two neighbours become one.
const SAMPLES_MAX: usize = 2_048;

/// Gathers when what a table holds expires.
#[derive(Debug)]
pub(crate) struct ExpirySketch {
    samples: Vec<Sample>,
    /// The one that is being gathered, and how many entries are in it.
    next: Sample,
    gathered: u64,
    /// A sample is of 2 to the power of this many entries.
    stride_log2: u32,
    first: u64,
    last: u64,
    /// Bytes of all entries, whether they expire or not.
    total: u64,
    rng: Rng,
}

/// Entries that stand for one that expires at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    expires_at: u64,
    bytes: u64,
}

impl Sample {
    /// Both, with the moment of one of them: the more bytes, the likelier. By any rule that goes by the place alone, keys of
    /// which every second one lives long would all live long.
    fn with(self, other: Self, rng: &mut Rng) -> Self {
        let bytes = self.bytes + other.bytes;
        let expires_at = if rng.below(bytes) < self.bytes { self.expires_at } else { other.expires_at };
        Self { expires_at, bytes }
    }
}

impl Default for ExpirySketch {
    fn default() -> Self {
        let (samples, next, rng) = (Vec::new(), Sample::default(), Rng::new(0));
        Self { samples, next, gathered: 0, stride_log2: 0, first: 0, last: 0, total: 0, rng }
    }
}

impl ExpirySketch {
    /// Counts `bytes`, of an entry and what it points to.
    #[inline]
    pub(crate) fn count(&mut self, meta: &EntryMeta, bytes: u64) {
        self.total += bytes;
        if meta.expires_at > 0 && meta.kind != EntryKind::Delete {
            self.count_expiring(Sample { expires_at: meta.expires_at, bytes });
        }
    }

    /// Whether `stated` is what [`finish`](Self::finish) gives, as far as that is exact.
    pub(crate) fn confirms(self, stated: &TableExpiry) -> bool {
        let (is_exact, first, last) = (self.stride_log2 == 0, self.first, self.last);
        let found = self.finish();
        if is_exact {
            return found == *stated;
        }
        let ends = |expiry: &TableExpiry| (expiry.first, expiry.eighths.len(), expiry.eighths.get(PARTS - 1).copied());
        ends(&found) == ends(stated) && stated.eighths.iter().all(|at| (first..=last).contains(at))
    }

    fn count_expiring(&mut self, sample: Sample) {
        self.first = if self.first == 0 { sample.expires_at } else { self.first.min(sample.expires_at) };
        self.last = self.last.max(sample.expires_at);
        self.next = self.next.with(sample, &mut self.rng);
        self.gathered += 1;
        if self.gathered == 1 << self.stride_log2 {
            self.end_sample();
        }
        if self.samples.len() == SAMPLES_MAX {
            let rng = &mut self.rng;
            let pairs = self.samples.as_chunks::<2>().0.iter();
            self.samples = pairs.map(|[one, other]| one.with(*other, rng)).collect();
            self.stride_log2 += 1;
        }
    }

    fn end_sample(&mut self) {
        self.samples.push(std::mem::take(&mut self.next));
        self.gathered = 0;
    }

    pub(crate) fn finish(mut self) -> TableExpiry {
        if self.gathered > 0 {
            self.end_sample();
        }
        self.samples.sort_unstable_by_key(|sample| sample.expires_at);
        let mut eighths = Vec::new();
        let mut expired = 0;
        for sample in &self.samples {
            expired += sample.bytes;
            let passed = u128::from(expired) * PARTS as u128 / u128::from(self.total.max(1));
            eighths.resize(passed as usize, sample.expires_at);
        }
        if let Some(all) = eighths.get_mut(PARTS - 1) {
            *all = self.last;
        }
        TableExpiry { first: self.first, eighths }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expiring(expires_at: u64) -> EntryMeta {
        EntryMeta { expires_at, ..EntryMeta::put() }
    }

    fn eighths(entries: impl IntoIterator<Item = (u64, u64)>) -> Vec<u64> {
        let mut sketch = ExpirySketch::default();
        entries.into_iter().for_each(|(expires_at, bytes)| sketch.count(&expiring(expires_at), bytes));
        sketch.finish().eighths
    }

    #[test]
    fn what_never_expires_has_no_eighth() {
        assert_eq!(eighths([]), []);
        assert_eq!(eighths([(0, 100), (0, 1)]), []);
        assert_eq!(eighths([(0, 100), (9, 1)]), []);
        let mut of_a_tombstone = ExpirySketch::default();
        of_a_tombstone.count(&EntryMeta { expires_at: 9, ..EntryMeta::delete() }, 1);
        assert_eq!(of_a_tombstone.finish(), TableExpiry::default());
    }

    #[test]
    fn the_first_moment_is_exact_however_little_expires() {
        let mut sketch = ExpirySketch::default();
        (0..100_000).for_each(|entry| sketch.count(&expiring(50 * u64::from(entry % 10_000 == 0)), 1_000));
        sketch.count(&expiring(7), 1);
        assert_eq!(sketch.finish(), TableExpiry { first: 7, eighths: Vec::new() });
    }

    #[test]
    fn eighths_are_of_all_bytes_and_ascend() {
        assert_eq!(eighths([(7, 1), (3, 1), (0, 6)]), [3, 7]);
        assert_eq!(eighths([(5, 10)]), [5; 8]);
        assert_eq!(eighths((1..=16).rev().map(|at| (at, 1))), [2, 4, 6, 8, 10, 12, 14, 16]);
        assert_eq!(eighths([(1, 7), (2, 1)]), [1, 1, 1, 1, 1, 1, 1, 2]);
    }

    #[test]
    fn of_many_entries_a_sample_tells_nearly_as_much_and_the_last_moment_is_exact() {
        let count = 1_000_003;
        // In an order that has nothing to do with the time.
        let eighths = eighths((0..count).map(|entry| (1 + entry * 48_271 % count, 10)));
        assert_eq!(eighths.len(), 8);
        assert_eq!(eighths[7], count);
        for (at, part) in eighths.iter().zip(1..) {
            let exact = count * part / 8;
            assert!(at.abs_diff(exact) < count / 20, "{at} instead of {exact}");
        }
    }

    #[test]
    fn a_pattern_among_the_keys_does_not_deceive_it() {
        let (hour, month) = (3_600, 2_592_000);
        for period in [2, 4, 8, 64] {
            for place in 0..period {
                // Of each so many keys one lives for an hour, and has nearly all the bytes.
                let entries =
                    (0..100_000).map(|entry| if entry % period == place { (hour, 63 * 4_000) } else { (month, 4_000) });
                let eighths = eighths(entries);
                let expected = 8 * 63 / (63 + period - 1);
                let within_the_hour = eighths.iter().filter(|at| **at == hour).count() as u64;
                assert!(within_the_hour.abs_diff(expected) <= 1, "period {period}, place {place}: {eighths:?}");
            }
        }
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut sketch = ExpirySketch::default();
        for entry in 0..1_000_000 {
            sketch.count(&expiring(1 + entry), 1);
            assert!(sketch.samples.len() < SAMPLES_MAX);
        }
        assert_eq!(sketch.finish().eighths.len(), 8);
    }
}
