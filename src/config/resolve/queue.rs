//! Resolves the settings of one queue: its source, and the keys that only some kinds of source have.

use std::path::PathBuf;
use std::time::Duration;

use super::{HOUR, SECOND, not_jq, optional, size, span, whole_seconds, with_dot, word};
use crate::config::section::{Section, quote};
use crate::config::units::Span;
use crate::config::url::check_service_url;
use crate::handler::jq;
use crate::queue::embedded::RECEIVE;
use crate::queue::sqs::Named;
use crate::settings::{QueueSettings, SHORTEST_LEASE, Source, SqsSettings};

/// The longest lease and the longest `order_wait`: the SQS limit on visibility timeouts.
const LONGEST_LEASE: Duration = Duration::from_secs(12 * 3600);
/// The longest wait of a receive: the SQS limit on long polls.
const LONGEST_POLL: Duration = Duration::from_secs(20);
/// The maximum number of messages per receive: that of SQS, and that of an embedded queue.
const MOST_RECEIVED: (usize, usize) = (10, RECEIVE);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SourceKind {
    Sqs,
    Sqlite,
    Memory,
}

const KINDS: [(&str, SourceKind); 3] = [("sqs", SourceKind::Sqs), ("sqlite", SourceKind::Sqlite), ("memory", SourceKind::Memory)];

/// The keys that only some kinds of source have.
const KEYS_OF: [(&str, &[SourceKind]); 9] = [
    ("name", &[SourceKind::Sqs, SourceKind::Sqlite]),
    ("url", &[SourceKind::Sqs]),
    ("region", &[SourceKind::Sqs]),
    ("endpoint", &[SourceKind::Sqs]),
    ("dead_letter", &[SourceKind::Sqs]),
    ("group", &[SourceKind::Sqlite, SourceKind::Memory]),
    ("path", &[SourceKind::Sqlite]),
    ("preload", &[SourceKind::Memory]),
    ("repeat", &[SourceKind::Memory]),
];

pub(super) fn resolve(name: &str, section: &Section<'_>) -> QueueSettings {
    let known = word(section, "source", &KINDS);
    if let Some(kind) = known {
        check_keys_of(section, kind);
    }
    let kind = known.unwrap_or(SourceKind::Sqlite);
    let source = source(name, section, kind);
    let parking = optional(section, "parking", |_| Ok(())).map(PathBuf::from);
    if parking.is_some() && is_fifo(&source) {
        section.report(&["parking"], "a FIFO queue has no parking, its locked groups are the store; leave it out");
    }
    let is_sqs = kind == SourceKind::Sqs;
    let seconds = |span: &Span, most: Duration| {
        if is_sqs && span.0 > most {
            return Err(format!("{span} is longer than SQS allows; set it to at most {}", Span(most)));
        }
        if is_sqs { whole_seconds(*span) } else { Ok(()) }
    };
    QueueSettings {
        source,
        handler: handler(section),
        // Each place in the handler may become a thread.
        concurrency: section.get_in("concurrency", 1..=10_000),
        order_wait: span(section, "order_wait", Duration::ZERO, LONGEST_LEASE),
        pollers: section.get_in("pollers", 0..=256),
        receive_batch: section.get_in("receive_batch", 0..=if is_sqs { MOST_RECEIVED.0 } else { MOST_RECEIVED.1 }),
        wait_time: section
            .get_if("wait_time", |wait: &Span| in_range(wait, Duration::ZERO, HOUR).and_then(|()| seconds(wait, LONGEST_POLL)))
            .0,
        visibility_timeout: section
            .get_if("visibility_timeout", |lease: &Span| {
                let least = if is_sqs { SECOND } else { SHORTEST_LEASE };
                in_range(lease, least, LONGEST_LEASE).and_then(|()| seconds(lease, LONGEST_LEASE))
            })
            .0,
        parking,
        parking_max_bytes: size(section, "parking_max_bytes", 1 << 20, 1 << 50),
        max_receives: section.get_in("max_receives", 0..=u32::MAX),
    }
}

fn in_range(span: &Span, least: Duration, most: Duration) -> Result<(), String> {
    if (least..=most).contains(&span.0) {
        return Ok(());
    }
    Err(format!("{span} is out of range; set it to {} to {}", Span(least), Span(most)))
}

