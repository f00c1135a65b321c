//! The results as tables in Markdown.

use std::fmt;

use serde_json::Value;

use crate::goals;

/// What every store made of a workload, in the order of the stores.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) workload: String,
    pub(crate) figures: Vec<Value>,
}

/// All results.
#[derive(Debug)]
pub(crate) struct Table {
    stores: Vec<String>,
    pub(crate) rows: Vec<Row>,
}

/// A figure other than the rate.
struct Column {
    title: &'static str,
    field: &'static str,
    unit: f64,
    decimals: usize,
}

const COLUMNS: [Column; 6] = [
    Column { title: "p99 us", field: "p99_us", unit: 1.0, decimals: 1 },
    Column { title: "p99.9 us", field: "p999_us", unit: 1.0, decimals: 1 },
    Column { title: "written, of data", field: "write_amplification", unit: 1.0, decimals: 2 },
    Column { title: "space, of data", field: "space_amplification", unit: 1.0, decimals: 2 },
    Column { title: "CPU s", field: "cpu_seconds", unit: 1.0, decimals: 2 },
    Column { title: "anonymous MiB", field: "peak_anon_bytes", unit: (1 << 20) as f64, decimals: 0 },
];

/// What a rate is given in: opens as they are, all else in thousands.
fn unit(workload: &str) -> f64 {
    if workload.starts_with("open") { 1.0 } else { 1e3 }
}

/// Operations a second.
pub(crate) fn rate(figures: &Value) -> f64 {
    number(figures, "ops_per_second")
}

fn number(figures: &Value, field: &str) -> f64 {
    figures.get(field).and_then(Value::as_f64).unwrap_or(0.0)
}

impl Row {
    /// The first store's rate over the best of the others; none where there is no other, or none is measured.
    fn ratio(&self) -> Option<f64> {
        let (ours, others) = self.figures.split_first()?;
        let best = others.iter().map(rate).max_by(f64::total_cmp)?;
        (self.workload.strip_prefix("fdatasync").is_none() && best > 0.0).then(|| rate(ours) / best)
    }

    /// One line for whoever waits.
    pub(crate) fn summary(&self, stores: &[String]) -> String {
        let mut line = format!("{:<18}", self.workload);
        for (store, figures) in stores.iter().zip(&self.figures) {
            line.push_str(&format!("  {store} {:>8.1}", rate(figures) / unit(&self.workload)));
        }
        if let Some(ratio) = self.ratio() {
            line.push_str(&format!("  ratio {ratio:.2}"));
        }
        line
    }

    /// One JSON object a store, with the store's name beside the figures.
    pub(crate) fn print_json(&self, stores: &[String]) {
        for (store, figures) in stores.iter().zip(&self.figures) {
            let mut figures = figures.clone();
            if let Some(object) = figures.as_object_mut() {
                object.insert("store".to_owned(), Value::from(store.as_str()));
            }
            println!("{figures}");
        }
    }
}

impl Table {
    pub(crate) fn new(stores: &[String]) -> Self {
        Self { stores: stores.to_owned(), rows: Vec::new() }
    }

    fn write_rates(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| workload |")?;
        for store in &self.stores {
            write!(f, " {store} |")?;
        }
        writeln!(f, " ratio | first light |")?;
        writeln!(f, "|---|{}---:|---:|", "---:|".repeat(self.stores.len()))?;
        for row in &self.rows {
            write!(f, "| {} |", row.workload)?;
            for figures in &row.figures {
                let rate = rate(figures) / unit(&row.workload);
                let decimals = if rate < 10.0 { 2 } else { usize::from(rate < 100.0) };
                write!(f, " {rate:.decimals$} |")?;
            }
            match (row.ratio(), goals::first_light(&row.workload)) {
                (Some(ratio), Some(goal)) if ratio < goal => writeln!(f, " **{ratio:.2}** | {goal} |")?,
                (Some(ratio), Some(goal)) => writeln!(f, " {ratio:.2} | {goal} |")?,
                (Some(ratio), None) => writeln!(f, " {ratio:.2} | |")?,
                (None, _) => writeln!(f, " | |")?,
            }
        }
        Ok(())
    }

    fn write_costs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| workload |")?;
        for column in &COLUMNS {
            write!(f, " {} |", column.title)?;
        }
        writeln!(f, "\n|---|{}", "---:|".repeat(COLUMNS.len()))?;
        for row in &self.rows {
            write!(f, "| {} |", row.workload)?;
            for column in &COLUMNS {
                let decimals = column.decimals;
                let values: Vec<String> = row
                    .figures
                    .iter()
                    .map(|figures| format!("{:.decimals$}", number(figures, column.field) / column.unit))
                    .collect();
                write!(f, " {} |", values.join(" / "))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Thousands of operations a second; opens a second:\n")?;
        self.write_rates(f)?;
        writeln!(f, "\nWhat they cost ({}):\n", self.stores.join(" / "))?;
        self.write_costs(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(workload: &str, rates: &[f64]) -> Row {
        let figures = rates.iter().map(|rate| serde_json::json!({ "ops_per_second": rate, "cpu_seconds": 1.5 }));
        Row { workload: workload.to_owned(), figures: figures.collect() }
    }

    #[test]
    fn the_ratio_is_to_the_best_of_the_others() {
        assert_eq!(row("fillseq", &[300.0, 100.0, 200.0]).ratio(), Some(1.5));
        assert_eq!(row("fillseq", &[300.0]).ratio(), None);
        assert_eq!(row("fdatasync", &[300.0, 100.0]).ratio(), None, "no store takes part in it");
    }

    #[test]
    fn a_ratio_below_the_goal_stands_out() {
        let mut table = Table::new(&["a".to_owned(), "b".to_owned()]);
        table.rows = vec![row("fillseq", &[149_000.0, 100_000.0]), row("fillseq-t4", &[1_500.0, 1_000.0])];
        let text = table.to_string();
        assert!(text.contains("| fillseq | 149 | 100 | **1.49** | 1.5 |\n"), "{text}");
        assert!(text.contains("| fillseq-t4 | 1.50 | 1.00 | 1.50 | 1.5 |\n"), "{text}");
        assert!(text.contains("| 1.50 / 1.50 |"), "{text}");
    }

    #[test]
    fn opens_are_not_counted_in_thousands() {
        let mut table = Table::new(&["a".to_owned(), "b".to_owned()]);
        table.rows = vec![row("openafterkill", &[4.5, 5.0])];
        let text = table.to_string();
        assert!(text.contains("| openafterkill | 4.50 | 5.00 | **0.90** | 1 |\n"), "{text}");
    }
}
