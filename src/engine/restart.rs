//! Which settings cannot change while an engine runs, and why. Pure.

use serde_json::Value;

use crate::settings::{QueueSettings, Settings, Source};

use super::plan::is_same_queue;

/// Returns the keys that differ and need a restart, each with the reason unless that is obvious.
///
/// `old` are the settings in force: their `handler_threads` is the number of threads that run.
pub fn need_restart(old: &Settings, new: &Settings) -> Vec<String> {
    let mut keys = Vec::new();
    let (before, after) = (old.show(), new.show());
    for section in ["engine", "admin"] {
        differences(section, before.get(section), after.get(section), &mut keys);
    }
    keys.retain(|key| !["engine.log", "engine.handler_threads", "admin.token"].contains(&key.as_str()));
    keys.extend(handler_threads(old, new));
    for (name, queue) in &old.queues {
        let path = format!("queues.{name}");
        let mut differing = Vec::new();
        let show = |all: &Value| all.get("queues").and_then(|queues| queues.get(name)).cloned();
        match new.queues.get(name) {
            None if is_memory(queue) => differing.push(path.clone()),
            Some(other) if !is_same_queue(queue, other) && (is_memory(queue) || keeps_file(queue, other)) => {
                differences(&path, show(&before).as_ref(), show(&after).as_ref(), &mut differing);
                differing.retain(|key| names_a_queue(key));
            }
            _ => continue,
        }
        let why = if is_memory(queue) {
            "its messages live in this process".to_owned()
        } else {
            format!("{path}.parking stays, and one queue at a time delivers from it; name another file for it as well")
        };
        keys.extend(differing.into_iter().map(|key| format!("{key} ({why})")));
    }
    keys
}

/// The pool has a fixed number of threads. A configured number that equals the sum of the queues' concurrency may stem
/// from a 0, and then asks for no change.
fn handler_threads(old: &Settings, new: &Settings) -> Option<String> {
    let needed: usize = new.queues.values().map(|queue| queue.concurrency).sum();
    let (running, wanted) = (old.engine.handler_threads, new.engine.handler_threads);
    if needed > running {
        return Some(format!(
            "engine.handler_threads ({running} run, the queues' concurrency comes to {needed}; set it above that for queues to come)"
        ));
    }
    (wanted != running && wanted != needed).then(|| format!("engine.handler_threads ({running} run)"))
}

fn is_memory(queue: &QueueSettings) -> bool {
    matches!(queue.source, Source::Memory { .. })
}

fn keeps_file(old: &QueueSettings, new: &QueueSettings) -> bool {
    old.parking.is_some() && old.parking == new.parking
}

/// Returns whether another value of this key makes another queue.
fn names_a_queue(key: &str) -> bool {
    const RULES: [&str; 8] = [
        "handler",
        "concurrency",
        "pollers",
        "receive_batch",
        "wait_time",
        "visibility_timeout",
        "parking_max_bytes",
        "max_receives",
    ];
    key.rsplit('.').next().is_some_and(|key| !RULES.contains(&key))
}

fn differences(path: &str, old: Option<&Value>, new: Option<&Value>, keys: &mut Vec<String>) {
    if old == new {
        return;
    }
    let (Some(Value::Object(before)), Some(Value::Object(after))) = (old, new) else {
        keys.push(path.to_owned());
        return;
    };
    let added = after.keys().filter(|key| !before.contains_key(*key));
    for key in before.keys().chain(added) {
        differences(&format!("{path}.{key}"), before.get(key), after.get(key), keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Context, Environment, FileFormat};
    use crate::handler::Registry;

    fn settings(text: &str) -> Settings {
        let environment = Environment::from_iter([("A", "one"), ("B", "two")]);
        let context = Context { environment: &environment, handlers: &Registry::new() };
        config::parse(text, FileFormat::Toml, "octoconf.toml", &context).unwrap().settings
    }

    const BASE: &str = "
        [queues.invoice]
        source = 'sqlite'
        handler = 'order'
        concurrency = 10
        [queues.mail]
        source = 'memory'
        handler = 'order'
        concurrency = 10
        [queues.stock]
        source = 'sqlite'
        handler = 'order'
        concurrency = 10
        parking = 'parked.db'
        [partners.default]
        deliver = 'discard'
    ";

    fn keys(from: &str, to: &str, more: &str) -> Vec<String> {
        assert!(BASE.contains(from), "{from}");
        need_restart(&settings(BASE), &settings(&format!("{}\n{more}", BASE.replace(from, to))))
    }

    #[test]
    fn partners_rules_and_most_queues_may_change() {
        assert!(keys("", "", "rate = '5/s'\n[partners.acme]\ndeliver = 'stdout'").is_empty());
        assert!(keys("[queues.invoice]", "[queues.invoice]\nvisibility_timeout = '5m'\npath = 'other.db'", "").is_empty());
        assert!(keys("[queues.invoice]", "[queues.invoices]", "[handlers.new]\njq = '.'\n[engine]\nlog = 'debug'").is_empty());
        assert!(keys("parking = 'parked.db'", "parking = 'other.db'\npath = 'q.db'", "").is_empty());
        assert!(keys("[queues.mail]", "[queues.mail]\nmax_receives = 7", "").is_empty());
        assert!(keys("concurrency = 10", "concurrency = 5", "").is_empty());
    }

    #[test]
    fn what_needs_a_restart_is_named_by_key() {
        assert_eq!(
            keys("", "", "[engine]\nmax_in_flight = 7\nlog = 'debug'\n[admin]\nlisten = ''"),
            ["engine.max_in_flight", "admin.listen"]
        );
        let why = "(its messages live in this process)";
        assert_eq!(keys("[queues.mail]", "[queues.post]", ""), [format!("queues.mail {why}")]);
        assert_eq!(keys("[queues.mail]", "[queues.mail]\ngroup = '.a'\nmax_receives = 3", "").len(), 1, "not max_receives");
        let parking = keys("parking =", "path = 'q.db'\nparking =", "");
        assert!(parking[0].starts_with("queues.stock.path (queues.stock.parking stays"), "{parking:?}");
    }

    #[test]
    fn the_pool_has_the_threads_that_it_has() {
        let threads = |from: &str, to: &str, more: &str| keys(from, to, more).join("; ");
        assert!(threads("concurrency = 10", "concurrency = 11", "").contains("30 run, the queues' concurrency comes to 33"));
        assert!(threads("", "", "[engine]\nhandler_threads = 40").contains("(30 run)"));
        assert_eq!(threads("concurrency = 10", "concurrency = 9", "[engine]\nhandler_threads = 30"), "");
    }
}
