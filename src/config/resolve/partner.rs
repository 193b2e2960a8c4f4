//! Resolves the settings of one partner, or of the default that all partners inherit from.

use std::collections::BTreeMap;
use std::time::Duration;

use config::ValueKind;

use super::{DAY, HOUR, MINUTE, optional, secret_of, size, span, word};
use crate::config::secrets::Secrets;
use crate::config::section::{Section, shown};
use crate::config::units::{Maybe, Span};
use crate::config::url::{check_placeholders, check_service_url, check_url};
use crate::queue::sqs::Location;
use crate::settings::{Deliver, Format, HttpSettings, PartnerSettings, Rate, Secret};
use crate::sink::{FileTemplate, target};

/// The maximum number of entries, and of bytes, in one request to SQS.
const SQS_BATCH: usize = 10;
const SQS_BATCH_BYTES: u64 = 1 << 20;

/// The longest `give_up_after`: longer than any message lives, and short enough to be added to the time of any clock.
const LONGEST_GIVE_UP: Duration = Duration::from_secs(10 * 31_557_600);

const FORMATS: [(&str, Format); 4] =
    [("json", Format::Json), ("ndjson", Format::Ndjson), ("single", Format::Single), ("cloudevents", Format::Cloudevents)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeliverKind {
    Http,
    File,
    Sqs,
    Stdout,
    Discard,
}

const KINDS: [(&str, DeliverKind); 5] = [
    ("http", DeliverKind::Http),
    ("file", DeliverKind::File),
    ("sqs", DeliverKind::Sqs),
    ("stdout", DeliverKind::Stdout),
    ("discard", DeliverKind::Discard),
];

/// Reads the keys of a partner. Every key is read, whatever the way of delivery, so that a bad value is
/// reported even if it is not used.
///
/// The sinks' own rules are applied here, so that `check`, `run` and a reload all report what a sink would refuse.
pub(super) fn resolve(section: &Section<'_>, secrets: &Secrets<'_>, warnings: &mut Vec<String>) -> PartnerSettings {
    let kind = word(section, "deliver", &KINDS);
    let format = word(section, "format", &FORMATS).unwrap_or(Format::Json);
    let deliver = deliver(section, kind, format, secrets);
    let min_backoff = span(section, "min_backoff", Duration::from_millis(1), DAY);
    let max_backoff = span(section, "max_backoff", Duration::from_millis(1), DAY);
    if min_backoff > max_backoff {
        let text = format!("{} is longer than max_backoff, {}; swap or change them", Span(min_backoff), Span(max_backoff));
        section.report(&["min_backoff", "max_backoff"], text);
    }
    let (linger, give_up_after) = (span(section, "linger", Duration::ZERO, HOUR), give_up_after(section));
    if let Some(given) = give_up_after.filter(|given| *given <= linger) {
        let text = format!(
            "{} is not shorter than give_up_after, {}: deliveries would be given up before they are tried; shorten linger",
            Span(linger),
            Span(given)
        );
        section.report(&["linger", "give_up_after"], text);
    }
    let (max_batch, max_batch_bytes) = batch(section, &deliver, warnings);
    PartnerSettings {
        deliver,
        max_batch,
        max_batch_bytes,
        linger,
        rate: section.get::<Maybe<Rate>>("rate").0,
        burst: section.get_in("burst", 1..=1_000_000),
        parallel: section.get_in("parallel", 1..=10_000),
        min_backoff,
        max_backoff,
        breaker_failures: section.get_in("breaker_failures", 1..=1_000_000),
        max_waiting: section.get_in("max_waiting", 1..=100_000_000),
        hold_for: span(section, "hold_for", Duration::from_millis(1), DAY),
        give_up_after,
        idle_timeout: span(section, "idle_timeout", Duration::from_millis(1), DAY),
    }
}

fn give_up_after(section: &Section<'_>) -> Option<Duration> {
    let check = |given: &Maybe<Span>| match given.0 {
        Some(Span(Duration::ZERO)) => Err("0s would give up at once; set it to more, or \"\" for never".to_owned()),
        Some(Span(span)) if span > LONGEST_GIVE_UP => {
            Err(format!("it is too long; set it to at most {}, or \"\" for never", Span(LONGEST_GIVE_UP)))
        }
        _ => Ok(()),
    };
    section.get_if::<Maybe<Span>>("give_up_after", check).0.map(|span| span.0)
}

fn deliver(section: &Section<'_>, kind: Option<DeliverKind>, format: Format, secrets: &Secrets<'_>) -> Deliver {
    let url = optional(section, "url", |url| {
        // Typing errors first, since their message suggests what was meant.
        check_url(url)?;
        target::check_url(url).map_err(|error| error.to_string())
    });
    let path = optional(section, "path", |path| {
        check_placeholders(path)?;
        FileTemplate::parse(path).map(drop).map_err(|error| error.to_string())
    });
    let check_secret = |secret: &str| target::check_secret(&Secret::new(secret)).map_err(|error| error.to_string());
    let http = HttpSettings {
        url: url.clone().unwrap_or_default(),
        format,
        timeout: span(section, "timeout", Duration::from_millis(1), HOUR),
        connect_timeout: span(section, "connect_timeout", Duration::from_millis(1), 10 * MINUTE),
        signing_secret: secret_of(section, "signing_secret", secrets, check_secret),
        headers: headers(section, secrets),
        allow_private_addresses: section.get("allow_private_addresses"),
    };
    match kind {
        Some(DeliverKind::Http) if !section.has_text("url") => {
            section.report(
                &["url", "deliver"],
                "deliver is http and there is no url; set url = \"https://…\", or deliver to a file, stdout or discard",
            );
        }
        Some(DeliverKind::Sqs) if !section.has_text("url") => {
            section.report(&["url", "deliver"], "deliver is sqs and there is no url; set it to the queue's URL");
        }
        Some(DeliverKind::File) if !section.has_text("path") => {
            section.report(
                &["path", "deliver"],
                "deliver is file and there is no path; set path = \"out/{queue}/{account}.jsonl\" or the like",
            );
        }
        // The URL may be inherited from a default that is meant for http, so a partner with
        // `sqs` must have a usable URL.
        Some(DeliverKind::Sqs) => {
            let url = url.as_deref().unwrap_or_default();
            if url.is_empty() {
                // The URL was refused, and reported, above.
            } else if let Err(text) = check_service_url(url) {
                section.report(&["url", "deliver"], format!("deliver is sqs and the url {text}"));
            } else if let Err(text) = Location::check(secrets.environment(), url) {
                section.report(&["url", "deliver"], format!("deliver is sqs and {text}"));
            }
        }
        _ => {}
    }
    match kind {
        Some(DeliverKind::Http) | None => Deliver::Http(http),
        Some(DeliverKind::File) => Deliver::File { path: path.unwrap_or_default() },
        Some(DeliverKind::Sqs) => Deliver::Sqs { url: url.unwrap_or_default() },
        Some(DeliverKind::Stdout) => Deliver::Stdout,
        Some(DeliverKind::Discard) => Deliver::Discard,
    }
}

/// Returns the batch limits, reduced to what the way of delivery allows.
fn batch(section: &Section<'_>, deliver: &Deliver, warnings: &mut Vec<String>) -> (usize, u64) {
    let count: usize = section.get_in("max_batch", 1..=100);
    let bytes = size(section, "max_batch_bytes", 1, 1 << 30);
    let (most, most_bytes, why) = match deliver {
        Deliver::Http(http) if http.format == Format::Single => (1, u64::MAX, "format = \"single\""),
        Deliver::Sqs { .. } => (SQS_BATCH, SQS_BATCH_BYTES, "deliver = \"sqs\""),
        Deliver::Http(_) | Deliver::File { .. } | Deliver::Stdout | Deliver::Discard => (usize::MAX, u64::MAX, ""),
    };
    // An inherited number is reduced without a warning: only a number written in this section may have been
    // meant for this way of delivery.
    if section.sets("max_batch") && count > most {
        warnings.push(format!("{}: {why} means at most {most}", section.key("max_batch")));
    }
    if section.sets("max_batch_bytes") && bytes > most_bytes {
        warnings.push(format!("{}: {why} means at most 1MiB", section.key("max_batch_bytes")));
    }
    (count.min(most), bytes.min(most_bytes))
}

fn headers(section: &Section<'_>, secrets: &Secrets<'_>) -> BTreeMap<String, Secret> {
    let mut headers = BTreeMap::new();
    for (name, value, key) in section.entries("headers") {
        let report = |text: String| section.problems().add(key.clone(), text, value.origin());
        let ValueKind::String(text) = &value.kind else {
            report(format!("found {}; write text in quotes, env:NAME or file:PATH", masked(value)));
            continue;
        };
        match secrets.read_or_plain(text) {
            Err(text) => report(text),
            Ok(value) => match target::check_header(name, value.expose()) {
                Err(error) => report(error.to_string()),
                // An empty value is the same as no header. The name is checked all the same.
                Ok(()) if text.is_empty() => {}
                Ok(()) => {
                    headers.insert(name.to_owned(), value);
                }
            },
        }
    }
    headers
}

/// Returns a header's value for a message. It is always masked, since any header may hold a key.
fn masked(value: &config::Value) -> String {
    match &value.kind {
        ValueKind::Table(_) | ValueKind::Array(_) => shown("headers", value),
        _ => "*** (not shown)".to_owned(),
    }
}
