//! The table: medians over runs, each beside the limit measured in the same run, and `target/bench.json`.

use std::{fs, io};

use serde_json::{Value, json};

/// One row of the table.
pub struct Figure {
    row: String,
    unit: &'static str,
    /// One value per run.
    values: Vec<f64>,
    against: Option<Against>,
    aim: Option<Aim>,
    /// Whether the aim applies to the value, although there is something to compare it with.
    aims_at_value: bool,
}

/// What a row is compared with: a limit that no engine could pass, or the same work under easier conditions.
struct Against {
    what: &'static str,
    values: Vec<f64>,
}

/// The aim for the ratio to what a row is compared with, or for the value of a row that stands alone.
#[derive(Clone, Copy)]
pub enum Aim {
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
    pub fn new(row: impl Into<String>, unit: &'static str, values: Vec<f64>) -> Self {
        Self { row: row.into(), unit, values, against: None, aim: None, aims_at_value: false }
    }

    /// Creates a row from pairs: the value of a run, and the value that it is compared with.
    pub fn pairs(row: impl Into<String>, unit: &'static str, pairs: &[(f64, f64)], what: &'static str) -> Self {
        let against = Against { what, values: pairs.iter().map(|(_, other)| *other).collect() };
        let values = pairs.iter().map(|(value, _)| *value).collect();
        Self { row: row.into(), unit, values, against: Some(against), aim: None, aims_at_value: false }
    }

    pub fn aim(mut self, aim: Aim) -> Self {
        self.aim = Some(aim);
        self
    }

    pub fn value_aim(self, aim: Aim) -> Self {
        Self { aim: Some(aim), aims_at_value: true, ..self }
    }

    fn value(&self) -> f64 {
        median(self.values.iter().copied())
    }

    /// Returns the median of the runs' ratios. Each run has a limit of its own, measured beside it.
    fn ratio(&self) -> Option<f64> {
        let against = self.against.as_ref()?;
        Some(median(self.values.iter().zip(&against.values).map(|(value, other)| value / other)))
    }

    fn is_met(&self) -> Option<bool> {
        let figure = self.ratio().filter(|_| !self.aims_at_value).unwrap_or_else(|| self.value());
        self.aim.map(|aim| match aim {
            Aim::AtLeast(bound) => figure >= bound,
            Aim::AtMost(bound) => figure <= bound,
        })
    }

    fn json(&self) -> Value {
        let (aim, bound) = match self.aim {
            Some(Aim::AtLeast(bound)) => ("at least", Some(bound)),
            Some(Aim::AtMost(bound)) => ("at most", Some(bound)),
            None => ("none", None),
        };
        json!({
            "row": self.row,
            "value": self.value(),
            "unit": self.unit,
            "values": self.values,
            "against": self.against.as_ref().map(|against| json!({
                "what": against.what, "value": median(against.values.iter().copied()), "values": against.values,
            })),
            "ratio": self.ratio(),
            "aim": { "is": aim, "bound": bound, "met": self.is_met() },
            "runs": self.values.len(),
        })
    }

    fn line(&self) -> String {
        let ratio = self.ratio().map_or_else(String::new, |ratio| format!("{ratio:.3}"));
        let aim = match self.aim {
            Some(Aim::AtLeast(bound)) => format!(">= {bound}"),
            Some(Aim::AtMost(bound)) => format!("<= {bound}"),
            None => String::new(),
        };
        let met = match self.is_met() {
            Some(true) => "met",
            Some(false) => "missed",
            None => "",
        };
        let against = self.against.as_ref().map_or("", |against| against.what);
        let runs = self.values.len();
        let value = plain(self.value());
        format!("{:58} {value:>11} {:12} {ratio:>7} {aim:>8} {met:6} {runs:>4}  {against}", self.row, self.unit)
    }
}

/// Formats a value with as many digits as are meaningful.
fn plain(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

#[derive(Default)]
pub struct Table {
    figures: Vec<Figure>,
    sections: Vec<(&'static str, Value)>,
}

impl Table {
    /// Adds the figures of another table to the file.
    pub fn add_section(&mut self, name: &'static str, section: Value) {
        self.sections.push((name, section));
    }

    /// Adds a row and prints it at once, since the next one may take some time.
    pub fn add(&mut self, figure: Figure) {
        if self.figures.is_empty() {
            println!("{:58} {:>11} {:12} {:>7} {:>8} {:6} {:>4}  against", "row", "median", "unit", "ratio", "aim", "", "runs");
        }
        println!("{}", figure.line());
        self.figures.push(figure);
    }

    pub fn write(&self, path: &str) -> io::Result<()> {
        let rows: Vec<Value> = self.figures.iter().map(Figure::json).collect();
        let mut text = json!({ "machine": machine(), "rows": rows });
        for (name, section) in &self.sections {
            text[*name] = section.clone();
        }
        fs::create_dir_all("target")?;
        fs::write(path, format!("{text:#}\n"))
    }
}

/// Returns the middle value of at least one.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn machine() -> Value {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "model": after(&text("/proc/cpuinfo"), "model name"),
        "memory": after(&text("/proc/meminfo"), "MemTotal"),
        "kernel": text("/proc/sys/kernel/osrelease").trim(),
    })
}

/// Describes the machine in one line.
pub fn machine_line() -> String {
    let machine = machine();
    let field = |name: &str| machine[name].as_str().unwrap_or("unknown").to_owned();
    format!("{} x {}, {} of memory, Linux {}", machine["cores"], field("model"), field("memory"), field("kernel"))
}
