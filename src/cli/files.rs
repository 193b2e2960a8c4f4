//! Input files of commands, and the styles of their progress bars.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use anyhow::Context as _;
use indicatif::{HumanCount, ProgressState, ProgressStyle};

/// Opens a file to read lines from; `-` is standard input.
pub fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Box::new(BufReader::with_capacity(256 * 1024, file)))
}

/// The style of a bar for work without a known end.
pub fn counting(what: &str) -> ProgressStyle {
    style(&format!("{{spinner}} {{human_pos}} {what} ({{rate}}, {{elapsed}}) {{msg}}"))
}

/// The style of a bar for work with a known end.
pub fn towards(what: &str) -> ProgressStyle {
    style(&format!("{{bar:30}} {{human_pos}}/{{human_len}} {what} ({{rate}}, {{eta}} left) {{msg}}"))
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
        // Where the bar cannot be drawn, nothing else can be done about it.
        let _ = out.write_str(&rate(state.per_sec()));
    })
}

/// Returns a number per second without the four decimals of the bar's own `per_sec`.
fn rate(per_second: f64) -> String {
    format!("{}/s", HumanCount(per_second.round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_whole_number() {
        assert_eq!([0.0, 0.6, 62_522.036_9].map(rate), ["0/s", "1/s", "62,522/s"]);
    }
}
