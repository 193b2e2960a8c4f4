//! Checks what must be consistent between sections, and warns of what works but will surprise.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::queue::is_fifo;
use crate::config::problem::{Problems, join, suggest};
use crate::config::section::quote;
use crate::config::units::{Size, Span};
use crate::handler::{Registry, jq};
use crate::message::service::FEW_RECEIVES;
use crate::queue::parking::parking_name;
use crate::settings::{Deliver, NOWHERE, PartnerSettings, QueueSettings, Settings, Source, SqsSettings};
use crate::sink::{FileTemplate, target};

/// Reports conflicts between sections, and resolves `handler_threads = 0`.
///
/// `queues_named` is false if the file names no queue. If the key `queues` is not a table, that has been reported
/// already and `queues_named` is true.
pub(super) fn check(settings: &mut Settings, queues_named: bool, in_code: &Registry, problems: &Problems) {
    if !queues_named {
        problems.add("queues", "there is none; add a [queues.NAME] with its source and handler", None);
    }
    check_handlers(settings, in_code, problems);
    check_threads(settings, problems);
    check_same_source(settings, problems);
    check_dead_letters(settings, problems);
    check_parking_names(settings, problems);
    check_parking_files(settings, problems);
    check_partner_files(settings, problems);
    check_partner_urls(settings, problems);
}

fn check_handlers(settings: &Settings, in_code: &Registry, problems: &Problems) {
    for name in settings.handlers.keys().filter(|name| in_code.get(name).is_some()) {
        problems.add(join("handlers", name), "a handler in code has this name; choose another", None);
    }
    let known = || in_code.names().chain(settings.handlers.keys().map(String::as_str));
    for (queue, of) in &settings.queues {
        if !of.handler.is_empty() && !known().any(|name| name == of.handler) {
            let key = join(&join("queues", queue), "handler");
            problems.add(key, format!("there is no handler {}; {}", quote(&of.handler), suggest(&of.handler, known())), None);
        }
    }
}

fn check_threads(settings: &mut Settings, problems: &Problems) {
    let sum: usize = settings.queues.values().map(|queue| queue.concurrency).sum();
    let threads = &mut settings.engine.handler_threads;
    if *threads == 0 {
        *threads = sum;
    } else if *threads < sum {
        let text =
            format!("{threads} is below the sum of the queues' concurrency, {sum}; set it to {sum} or more, or to 0 for the sum");
        problems.add("engine.handler_threads", text, None);
    }
}

/// Reports two sections that read the same queue: each would receive messages that are meant for the other's handler.
fn check_same_source(settings: &Settings, problems: &Problems) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (name, queue) in &settings.queues {
        let (identity, what) = match &queue.source {
            Source::Sqlite { path, name, .. } => (format!("sqlite {} {name}", plain(path).display()), "the same path and name"),
            Source::Sqs(sqs) => match &sqs.url {
                Some(url) => (format!("sqs {url}"), "the same url"),
                None => (format!("sqs {:?} {:?} {}", sqs.endpoint, sqs.region, sqs.name), "the same name, region and endpoint"),
            },
            Source::Memory { .. } => continue,
        };
        if let Some(first) = seen.get(&identity) {
            problems.add(join("queues", name), format!("has {what} as queues.{first}; change one, or keep one of the two"), None);
        } else {
            seen.insert(identity, name);
        }
    }
}

