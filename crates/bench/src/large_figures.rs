//! What overwriting large values came to, beside what every workload does.

use std::fmt;

use crate::figures::{decimal, json_object};

/// What overwriting large values came to. Space is in parts of the bytes of the live keys and values.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct LargeValues {
    /// Operations a second of the load before.
    pub load_ops_per_second: f64,
    /// Millions of bytes of keys and values a second of the load.
    pub load_mb_per_second: f64,
    /// Bytes written of the load, and of the background work that it left, over those of its keys and values.
    pub load_write_amplification: f64,
    /// The same of load and overwriting together.
    pub overall_write_amplification: f64,
    /// Bytes written to files in all of the run.
    pub overall_bytes_written: u64,
    /// Those of them that never got to the disk, since their file was removed before.
    pub overall_bytes_cancelled: u64,
    /// Bytes that collecting has written, where the store tells.
    pub collected_bytes: Option<u64>,
    /// Mean space over the last third of the overwriting, in allocated blocks.
    pub space_steady: f64,
    /// The same by the lengths of files.
    pub apparent_space_steady: f64,
    /// The most of all samples.
    pub space_max: f64,
    /// Space when the last write returned.
    pub space_end: f64,
    /// Space when background work rested.
    pub space_settled: f64,
    /// Space at about every fortieth of the overwriting.
    pub space_over_time: Vec<f64>,
    /// Processors that there are.
    pub cores: usize,
    /// CPU seconds of all threads over seconds, while overwriting.
    pub cores_used: f64,
    /// How many threads waited for the disk on average, while overwriting.
    pub threads_waiting_for_disk: f64,
    /// Millions of bytes written to files a second, while overwriting.
    pub written_mb_per_second: f64,
}

/// What collecting overwritten values costs the writers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Collecting {
    /// Operations a second without it, as fast as the store takes them.
    pub fast_ops_per_second_without: f64,
    /// The part of that rate which is reached with it.
    pub fast_kept: f64,
    /// Operations a second that paced writers offer: half of the rate without.
    pub offered_ops_per_second: f64,
    /// The part of those that is reached without collecting.
    pub paced_kept_without: f64,
    /// The part of those that is reached with it.
    pub paced_kept: f64,
    /// The latency that one paced operation in a thousand exceeds without it, counted from when it was due.
    pub paced_p999_us_without: f64,
    /// The same with it.
    pub paced_p999_us: f64,
}

impl LargeValues {
    /// What the writers ran into: "disk" where more threads waited for it than ran, else "CPU".
    #[must_use]
    pub fn bound(&self) -> &'static str {
        if self.threads_waiting_for_disk > self.cores_used { "disk" } else { "CPU" }
    }

    pub(crate) fn to_json(&self) -> String {
        let over_time: Vec<String> = self.space_over_time.iter().copied().map(decimal).collect();
        json_object(&[
            ("load_ops_per_second", decimal(self.load_ops_per_second)),
            ("load_mb_per_second", decimal(self.load_mb_per_second)),
            ("load_write_amplification", decimal(self.load_write_amplification)),
            ("overall_write_amplification", decimal(self.overall_write_amplification)),
            ("overall_bytes_written", self.overall_bytes_written.to_string()),
            ("overall_bytes_cancelled", self.overall_bytes_cancelled.to_string()),
            ("collected_bytes", self.collected_bytes.map_or_else(|| "null".to_owned(), |bytes| bytes.to_string())),
            ("space_steady", decimal(self.space_steady)),
            ("apparent_space_steady", decimal(self.apparent_space_steady)),
            ("space_max", decimal(self.space_max)),
            ("space_end", decimal(self.space_end)),
            ("space_settled", decimal(self.space_settled)),
            ("space_over_time", format!("[{}]", over_time.join(","))),
            ("cores", self.cores.to_string()),
            ("cores_used", decimal(self.cores_used)),
            ("threads_waiting_for_disk", decimal(self.threads_waiting_for_disk)),
            ("written_mb_per_second", decimal(self.written_mb_per_second)),
            ("bound", format!("{:?}", self.bound())),
        ])
    }
}

