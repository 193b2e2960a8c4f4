//! The table: medians, and the ratio to the limit of the same run.

use std::{fs, io};

use serde_json::{Value, json};

pub struct Row {
    name: String,
    per_second: f64,
    ratio: f64,
    runs: usize,
}

impl Row {
    /// From pairs of messages a second: of the row, and of the limit measured beside it.
    pub fn new(name: &str, pairs: &[(f64, f64)]) -> Self {
        let per_second = median(pairs.iter().map(|(row, _)| *row));
        let ratio = median(pairs.iter().map(|(row, limit)| row / limit));
        Self { name: name.to_owned(), per_second, ratio, runs: pairs.len() }
    }
}

pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    pub fn new() -> Self {
        Self { rows: Vec::new() }
    }

    pub fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub fn print(&self) {
        println!("{:34} {:>14} {:>10} {:>5}", "row", "messages/s", "of limit", "runs");
        for row in &self.rows {
            println!("{:34} {:>14.0} {:>10.3} {:>5}", row.name, row.per_second, row.ratio, row.runs);
        }
    }

    pub fn write(&self, path: &str) -> io::Result<()> {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(
                |row| json!({ "row": row.name, "messages_per_s": row.per_second, "ratio_to_limit": row.ratio, "runs": row.runs }),
            )
            .collect();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let text = json!({ "machine": { "cores": cores, "model": model() }, "rows": rows });
        fs::create_dir_all("target")?;
        fs::write(path, format!("{text:#}\n"))
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown").to_owned()
}