/// Reports dead letters that would come back: the queue that they go to is read by another section, and so on, until the dead
/// letters of one go to the first again.
fn check_dead_letters(settings: &Settings, problems: &Problems) {
    let all: BTreeMap<&str, &SqsSettings> =
        settings.queues.iter().filter_map(|(name, queue)| Some((name.as_str(), sqs(queue)?))).collect();
    let next = |from: &SqsSettings| {
        let is_it = |to: &SqsSettings| match &to.url {
            Some(url) => *url == from.dead_letter,
            None => to.name == from.dead_letter && (&to.endpoint, &to.region) == (&from.endpoint, &from.region),
        };
        all.iter().map(|(name, to)| (*name, *to)).find(|(_, to)| from.dead_letter != NOWHERE && is_it(to))
    };
    for (first, queue) in &all {
        let steps = std::iter::successors(next(queue), |(_, queue)| next(queue)).map(|(name, _)| name).take(all.len());
        let steps: Vec<&str> = steps.collect();
        let Some(back) = steps.iter().position(|name| name == first) else { continue };
        let text = match steps.get(..back).unwrap_or_default() {
            [] => "is the queue itself, so dead letters would come back; name another queue, or \"none\"".to_owned(),
            // Said once, where it begins.
            through if through.iter().any(|name| name < first) => continue,
            through => format!(
                "leads back to the queue by way of queues.{}, so dead letters would come back; have those of one go elsewhere",
                through.join(", queues.")
            ),
        };
        problems.add(join(&join("queues", first), "dead_letter"), text, None);
    }
}

fn sqs(queue: &QueueSettings) -> Option<&SqsSettings> {
    if let Source::Sqs(sqs) = &queue.source { Some(sqs) } else { None }
}

/// Reports a queue named `QUEUE.parking`, under which the parked deliveries of `QUEUE` are listed.
fn check_parking_names(settings: &Settings, problems: &Problems) {
    for (name, _) in settings.queues.iter().filter(|(_, queue)| queue.parking.is_some()) {
        let parking = parking_name(name);
        if settings.queues.contains_key(&parking) {
            let text = format!("is the name under which queues.{name} shows what it has parked; choose another");
            problems.add(join("queues", &parking), text, None);
        }
    }
}

/// Reports a parking file that is also a queue's file, and a queue with parking but without a place for dead letters: a
/// delivery that is refused after it was parked has no queue left in which its message could circulate.
fn check_parking_files(settings: &Settings, problems: &Problems) {
    for (name, queue) in &settings.queues {
        let Some(parking) = &queue.parking else { continue };
        let key = || join(&join("queues", name), "parking");
        let is_queue_file =
            |queue: &QueueSettings| matches!(&queue.source, Source::Sqlite { path, .. } if plain(path) == plain(parking));
        if let Some((other, _)) = settings.queues.iter().find(|(_, queue)| is_queue_file(queue)) {
            problems.add(key(), format!("is the file of queues.{other}; give what is parked a file of its own"), None);
        }
        if matches!(&queue.source, Source::Sqs(sqs) if sqs.dead_letter == NOWHERE) {
            let text = "needs a place for dead letters: what a partner refuses after it was parked cannot circulate; set dead_letter, or leave parking out";
            problems.add(key(), text, None);
        }
    }
}

/// Reports a partner's file that is also a queue's: appended lines would destroy a database. Accounts
/// without a section are checked by the file sink.
fn check_partner_files(settings: &Settings, problems: &Problems) {
    let mut ours: BTreeMap<PathBuf, String> = BTreeMap::new();
    for store in settings.stores() {
        for file in store.files(&plain(&store.path)) {
            ours.entry(file).or_insert_with(|| store.whose.clone());
        }
    }
    let of_default = path_of(&settings.partners.default);
    let default = of_default.map(|path| ("default", path, "default"));
    let by_account = settings.partners.by_account.iter().filter_map(|(account, partner)| {
        // A path inherited from the default is reported once, at the default; but a path with `{account}` may lead to a
        // database for one account only.
        let path = path_of(partner).filter(|path| of_default != Some(*path) || path.contains("{account}"))?;
        Some((account.as_str(), path, account.as_str()))
    });
    for (section, path, account) in default.into_iter().chain(by_account) {
        let Ok(template) = FileTemplate::parse(path) else { continue };
        let places = settings.queues.keys().map(|queue| template.fill(queue, account).path);
        if let Some(whose) = places.into_iter().find_map(|place| ours.get(&plain(&place))) {
            let text = format!("leads to the file {whose}; give what is delivered a file of its own");
            problems.add(join(&join("partners", section), "path"), text, None);
        }
    }
}

