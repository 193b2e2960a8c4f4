//! `check`: is the configuration fit to run with, and what does it come to?
//!
//! Gives text and JSON; `main` prints one of them and exits with 2 where the configuration is refused.

use serde_json::{Value, json};

use crate::config::{ConfigErrors, Loaded, Problem};

/// For a person: the resolved settings with secrets masked and the warnings as comments above them (so that it can be saved as TOML),
/// or every problem on a line of its own.
pub fn text(outcome: &Result<Loaded, ConfigErrors>) -> String {
    match outcome {
        Ok(loaded) => {
            let warnings: String = loaded.warnings.iter().map(|warning| format!("# warning: {warning}\n")).collect();
            warnings + &loaded.settings.show_text()
        }
        Err(errors) => format!("{errors}\n"),
    }
}

/// For a program: `{"ok", "problems": [{"key", "problem", "from"}], "warnings": […], "settings": {…} or null}`.
pub fn json(outcome: &Result<Loaded, ConfigErrors>) -> Value {
    match outcome {
        Ok(loaded) => json!({
            "ok": true,
            "problems": [],
            "warnings": loaded.warnings,
            "settings": loaded.settings.show(),
        }),
        Err(errors) => {
            let problems: Vec<Value> = errors.problems.iter().map(problem).collect();
            json!({ "ok": false, "problems": problems, "warnings": [], "settings": null })
        }
    }
}

fn problem(problem: &Problem) -> Value {
    json!({ "key": problem.key, "problem": problem.text, "from": problem.origin })
}