impl fmt::Display for LargeValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        writeln!(
            f,
            "load {:.0} ops/s, {:.1} MB/s; written, of data: load {:.3}, overall {:.3} ({:.0} MB, of which {:.0} MB in \
             files removed before they got to the disk)",
            self.load_ops_per_second,
            self.load_mb_per_second,
            self.load_write_amplification,
            self.overall_write_amplification,
            megabytes(self.overall_bytes_written),
            megabytes(self.overall_bytes_cancelled),
        )?;
        match self.collected_bytes {
            Some(bytes) => writeln!(f, "collecting wrote {:.0} MB", megabytes(bytes))?,
            None => writeln!(f, "the store does not tell what collecting wrote")?,
        }
        writeln!(
            f,
            "space, of data: steady {:.2} (by lengths {:.2}), most {:.2}, at the end {:.2}, at rest {:.2}",
            self.space_steady, self.apparent_space_steady, self.space_max, self.space_end, self.space_settled,
        )?;
        let over_time: Vec<String> = self.space_over_time.iter().map(|space| format!("{space:.2}")).collect();
        writeln!(f, "space over time: {}", over_time.join(" "))?;
        write!(
            f,
            "bound by {}: {:.2} of {} cores used, {:.2} threads waiting for the disk, {:.0} MB/s written",
            self.bound(),
            self.cores_used,
            self.cores,
            self.threads_waiting_for_disk,
            self.written_mb_per_second,
        )
    }
}

impl Collecting {
    pub(crate) fn to_json(self) -> String {
        json_object(&[
            ("fast_ops_per_second_without", decimal(self.fast_ops_per_second_without)),
            ("fast_kept", decimal(self.fast_kept)),
            ("offered_ops_per_second", decimal(self.offered_ops_per_second)),
            ("paced_kept_without", decimal(self.paced_kept_without)),
            ("paced_kept", decimal(self.paced_kept)),
            ("paced_p999_us_without", decimal(self.paced_p999_us_without)),
            ("paced_p999_us", decimal(self.paced_p999_us)),
        ])
    }
}

impl fmt::Display for Collecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "as fast as can be: {:.0} ops/s without collecting, of which collecting keeps {:.3}",
            self.fast_ops_per_second_without, self.fast_kept,
        )?;
        write!(
            f,
            "offered {:.0} ops/s: kept {:.3} (without collecting {:.3}), p99.9 {:.1} us (without {:.1} us)",
            self.offered_ops_per_second,
            self.paced_kept,
            self.paced_kept_without,
            self.paced_p999_us,
            self.paced_p999_us_without,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_json_and_what_is_not_told_is_null() {
        let large = LargeValues { space_over_time: vec![1.0, 1.25], collected_bytes: None, ..LargeValues::default() };
        let value: serde_json::Value = serde_json::from_str(&large.to_json()).unwrap();
        assert_eq!((value["space_over_time"][1].as_f64(), value["bound"].as_str()), (Some(1.25), Some("CPU")));
        assert!(value["collected_bytes"].is_null());
        let collecting = Collecting { paced_kept: 0.75, ..Collecting::default() };
        let value: serde_json::Value = serde_json::from_str(&collecting.to_json()).unwrap();
        assert_eq!(value["paced_kept"].as_f64(), Some(0.75));
    }

    #[test]
    fn the_bound_is_where_threads_spend_more_time() {
        let bound = |cores_used, threads_waiting_for_disk| {
            LargeValues { cores_used, threads_waiting_for_disk, ..LargeValues::default() }.bound()
        };
        assert_eq!((bound(1.4, 0.6), bound(0.8, 1.2)), ("CPU", "disk"));
    }
}
