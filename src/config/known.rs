//! Checks the raw tree against the known keys, which are those of `defaults.toml`, before any value is read.
//!
//! This is a pass of its own because serde would stop at the first unknown key.

use config::{Value, ValueKind};

use super::problem::{Problems, join, nearest, suggest};
use super::tree::{Tree, as_table, table};

/// Reports every unknown section and key, and every value that stands in the place of a section.
pub(super) fn check(tree: &Tree, defaults: &Tree, problems: &Problems) {
    for (name, value) in tree {
        let Some(known) = defaults.get(name) else {
            let what = if matches!(value.kind, ValueKind::Table(_)) { "section" } else { "key" };
            let text = format!("unknown {what}; {}", suggest(name, defaults.keys().map(String::as_str)));
            problems.add(join("", name), text, first_origin(value));
            continue;
        };
        match name.as_str() {
            "queues" | "handlers" | "partners" => check_named(name, value, defaults, problems),
            _ if matches!(known.kind, ValueKind::Table(_)) => {
                check_keys(name, value, table(defaults, &[name.as_str()]), problems)
            }
            _ => {}
        }
    }
}

/// Checks a section of sections, whose names the user chooses.
fn check_named(section: &str, value: &Value, defaults: &Tree, problems: &Problems) {
    let Some(entries) = expect_section(section, value, problems) else { return };
    let is_partners = section == "partners";
    let known = table(defaults, &[section, if is_partners { "default" } else { "*" }]);
    for (name, value) in entries {
        let path = join(section, name);
        if is_partners && as_table(value).is_none() && known.contains_key(name) {
            let text = "a key outside of a partner's section; write it below [partners.default] or [partners.ACCOUNT]";
            problems.add(&path, text, value.origin());
            continue;
        }
        if is_partners && name.is_empty() {
            problems.add(&path, "an account is never empty; name it", first_origin(value));
        } else if !is_partners && !is_name(name) {
            let text = "not a name; use at most 80 letters, digits, \"-\", \"_\" and \".\", with a letter or digit first";
            problems.add(&path, text, first_origin(value));
        }
        check_keys(&path, value, known, problems);
        // What would be a table in TOML.
        if let Some(account) = name.strip_suffix(".headers").filter(|_| is_partners)
            && as_table(value).is_some_and(|keys| keys.keys().any(|key| !known.contains_key(key)))
        {
            let text = format!(
                "an account of this name; if these are headers of {}, write headers.NAME = VALUE below [{section}.{account}]",
                join(section, account)
            );
            problems.add(&path, text, first_origin(value));
        }
    }
}

/// Whether a name may be used in a path, a metric, a URL and the name of a queue at AWS (which is why it has at most 80
/// characters). The names `.` and `..` are excluded.
fn is_name(name: &str) -> bool {
    name.len() <= 80
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn check_keys(path: &str, value: &Value, known: &Tree, problems: &Problems) {
    let Some(keys) = expect_section(path, value, problems) else { return };
    for (key, value) in keys {
        let key_path = join(path, key);
        match known.get(key).map(|default| &default.kind) {
            Some(ValueKind::Table(_)) => {
                expect_section(&key_path, value, problems);
            }
            Some(_) => {}
            None => {
                let known = known.keys().map(String::as_str);
                // TOML reads `[partners.acme.com]` as a table within a table.
                let text = match whole_name(path, key, value).filter(|_| nearest(key, known.clone()).is_none()) {
                    Some(whole) => format!("unknown section; a name with a dot is quoted: [{whole}]"),
                    None => format!("unknown key; {}", suggest(key, known)),
                };
                problems.add(key_path, text, first_origin(value));
            }
        }
    }
}

/// Returns the section name that `[section.NAME.KEY]` was probably meant to be, if the name contains a dot.
fn whole_name(path: &str, key: &str, value: &Value) -> Option<String> {
    let (section, name) = path.split_once('.')?;
    matches!(value.kind, ValueKind::Table(_)).then(|| join(section, &format!("{}.{key}", name.trim_matches('"'))))
}

fn expect_section<'a>(path: &str, value: &'a Value, problems: &Problems) -> Option<&'a Tree> {
    let table = as_table(value);
    if table.is_none() {
        let found = if matches!(value.kind, ValueKind::Array(_)) { "a list" } else { "a value" };
        let text = match path {
            "queues" | "handlers" => format!("{found} where sections must be; write [{path}.NAME] for each, and its keys below"),
            "partners" => format!("{found} where sections must be; write [{path}.ACCOUNT] for each, and its keys below"),
            _ if path.starts_with("partners.") && path.ends_with(".headers") => {
                format!("{found} where headers must be; write headers.NAME = VALUE for each in the partner's section")
            }
            _ => format!("{found} where a section must be; write [{path}] and its keys below"),
        };
        problems.add(path, text, value.origin());
    }
    table
}

/// Returns where a value came from. A table carries no origin of its own, so for a table this is the first origin, in
/// alphabetical order, of the values in it.
fn first_origin(value: &Value) -> Option<&str> {
    match &value.kind {
        ValueKind::Table(table) => table.values().filter_map(first_origin).min(),
        _ => value.origin(),
    }
}