fn handler(section: &Section<'_>) -> String {
    let handler: String = section.get("handler");
    // A handler that is written but cannot be read has been reported already.
    if handler.is_empty() && !section.has_text("handler") {
        section.report(&["handler"], "there is none; name a handler in code (order, product) or a [handlers.NAME]");
    }
    handler
}

/// Reports keys that belong to another kind of source, unless they are empty.
fn check_keys_of(section: &Section<'_>, kind: SourceKind) {
    for (key, kinds) in KEYS_OF {
        if section.sets(key) && !section.is_empty_text(key) && !kinds.contains(&kind) {
            let names = |wanted: &dyn Fn(&SourceKind) -> bool| {
                KINDS.iter().filter(|(_, kind)| wanted(kind)).map(|(name, _)| *name).collect::<Vec<_>>().join(" and ")
            };
            let (have, is) = (names(&|kind| kinds.contains(kind)), names(&|other| *other == kind));
            section.report(&[key], format!("only {have} queues have it, and this one is {is}; leave it out or change source"));
        }
    }
}

fn source(section_name: &str, section: &Section<'_>, kind: SourceKind) -> Source {
    let check_group = |path: &str| jq::check_group(path).map_err(|error| with_dot(not_jq(error), path));
    let group = || optional(section, "group", check_group);
    match kind {
        SourceKind::Sqs => Source::Sqs(sqs(section_name, section)),
        SourceKind::Sqlite => Source::Sqlite {
            path: PathBuf::from(section.get_if("path", |path: &String| {
                if path.is_empty() { Err("there is none; name the file of the queue".to_owned()) } else { Ok(()) }
            })),
            name: optional(section, "name", |_| Ok(())).unwrap_or_else(|| section_name.to_owned()),
            group: group(),
        },
        SourceKind::Memory => {
            let preload = optional(section, "preload", |_| Ok(())).map(PathBuf::from);
            let repeat = section.get_in("repeat", 1..=u64::MAX);
            if preload.is_none() && repeat > 1 {
                section.report(&["repeat"], "there is nothing to repeat; set preload to a JSONL file, or leave it out");
            }
            Source::Memory { preload, repeat, group: group() }
        }
    }
}

fn sqs(section_name: &str, section: &Section<'_>) -> SqsSettings {
    let url = optional(section, "url", check_service_url);
    let name = optional(section, "name", check_sqs_name);
    if url.is_some() && name.is_some() {
        section.report(&["url", "name"], "the queue has a name too; keep one of them");
    }
    if url.is_none() && name.is_none() && !section.sets("name") && check_sqs_name(section_name).is_err() {
        section.report(&["name"], format!("{section_name} cannot be the name of an SQS queue; set name or url"));
    }
    SqsSettings {
        name: name.unwrap_or_else(|| section_name.to_owned()),
        url,
        region: optional(section, "region", |_| Ok(())),
        endpoint: optional(section, "endpoint", check_service_url),
        dead_letter: optional(section, "dead_letter", check_dead_letter).unwrap_or_default(),
    }
}

/// Checks a queue name by the rules of SQS: at most 80 letters, digits, hyphens and underscores; the name of
/// a FIFO queue ends in `.fifo`.
fn check_sqs_name(name: &str) -> Result<(), String> {
    let stem = name.strip_suffix(".fifo").unwrap_or(name);
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.len() <= 80 && !stem.is_empty() && stem.chars().all(fits) {
        return Ok(());
    }
    Err(format!("{} is no name of an SQS queue; use at most 80 letters, digits, \"-\" and \"_\", or set url", quote(name)))
}

fn check_dead_letter(text: &str) -> Result<(), String> {
    if text.contains("://") { check_service_url(text) } else { check_sqs_name(text) }
}

/// Whether the messages of the source carry groups.
pub(super) fn is_fifo(source: &Source) -> bool {
    match source {
        Source::Sqs(sqs) => Named::of(sqs.url.as_ref().unwrap_or(&sqs.name)).is_fifo(),
        Source::Sqlite { group, .. } | Source::Memory { group, .. } => group.is_some(),
    }
}
