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

/// A figure other than the rate, and where it stands.
struct Column {
    title: &'static str,
    pointer: &'static str,
    unit: f64,
    decimals: usize,
}

const COSTS: [Column; 6] = [
    column("p99 us", "/p99_us", 1),
    column("p99.9 us", "/p999_us", 1),
    column("written, of data", "/write_amplification", 2),
    column("space, of data", "/space_amplification", 2),
    column("CPU s", "/cpu_seconds", 2),
    Column { title: "anonymous MiB", pointer: "/peak_anon_bytes", unit: (1 << 20) as f64, decimals: 0 },
];

const LARGE_VALUES: [Column; 10] = [
    column("load MB/s", "/large/load_mb_per_second", 0),
    column("overwriting MB/s", "/mb_per_second", 0),
    column("load written, of data", "/large/load_write_amplification", 3),
    column("all written, of data", "/large/overall_write_amplification", 2),
    column("steady space, of data", "/large/space_steady", 2),
    column("most", "/large/space_max", 2),
    column("at the end", "/large/space_end", 2),
    column("at rest", "/large/space_settled", 2),
    column("p99.9 us", "/p999_us", 1),
    Column { title: "collecting wrote MB", pointer: "/large/collected_bytes", unit: 1e6, decimals: 0 },
];

const COLLECTING: [Column; 8] = [
    Column { title: "offered", pointer: "/collecting/offered_ops_per_second", unit: 1e3, decimals: 1 },
    column("kept", "/collecting/paced_kept", 3),
    column("kept without", "/collecting/paced_kept_without", 3),
    column("p99.9 us", "/collecting/paced_p999_us", 1),
    column("p99.9 us without", "/collecting/paced_p999_us_without", 1),
    column("not paced, of the rate without", "/collecting/fast_kept", 2),
    column("bound by", "/large/bound", 0),
    column("cores used", "/large/cores_used", 2),
];

const fn column(title: &'static str, pointer: &'static str, decimals: usize) -> Column {
    Column { title, pointer, unit: 1.0, decimals }
}

impl Column {
    fn text(&self, figures: &Value) -> String {
        let decimals = self.decimals;
        match figures.pointer(self.pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => format!("{:.decimals$}", number.as_f64().unwrap_or(0.0) / self.unit),
            _ => "-".to_owned(),
        }
    }
}

/// What a rate is given in: opens as they are, all else in thousands.
fn unit(workload: &str) -> f64 {
    if workload.starts_with("open") { 1.0 } else { 1e3 }
}

/// Operations a second.
pub(crate) fn rate(figures: &Value) -> f64 {
    figures.get("ops_per_second").and_then(Value::as_f64).unwrap_or(0.0)
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

    /// Writes these figures of the rows that have such a part.
    fn write_columns(
        &self,
        f: &mut fmt::Formatter<'_>,
        title: &str,
        part: Option<&str>,
        columns: &[Column],
    ) -> fmt::Result {
        let has_part = |row: &&Row| part.is_none_or(|part| row.figures.iter().any(|all| all.get(part).is_some()));
        let rows: Vec<&Row> = self.rows.iter().filter(has_part).collect();
        if rows.is_empty() {
            return Ok(());
        }
        write!(f, "\n{title} ({}):\n\n| workload |", self.stores.join(" / "))?;
        for column in columns {
            write!(f, " {} |", column.title)?;
        }
        writeln!(f, "\n|---|{}", "---:|".repeat(columns.len()))?;
        for row in rows {
            write!(f, "| {} |", row.workload)?;
            for column in columns {
                let values: Vec<String> = row.figures.iter().map(|figures| column.text(figures)).collect();
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
        self.write_columns(f, "What they cost", None, &COSTS)?;
        self.write_columns(f, "Large values that are overwritten", Some("large"), &LARGE_VALUES)?;
        self.write_columns(
            f,
            "The same at half the rate without collecting, in thousands a second, and not paced",
            Some("collecting"),
            &COLLECTING,
        )
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
    fn what_only_large_values_have_stands_in_tables_of_its_own() {
        let mut table = Table::new(&["a".to_owned(), "b".to_owned()]);
        table.rows = vec![row("fillseq", &[1.0, 2.0])];
        assert!(!table.to_string().contains("Large values"));
        let figures = |collected| {
            serde_json::json!({
                "ops_per_second": 5.0,
                "large": { "space_steady": 1.25, "collected_bytes": collected, "bound": "disk" },
                "collecting": { "paced_kept": 0.998 },
            })
        };
        let figures = vec![figures(Some(7_000_000)), figures(None)];
        table.rows.push(Row { workload: "gc-4k".to_owned(), figures });
        let text = table.to_string();
        let (_, large) = text.split_once("Large values").unwrap();
        let (large, collecting) = large.split_once("The same at half").unwrap();
        assert!(large.contains("| 1.25 / 1.25 |") && large.contains("| 7 / - |\n"), "{large}");
        assert!(collecting.contains("| 0.998 / 0.998 |") && collecting.contains("| disk / disk |"), "{collecting}");
        assert!(!large.contains("fillseq") && !collecting.contains("fillseq"), "{text}");
    }

    #[test]
    fn opens_are_not_counted_in_thousands() {
        let mut table = Table::new(&["a".to_owned(), "b".to_owned()]);
        table.rows = vec![row("openafterkill", &[4.5, 5.0])];
        let text = table.to_string();
        assert!(text.contains("| openafterkill | 4.50 | 5.00 | **0.90** | 1 |\n"), "{text}");
    }
}
