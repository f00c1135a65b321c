//! Figures for people: sizes, counts and rates.

use std::time::Duration;

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// A size with one decimal and a binary unit, such as `3.4 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    let mut scaled = count as f64;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while scaled >= 1023.95 {
        let Some(next) = units.next() else { break };
        unit = Some(next);
        scaled /= 1024.0;
    }
    let decimals = if count < 1024 { 0 } else { 1 };
    format!("{scaled:.decimals$} {}", unit.unwrap_or(&"B"))
}

/// A count with commas, such as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes a second.
pub(crate) fn rate(bytes_moved: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(1e-9);
    format!("{}/s", bytes((bytes_moved as f64 / seconds) as u64))
}

/// `1 entry`, `2 entries`.
pub(crate) fn several(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_largest_unit_that_leaves_something_in_front_of_the_point() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ];
        for (size, text) in cases {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn counts_have_a_comma_every_three_digits() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        assert_eq!(several(1, "entry", "entries"), "1 entry");
        assert_eq!(several(1_000, "entry", "entries"), "1,000 entries");
    }

    #[test]
    fn a_rate_of_no_time_is_a_number() {
        assert_eq!(rate(0, Duration::ZERO), "0 B/s");
        assert_eq!(rate(2048, Duration::from_secs(2)), "1.0 KiB/s");
    }
}
