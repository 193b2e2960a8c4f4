//! Prints the resolved settings for `check`: every key that applies, in the form in which
//! it is written, secrets masked.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::problem::{join, toml_key, toml_string};
use super::units::{Size, Span};
use crate::mask::mask_url;
use crate::settings::{Deliver, Format, HttpSettings, PartnerSettings, QueueSettings, Settings, Source};

/// Keys and their values, in the order of `defaults.toml`.
type Keys = Vec<(&'static str, Value)>;

impl Settings {
    /// Returns all settings by section, each partner with all its keys.
    pub fn show(&self) -> Value {
        let mut partners: Map<String, Value> = self
            .partners
            .by_account
            .iter()
            .map(|(account, partner)| (account.to_string(), object(partner_keys(partner))))
            .collect();
        partners.insert("default".to_owned(), object(partner_keys(&self.partners.default)));
        let queues: Map<String, Value> =
            self.queues.iter().map(|(name, queue)| (name.clone(), object(queue_keys(queue)))).collect();
        let handlers: Map<String, Value> =
            self.handlers.iter().map(|(name, of)| (name.clone(), json!({ "jq": of.jq, "bucket": of.bucket }))).collect();
        let mut all = json!({
            "engine": object(self.engine_keys()),
            "admin": object(self.admin_keys()),
            "queues": queues,
            "handlers": handlers,
            "partners": partners,
        });
        if let (false, Value::Object(all)) = (self.partners_dir.is_empty(), &mut all) {
            all.insert("partners_dir".to_owned(), json!(self.partners_dir));
        }
        all
    }

    /// Returns all settings as TOML, each partner with only the keys that differ from the default. If nothing
    /// is masked, the text reads back as the same settings. `partners_dir` is therefore printed as a comment,
    /// since its partners are listed.
    pub fn show_text(&self) -> String {
        let mut text = String::new();
        if !self.partners_dir.is_empty() {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "# partners_dir = {}: its partners are among those below", toml_string(&self.partners_dir));
        }
        section(&mut text, "engine", &self.engine_keys());
        section(&mut text, "admin", &self.admin_keys());
        for (name, queue) in &self.queues {
            section(&mut text, &join("queues", name), &queue_keys(queue));
        }
        for (name, handler) in &self.handlers {
            section(&mut text, &join("handlers", name), &vec![("jq", json!(handler.jq)), ("bucket", json!(handler.bucket))]);
        }
        let default = &self.partners.default;
        section(&mut text, "partners.default", &partner_keys(default));
        for (account, partner) in &self.partners.by_account {
            section(&mut text, &join("partners", account), &difference(partner, default));
        }
        text
    }

    fn engine_keys(&self) -> Keys {
        let engine = &self.engine;
        vec![
            ("handler_threads", json!(engine.handler_threads)),
            ("delivery_threads", json!(engine.delivery_threads)),
            ("log", json!(engine.log)),
            ("max_in_flight", json!(engine.max_in_flight)),
            ("max_in_flight_bytes", text(Size(engine.max_in_flight_bytes))),
            ("flush_interval", text(Span(engine.flush_interval))),
            ("shutdown_timeout", text(Span(engine.shutdown_timeout))),
        ]
    }

    fn admin_keys(&self) -> Keys {
        vec![("listen", json!(self.admin.listen)), ("token", maybe_text(self.admin.token.as_ref()))]
    }
}

fn queue_keys(queue: &QueueSettings) -> Keys {
    let mut keys = source_keys(&queue.source);
    keys.extend([
        ("handler", json!(queue.handler)),
        ("concurrency", json!(queue.concurrency)),
        ("order_wait", text(Span(queue.order_wait))),
        ("pollers", json!(queue.pollers)),
        ("receive_batch", json!(queue.receive_batch)),
        ("wait_time", text(Span(queue.wait_time))),
        ("visibility_timeout", text(Span(queue.visibility_timeout))),
        ("parking", maybe_text(queue.parking.as_ref().map(|path| path.display()))),
        ("parking_max_bytes", text(Size(queue.parking_max_bytes))),
        ("max_receives", json!(queue.max_receives)),
    ]);
    keys
}

fn source_keys(source: &Source) -> Keys {
    match source {
        Source::Sqs(sqs) => {
            let named = match &sqs.url {
                Some(url) => ("url", json!(url)),
                None => ("name", json!(sqs.name)),
            };
            vec![
                ("source", json!("sqs")),
                named,
                ("region", maybe_text(sqs.region.as_ref())),
                ("endpoint", maybe_text(sqs.endpoint.as_ref())),
                ("dead_letter", json!(sqs.dead_letter)),
            ]
        }
        Source::Sqlite { path, name, group } => vec![
            ("source", json!("sqlite")),
            ("path", text(path.display())),
            ("name", json!(name)),
            ("group", maybe_text(group.as_ref())),
        ],
        Source::Memory { preload, repeat, group } => vec![
            ("source", json!("memory")),
            ("preload", maybe_text(preload.as_ref().map(|path| path.display()))),
            ("repeat", json!(repeat)),
            ("group", maybe_text(group.as_ref())),
        ],
    }
}

