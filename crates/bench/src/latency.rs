//! Latencies of operations, in an HDR histogram.
//!
//! One reading of the clock an operation: its end is the beginning of the next. That and the entry in the histogram cost
//! some 40 ns, which count as part of what is measured. Steps of a scan, which take little longer than that, are timed
//! in groups of [`SCAN_GROUP`] and stand in the histogram with their mean.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Entries of a scan that one reading of the clock stands for.
pub(crate) const SCAN_GROUP: u64 = 64;

/// Longest latency told apart: an hour.
const NANOSECONDS_MAX: u64 = 3_600_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// Latencies of one thread.
#[derive(Debug)]
pub(crate) struct Latencies {
    histogram: Histogram<u64>,
    last: Instant,
}

impl Latencies {
    /// No latencies yet; the first operation begins now.
    #[expect(clippy::expect_used, reason = "the bounds are constants that every test here passes through")]
    pub(crate) fn begin() -> Self {
        let histogram = Histogram::new_with_max(NANOSECONDS_MAX, SIGNIFICANT_DIGITS).expect("valid bounds");
        Self { histogram, last: Instant::now() }
    }

    /// An operation has ended, and the next begins.
    #[inline]
    pub(crate) fn lap(&mut self) {
        let now = Instant::now();
        self.record(now.duration_since(self.last));
        self.last = now;
    }

    /// An operation took this long.
    #[inline]
    pub(crate) fn record(&mut self, latency: Duration) {
        self.histogram.saturating_record(latency.as_nanos() as u64);
    }

    /// `count` operations have ended, of which the mean is kept.
    pub(crate) fn lap_many(&mut self, count: u64) {
        let now = Instant::now();
        let nanoseconds = now.duration_since(self.last).as_nanos() as u64;
        self.last = now;
        if let Some(mean) = nanoseconds.checked_div(count) {
            self.histogram.saturating_record_n(mean, count);
        }
    }

    /// Adds those of another thread.
    pub(crate) fn add(&mut self, other: &Self) {
        for value in other.histogram.iter_recorded() {
            self.histogram.saturating_record_n(value.value_iterated_to(), value.count_at_value());
        }
    }

    /// The latency in microseconds that this part of all operations does not exceed.
    pub(crate) fn quantile_us(&self, quantile: f64) -> f64 {
        self.histogram.value_at_quantile(quantile) as f64 / 1e3
    }

    /// The longest one in microseconds.
    pub(crate) fn max_us(&self) -> f64 {
        self.histogram.max() as f64 / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_add_up_and_groups_count_each_of_theirs() {
        let (mut one, mut other) = (Latencies::begin(), Latencies::begin());
        one.lap();
        other.lap_many(9);
        other.lap_many(0);
        one.add(&other);
        assert_eq!(one.histogram.len(), 10);
        assert!(one.quantile_us(1.0) >= one.quantile_us(0.5) && one.max_us() >= one.quantile_us(0.999));
    }
}
