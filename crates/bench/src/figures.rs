//! What a workload came to, for people and for programs.

use std::fmt::Write;

use crate::large_figures::{Collecting, LargeValues};

/// What a workload came to.
///
/// `seconds` and what derives from it are of the operations alone; bytes, CPU time and memory are also of the background
/// work that they left behind, which is waited for.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Figures {
    /// The workload's name.
    pub workload: String,
    /// Threads that shared the operations.
    pub threads: usize,
    /// Operations of all threads: entries written, read or scanned, seeks, or opens.
    pub ops: u64,
    /// From the first operation's begin to the last one's end; of opens, the sum of their times.
    pub seconds: f64,
    /// Operations a second.
    pub ops_per_second: f64,
    /// Millions of bytes of keys and values a second.
    pub mb_per_second: f64,
    /// Median latency of an operation (of a commit, where one holds several), in microseconds.
    pub p50_us: f64,
    /// The latency that one in a hundred exceeds.
    pub p99_us: f64,
    /// The latency that one in a thousand exceeds.
    pub p999_us: f64,
    /// The longest latency.
    pub max_us: f64,
    /// Bytes that the process caused to be written to files.
    pub bytes_written: u64,
    /// Those over the bytes of keys and values that were written; 0 where none were.
    pub write_amplification: f64,
    /// Bytes on disk over the bytes of the keys and values that are live.
    pub space_amplification: f64,
    /// CPU time of all threads.
    pub cpu_seconds: f64,
    /// Most resident memory, the page cache's mapped pages included.
    pub peak_rss_bytes: u64,
    /// Most anonymous memory, which nothing but the process itself can give back.
    pub peak_anon_bytes: u64,
    /// More about overwriting large values, where that was the workload.
    pub large: Option<LargeValues>,
    /// What collecting overwritten values costs, where that was the workload.
    pub collecting: Option<Collecting>,
}

/// The head of the table whose rows [`Figures::to_row`] makes.
pub const TABLE_HEADER: &str = "\
workload               ops/s     MB/s    p50 us    p99 us  p99.9 us    max us  written MB  w-amp  s-amp   CPU s  RSS MiB  anon MiB";

impl Figures {
    /// One line of JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut fields = vec![
            ("workload", format!("{:?}", self.workload)),
            ("threads", self.threads.to_string()),
            ("ops", self.ops.to_string()),
            ("seconds", decimal(self.seconds)),
            ("ops_per_second", decimal(self.ops_per_second)),
            ("mb_per_second", decimal(self.mb_per_second)),
            ("p50_us", decimal(self.p50_us)),
            ("p99_us", decimal(self.p99_us)),
            ("p999_us", decimal(self.p999_us)),
            ("max_us", decimal(self.max_us)),
            ("bytes_written", self.bytes_written.to_string()),
            ("write_amplification", decimal(self.write_amplification)),
            ("space_amplification", decimal(self.space_amplification)),
            ("cpu_seconds", decimal(self.cpu_seconds)),
            ("peak_rss_bytes", self.peak_rss_bytes.to_string()),
            ("peak_anon_bytes", self.peak_anon_bytes.to_string()),
        ];
        fields.extend(self.large.as_ref().map(|large| ("large", large.to_json())));
        fields.extend(self.collecting.as_ref().map(|collecting| ("collecting", collecting.to_json())));
        json_object(&fields)
    }

    /// One row of a table for people, and lines below it where there is more to say.
    #[must_use]
    pub fn to_row(&self) -> String {
        let mut row = format!(
            "{:<17} {:>10.0} {:>8.1} {:>9.2} {:>9.2} {:>9.2} {:>9.0} {:>11.1} {:>6.2} {:>6.2} {:>7.2} {:>8.1} {:>9.1}",
            self.workload,
            self.ops_per_second,
            self.mb_per_second,
            self.p50_us,
            self.p99_us,
            self.p999_us,
            self.max_us,
            self.bytes_written as f64 / 1e6,
            self.write_amplification,
            self.space_amplification,
            self.cpu_seconds,
            mebibytes(self.peak_rss_bytes),
            mebibytes(self.peak_anon_bytes),
        );
        let more = self.large.iter().map(ToString::to_string).chain(self.collecting.iter().map(ToString::to_string));
        for line in more.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()) {
            row.push_str("\n    ");
            row.push_str(&line);
        }
        row
    }
}

/// An object of JSON whose values are written already.
pub(crate) fn json_object(fields: &[(&str, String)]) -> String {
    let mut object = String::from("{");
    for (place, (name, value)) in fields.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        // Writing to a string does not fail.
        let _ = write!(object, "{comma}\"{name}\":{value}");
    }
    object.push('}');
    object
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A number that JSON can hold.
pub(crate) fn decimal(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}") } else { "0".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [&str; 16] = [
        "workload",
        "threads",
        "ops",
        "seconds",
        "ops_per_second",
        "mb_per_second",
        "p50_us",
        "p99_us",
        "p999_us",
        "max_us",
        "bytes_written",
        "write_amplification",
        "space_amplification",
        "cpu_seconds",
        "peak_rss_bytes",
        "peak_anon_bytes",
    ];

    #[test]
    fn a_line_is_json_with_all_fields_and_no_other() {
        let figures = Figures { workload: "fillseq".to_owned(), ops: 7, seconds: f64::NAN, ..Figures::default() };
        let value: serde_json::Value = serde_json::from_str(&figures.to_json()).unwrap();
        let object = value.as_object().unwrap();
        assert_eq!(object.len(), FIELDS.len());
        assert!(FIELDS.iter().all(|field| object.contains_key(*field)));
        assert_eq!((value["workload"].as_str(), value["ops"].as_u64()), (Some("fillseq"), Some(7)));
    }

    #[test]
    fn rows_stand_below_the_head() {
        assert_eq!(Figures::default().to_row().len(), TABLE_HEADER.len());
    }
}