/// Reports a partner's URL of which a queue's name cannot be a part: nothing of that queue could be sent there.
fn check_partner_urls(settings: &Settings, problems: &Problems) {
    let of_default = url_of(&settings.partners.default);
    let by_account = settings.partners.by_account.iter().filter_map(|(account, partner)| {
        // A URL inherited from the default is reported once, at the default.
        Some((account.as_str(), url_of(partner).filter(|url| of_default != Some(*url))?))
    });
    let sections = of_default.map(|url| ("default", url)).into_iter().chain(by_account);
    for (section, url) in sections.filter(|(_, url)| url.contains("{queue}")) {
        for queue in settings.queues.keys() {
            if let Err(why) = target::check_queue(url, queue) {
                let text = format!("with {} for {{queue}}: {why}; leave {{queue}} out there, or rename the queue", quote(queue));
                problems.add(join(&join("partners", section), "url"), text, None);
            }
        }
    }
}

fn url_of(partner: &PartnerSettings) -> Option<&str> {
    if let Deliver::Http(http) = &partner.deliver { Some(&http.url) } else { None }
}

fn path_of(partner: &PartnerSettings) -> Option<&str> {
    if let Deliver::File { path } = &partner.deliver { Some(path) } else { None }
}

/// Removes each `.` from a path, so that `./a.db` and `a.db` compare equal.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|component| *component != Component::CurDir).collect()
}

/// Adds warnings about settings that work but cost time, order or messages in ways that the file does not show.
pub(super) fn warn(settings: &Settings, warnings: &mut Vec<String>) {
    warn_of_leases(settings, warnings);
    warn_of_shutdown(settings, warnings);
    warn_of_room(settings, warnings);
    warn_of_quotes(settings, warnings);
    for (name, queue) in &settings.queues {
        warn_of_returns(name, queue, settings, warnings);
    }
}

fn partners(settings: &Settings) -> impl Iterator<Item = (String, &PartnerSettings)> {
    let by_account = settings.partners.by_account.iter().map(|(account, partner)| (join("partners", account), partner));
    std::iter::once(("partners.default".to_owned(), &settings.partners.default)).chain(by_account)
}

/// Returns how long one delivery to the partner may take, as far as that is configured. A file, a pipe and SQS have no
/// such key.
fn longest_delivery(partner: &PartnerSettings) -> Duration {
    match &partner.deliver {
        Deliver::Http(http) => http.timeout.saturating_add(http.connect_timeout),
        Deliver::File { .. } | Deliver::Sqs { .. } | Deliver::Stdout | Deliver::Discard => Duration::ZERO,
    }
}

fn warn_of_leases(settings: &Settings, warnings: &mut Vec<String>) {
    let slowest = partners(settings).max_by_key(|(_, partner)| longest_delivery(partner));
    let Some((partner, longest)) = slowest.map(|(key, partner)| (key, longest_delivery(partner))) else { return };
    for (name, queue) in settings.queues.iter().filter(|(_, queue)| queue.visibility_timeout < longest) {
        let key = join(&join("queues", name), "visibility_timeout");
        let (lease, longest) = (Span(queue.visibility_timeout), Span(longest));
        warnings.push(format!(
            "{key}: {lease} is shorter than a delivery to {partner} may take ({longest}, timeout and connect_timeout together); if extending fails once, \
             the message comes twice"
        ));
    }
}

fn warn_of_shutdown(settings: &Settings, warnings: &mut Vec<String>) {
    let limit = settings.engine.shutdown_timeout;
    // `sum` explains what the wait is the sum of, if the key alone does not.
    let mut warn = |key: String, wait: Duration, sum: &str, what: &str| {
        if wait > limit {
            let (wait, limit) = (Span(wait), Span(limit));
            warnings.push(format!("{key}: {wait}{sum} is longer than engine.shutdown_timeout, {limit}; {what}"));
        }
    };
    for (name, queue) in &settings.queues {
        // Receives of embedded queues can be interrupted.
        if matches!(queue.source, Source::Sqs(_)) {
            let key = join(&join("queues", name), "wait_time");
            warn(key, queue.wait_time, "", "a stop leaves the long poll behind, and what it brings waits for its lease to end");
        }
    }
    let default = &settings.partners.default;
    for (path, partner) in partners(settings) {
        // A value inherited from the default is reported once, at the default.
        let own = path == "partners.default";
        if own || partner.linger != default.linger {
            warn(join(&path, "linger"), partner.linger, "", "a stop flushes what still waits for a fuller batch");
        }
        if own || longest_delivery(partner) != longest_delivery(default) {
            let sum = " (timeout and connect_timeout together)";
            warn(join(&path, "timeout"), longest_delivery(partner), sum, "a stop may cut deliveries off, which then come twice");
        }
    }
}

