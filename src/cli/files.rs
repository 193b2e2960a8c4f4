//! Input files of commands, and the styles of their progress bars.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use anyhow::Context as _;
use indicatif::ProgressStyle;

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
    style(&format!("{{spinner}} {{human_pos}} {what} ({{per_sec}}, {{elapsed}}) {{msg}}"))
}

/// The style of a bar for work with a known end.
pub fn towards(what: &str) -> ProgressStyle {
    style(&format!("{{bar:30}} {{human_pos}}/{{human_len}} {what} ({{per_sec}}, {{eta}} left) {{msg}}"))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
