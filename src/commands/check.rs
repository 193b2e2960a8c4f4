//! `check`: shows whether a configuration is valid, and what it resolves to.
//!
//! The functions return text or JSON; the program prints one of them, and exits with 2 if the configuration is refused.

use serde_json::{Value, json};

use crate::config::{ConfigErrors, Loaded, Problem};

/// Returns the result for a person: the resolved settings that apply, with secrets masked, below the warnings as
/// comments (so that the text can be saved as TOML); or every problem on a line of its own.
pub fn text(outcome: &Result<Loaded, ConfigErrors>) -> String {
    match outcome {
        Ok(loaded) => {
            let warnings: String = loaded.warnings.iter().map(|warning| format!("# warning: {warning}\n")).collect();
            warnings + &loaded.settings.show_text()
        }
        Err(errors) => format!("{errors}\n"),
    }
}

/// Returns the result for a program:
/// `{"ok", "problems": [{"key", "problem", "from"}], "warnings": […], "settings": {…} or null}`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Context, Environment, FileFormat};
    use crate::handler::Registry;

    fn outcome(text: &str) -> Result<Loaded, ConfigErrors> {
        let environment = Environment::from_iter([("KEY", "hush-hush"), ("OCTOCONF_ENGINE__LOG", "debug")]);
        let context = Context { environment: &environment, handlers: &Registry::new() };
        config::parse(text, FileFormat::Toml, "octoconf.toml", &context)
    }

    const GOOD: &str = "
        [admin]
        token = 'env:KEY'
        [queues.invoice]
        source = 'sqlite'
        handler = 'order'
        max_receives = 5
        [partners.default]
        url = 'https://h/{account}?k=1'
        rate = '5/s'
        [partners.'acme.com']
        rate = '300/m'
    ";

    #[test]
    fn a_person_sees_every_setting_as_it_came_out() {
        let text = text(&outcome(GOOD));
        for line in [
            "# warning: queues.invoice.max_receives: 5 receives",
            "handler_threads = 10\n",
            "log = \"debug\"\n",
            "max_in_flight_bytes = \"256MiB\"\n",
            "token = \"***\"\n",
            "[queues.invoice]\nsource = \"sqlite\"\npath = \"octoconf.db\"\nname = \"invoice\"\n",
            "url = \"https://h/{account}?***\"\n",
            "[partners.\"acme.com\"]\nrate = \"300/m\"\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_person_sees_every_problem_on_a_line() {
        let text =
            text(&outcome("[queues.q]\nhandler = 'order'\ncolour = 1\n[partners.default]\ndeliver = 'discard'\nburst = 0"));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "octoconf.toml: 2 problems");
        assert!(lines[1].starts_with("  partners.default.burst: 0 is out of range"), "{text}");
        assert!(lines[2].starts_with("  queues.q.colour: unknown key"), "{text}");
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn a_program_gets_one_object_of_one_shape() {
        let good = json(&outcome(GOOD));
        assert_eq!(good["ok"], true);
        assert_eq!(good["problems"], json!([]));
        assert_eq!(good["warnings"].as_array().map(Vec::len), Some(1));
        assert_eq!(good["settings"]["queues"]["invoice"]["visibility_timeout"], "1m");
        assert_eq!(good["settings"]["admin"]["token"], "***");
        assert_eq!(good["settings"]["partners"]["acme.com"]["max_batch"], 100, "each partner has all its keys");

        let bad = json(&outcome("[engin]\nlog = 'x'\n"));
        assert_eq!(bad["ok"], false);
        assert_eq!(bad["settings"], Value::Null);
        let unknown = json!({ "key": "engin", "problem": "unknown section; did you mean engine?", "from": null });
        assert_eq!(bad["problems"][0], unknown);
        assert_eq!(good.as_object().map(|o| o.keys().collect::<Vec<_>>()), bad.as_object().map(|o| o.keys().collect()));
    }
}