/// Warns of accounts in quotes. In TOML the quotes of a section's name are not part of it, in INI single ones are: the partner
/// that is meant would silently have the default's settings. One warning stands for all, since a file may have thousands.
fn warn_of_quotes(settings: &Settings, warnings: &mut Vec<String>) {
    let within = |account: &str| {
        let within = |quote| account.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        within('"').or_else(|| within('\'')).map(str::to_owned)
    };
    let mut quoted = settings.partners.by_account.keys().filter_map(|account| Some((account, within(account)?)));
    if let Some((account, within)) = quoted.next() {
        let key = join("partners", account);
        let others = match quoted.count() {
            0 => String::new(),
            others => format!("; so are those of {others} more"),
        };
        warnings
            .push(format!("{key}: the quotes are part of the account{others}; in INI write [partners.{within}] without them"));
    }
}

fn warn_of_room(settings: &Settings, warnings: &mut Vec<String>) {
    /// The maximum number of messages in one receive of SQS (10), and the maximum size of one message (1 MiB).
    const RECEIVE: (usize, u64) = (10, 1 << 20);
    let engine = &settings.engine;
    // Half of the room is shared by all queues. Each queue has an equal part of the other half.
    let parts = 2 * settings.queues.len().max(1);
    let (share, byte_share) = (engine.max_in_flight / parts, engine.max_in_flight_bytes / parts as u64);
    if share < RECEIVE.0 {
        warnings.push(format!(
            "engine.max_in_flight: {} leaves each queue sure of {share} messages, fewer than one receive gives (10); more requests are made a message",
            engine.max_in_flight
        ));
    }
    if engine.max_in_flight_bytes < RECEIVE.1 {
        warnings.push(format!(
            "engine.max_in_flight_bytes: {} is less than the largest message (1MiB); such a message is held alone",
            Size(engine.max_in_flight_bytes)
        ));
    } else if byte_share < RECEIVE.1 {
        warnings.push(format!(
            "engine.max_in_flight_bytes: {} leaves each queue sure of {}, less than the largest message (1MiB); until a hundred smaller ones were seen, queues with nothing to receive may keep others waiting for the time of a long poll",
            Size(engine.max_in_flight_bytes),
            Size(byte_share)
        ));
    }
    if let Some((path, partner)) = partners(settings).find(|(_, partner)| partner.parallel > engine.delivery_threads) {
        let (parallel, threads) = (partner.parallel, engine.delivery_threads);
        warnings.push(format!("{}: {parallel} is more than engine.delivery_threads, {threads}", join(&path, "parallel")));
    }
}

/// Warns about queues without parking: deliveries of an absent partner are returned to the queue, and
/// each return costs a receive.
fn warn_of_returns(name: &str, queue: &QueueSettings, settings: &Settings, warnings: &mut Vec<String>) {
    if queue.parking.is_some() || is_fifo(&queue.source) {
        return;
    }
    let path = join("queues", name);
    if (1..FEW_RECEIVES).contains(&queue.max_receives) {
        warnings.push(format!(
            "{}: {} receives are soon used up by returns while a partner is away, and then it is a dead letter; set parking or at least {FEW_RECEIVES}",
            join(&path, "max_receives"),
            queue.max_receives
        ));
    }
    if settings.handlers.get(&queue.handler).is_some_and(|handler| !jq::gives_one_result(&handler.jq)) {
        warnings.push(format!(
            "{}: handler {} may make several deliveries of a message, which is not returned while one of them is on the wire; set parking for long outages",
            join(&path, "parking"),
            queue.handler
        ));
    }
}