fn partner_keys(partner: &PartnerSettings) -> Keys {
    let mut keys = match &partner.deliver {
        Deliver::Http(http) => http_keys(http),
        Deliver::File { path } => vec![("deliver", json!("file")), ("path", json!(path))],
        Deliver::Sqs { url } => vec![("deliver", json!("sqs")), ("url", json!(mask_url(url)))],
        Deliver::Stdout => vec![("deliver", json!("stdout"))],
        Deliver::Discard => vec![("deliver", json!("discard"))],
    };
    keys.extend([
        ("max_batch", json!(partner.max_batch)),
        ("max_batch_bytes", text(Size(partner.max_batch_bytes))),
        ("linger", text(Span(partner.linger))),
        ("rate", maybe_text(partner.rate)),
        ("burst", json!(partner.burst)),
        ("parallel", json!(partner.parallel)),
        ("min_backoff", text(Span(partner.min_backoff))),
        ("max_backoff", text(Span(partner.max_backoff))),
        ("breaker_failures", json!(partner.breaker_failures)),
        ("max_waiting", json!(partner.max_waiting)),
        ("hold_for", text(Span(partner.hold_for))),
        ("give_up_after", maybe_text(partner.give_up_after.map(Span))),
        ("idle_timeout", text(Span(partner.idle_timeout))),
    ]);
    keys
}

fn http_keys(http: &HttpSettings) -> Keys {
    let format = match http.format {
        Format::Json => "json",
        Format::Ndjson => "ndjson",
        Format::Single => "single",
        Format::Cloudevents => "cloudevents",
    };
    // A secret prints as stars.
    let headers: Map<String, Value> = http.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    vec![
        ("deliver", json!("http")),
        ("url", json!(mask_url(&http.url))),
        ("format", json!(format)),
        ("timeout", text(Span(http.timeout))),
        ("connect_timeout", text(Span(http.connect_timeout))),
        ("signing_secret", maybe_text(http.signing_secret.as_ref())),
        ("headers", Value::Object(headers)),
        ("allow_private_addresses", json!(http.allow_private_addresses)),
    ]
}

fn text(value: impl ToString) -> Value {
    Value::String(value.to_string())
}

/// Returns `""` for `None`, the way that the file writes it.
fn maybe_text(value: Option<impl ToString>) -> Value {
    Value::String(value.map(|value| value.to_string()).unwrap_or_default())
}

fn object(keys: Keys) -> Value {
    Value::Object(keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Returns the keys in which a partner differs from the default. A default header that the
/// partner removes is shown as `""`.
fn difference(partner: &PartnerSettings, default: &PartnerSettings) -> Keys {
    let shown = partner_keys(default);
    let of_default = |key: &str| shown.iter().find(|(other, _)| *other == key).map(|(_, value)| value);
    let behind_stars = masked_difference(&partner.deliver, &default.deliver);
    let mut keys = partner_keys(partner);
    keys.retain(|(key, value)| of_default(key) != Some(value) || behind_stars.contains(key));
    for (key, value) in &mut keys {
        if let (Value::Object(own), Some(Value::Object(inherited))) = (value, of_default(key)) {
            for name in inherited.keys() {
                own.entry(name.clone()).or_insert_with(|| json!(""));
            }
        }
    }
    keys
}

/// Returns the keys whose values differ, even if they look the same once masked.
fn masked_difference(own: &Deliver, default: &Deliver) -> Vec<&'static str> {
    let (Deliver::Http(own), Deliver::Http(default)) = (own, default) else { return Vec::new() };
    let keys = [
        ("url", own.url != default.url),
        ("signing_secret", own.signing_secret != default.signing_secret),
        ("headers", own.headers != default.headers),
    ];
    keys.into_iter().filter(|(_, differ)| *differ).map(|(key, _)| key).collect()
}

fn section(out: &mut String, path: &str, keys: &Keys) {
    if !out.is_empty() {
        out.push('\n');
    }
    // Writing to a `String` cannot fail.
    let _ = writeln!(out, "[{path}]");
    for (key, value) in keys {
        let _ = writeln!(out, "{key} = {}", literal(value));
    }
}

fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => toml_string(text),
        Value::Object(table) if table.is_empty() => "{}".to_owned(),
        Value::Object(table) => {
            let entries: Vec<String> =
                table.iter().map(|(name, value)| format!("{} = {}", toml_key(name), literal(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        other => other.to_string(),
    }
}
