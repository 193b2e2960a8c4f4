//! The request for a batch: the body in the partner's format, and the headers that describe it.
//!
//! Pure. No value that comes from data can end a header or begin another.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;
use ureq::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use ureq::http::{HeaderMap, Method, Request, Uri};

use super::target::Target;
use crate::message::{AttributeValue, Batch, Item};
use crate::rfc3339;
use crate::settings::Format;
use crate::sink::lines;

/// The characters that are percent-encoded in a header value that comes from data. The percent sign is one of them.
/// Characters beyond ASCII are always encoded.
const IN_HEADER: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b',');

/// The characters that are percent-encoded in an id. A dot in an id would let a signed text be taken apart in two ways.
const IN_ID: &AsciiSet = &IN_HEADER.add(b'.');

/// The largest number of bytes of ids in `octoconf-messages`. Web servers accept header lines of 8 KiB; a hundred ids,
/// as queues assign them, take half of that.
const MAX_IDS: usize = 6 * 1024;

/// The largest number of bytes of a `traceparent` that is passed on. Version 00 of W3C Trace Context has 55 characters;
/// later versions may have more.
const MAX_TRACEPARENT: usize = 128;

/// Returns the body of a batch, which stays the same over retries.
pub fn body(format: Format, batch: &Batch) -> Cow<'_, [u8]> {
    match (format, batch.items.as_slice()) {
        // `single` comes with `max_batch = 1`. A receiver would take the first of several payloads for the whole batch.
        (Format::Single, [item]) => Cow::Borrowed(&item.payload),
        (Format::Ndjson, items) => Cow::Owned(lines::of(items)),
        (Format::Json | Format::Single, items) => {
            Cow::Owned(array(items, batch.bytes, |body, item| body.extend_from_slice(&item.payload)))
        }
        (Format::Cloudevents, items) => {
            let bytes = batch.bytes + items.len() * 256;
            Cow::Owned(array(items, bytes, |body, item| push_event(body, item, &batch.queue)))
        }
    }
}

/// Returns the whole request of an attempt at `now`.
pub fn request<'a>(
    target: &Target,
    url: Uri,
    batch: &Batch,
    body: &'a [u8],
    agent: &HeaderValue,
    now: SystemTime,
) -> Request<&'a [u8]> {
    let timestamp = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let id = batch.id();
    let id = id_text(&id);
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(target.format)));
    headers.insert(USER_AGENT, agent.clone());
    put(&mut headers, "webhook-id", &id);
    put(&mut headers, "webhook-timestamp", &timestamp.to_string());
    if let Some(signer) = &target.signer {
        put(&mut headers, "webhook-signature", &signer.sign(&id, timestamp, body));
    }
    put(&mut headers, "idempotency-key", &id);
    put(&mut headers, "octoconf-queue", &header_text(&batch.queue));
    put(&mut headers, "octoconf-messages", &ids(&batch.items));
    if let [item] = batch.items.as_slice()
        && let Some(trace) = traceparent(item)
    {
        put(&mut headers, "traceparent", trace);
    }
    // The configured headers come last, so that they replace the trace. No other header of ours may be configured.
    headers.extend(target.headers.clone());

    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = url;
    *request.headers_mut() = headers;
    request
}

fn content_type(format: Format) -> &'static str {
    match format {
        Format::Json | Format::Single => "application/json",
        Format::Ndjson => "application/x-ndjson",
        Format::Cloudevents => "application/cloudevents-batch+json",
    }
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    // Every value here is percent-encoded or made of such characters, so this cannot fail.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn header_text(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, IN_HEADER).into()
}

fn id_text(id: &str) -> Cow<'_, str> {
    utf8_percent_encode(id, IN_ID).into()
}

/// Returns the deliveries' ids separated by commas, in the order of the payloads, as many as [`MAX_IDS`] allows.
fn ids(items: &[Item]) -> String {
    let mut ids = String::new();
    for item in items {
        let id = item.id();
        let id = id_text(&id);
        if ids.len() + 1 + id.len() > MAX_IDS {
            break;
        }
        if !ids.is_empty() {
            ids.push(',');
        }
        ids.push_str(&id);
    }
    ids
}

/// Returns the trace context that a message came with, if it can stand in a header unchanged.
fn traceparent(item: &Item) -> Option<&str> {
    let attribute = item.message.attributes.iter().find(|attribute| attribute.name == "traceparent")?;
    let AttributeValue::String(value) = &attribute.value else { return None };
    let fits = value.len() <= MAX_TRACEPARENT && value.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    fits.then_some(value)
}

fn array(items: &[Item], bytes: usize, push: impl Fn(&mut Vec<u8>, &Item)) -> Vec<u8> {
    let mut body = Vec::with_capacity(bytes + items.len() + 1);
    for (at, item) in items.iter().enumerate() {
        body.push(if at == 0 { b'[' } else { b',' });
        push(&mut body, item);
    }
    body.push(b']');
    body
}

/// Appends one event in the JSON format of CloudEvents 1.0.2. Source and id together must be unique, so the id
/// is that of the delivery.
fn push_event(body: &mut Vec<u8>, item: &Item, queue: &str) {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
    }
    let named = serde_json::from_slice::<Typed<'_>>(&item.payload).ok().map(|typed| typed.kind).filter(|kind| !kind.is_empty());
    let kind = named.unwrap_or_else(|| Cow::Owned(format!("octoconf.{queue}")));
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let data =
        if lines::is_json(&item.payload) { Cow::Borrowed(&*item.payload) } else { lines::as_json_string(&item.payload).into() };

    let head = format!(
        r#"{{"specversion":"1.0","id":{},"source":{},"type":{},"time":"{}","datacontenttype":"application/json","data":"#,
        text(&item.id()),
        text(&format!("/octoconf/{}", utf8_percent_encode(queue, percent_encoding::NON_ALPHANUMERIC))),
        text(&kind),
        rfc3339::millis(item.message.sent_at),
    );
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(&data);
    body.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Attribute, Message};
    use crate::sink::testing::{batch, http_settings, item};

    fn text(format: Format, payloads: &[&str]) -> String {
        String::from_utf8(body(format, &batch("acme", payloads)).into_owned()).unwrap()
    }

    fn headers(batch: &Batch) -> HeaderMap {
        let target = Target::new(&http_settings("http://localhost/")).unwrap();
        let url = target.url("stock", "acme").unwrap();
        let now = UNIX_EPOCH + Duration::from_millis(1_700_000_000_900);
        request(&target, url, batch, b"", &HeaderValue::from_static("octoconf/1"), now).headers().clone()
    }

    #[test]
    fn each_format_has_its_body() {
        assert_eq!(text(Format::Json, &["1"]), "[1]");
        assert_eq!(text(Format::Json, &["{\"a\":1}", "2"]), "[{\"a\":1},2]");
        assert_eq!(text(Format::Ndjson, &["1", "2"]), "1\n2\n");
        assert_eq!(text(Format::Single, &["{\"a\":1}"]), "{\"a\":1}");
    }

    #[test]
    fn events_carry_what_cloudevents_demands() {
        let events = text(Format::Cloudevents, &[r#"{"type":"invoice.issued","n":1.50}"#, "[2]", r#"{"type":7}"#, "not json"]);
        let expected = |id: &str, kind: &str, data: &str| {
            let head = format!(r#"{{"specversion":"1.0","id":"{id}","source":"/octoconf/stock","type":"{kind}","#);
            format!(r#"{head}"time":"2026-01-02T03:04:05.000Z","datacontenttype":"application/json","data":{data}}}"#)
        };
        let list = [
            expected("m0", "invoice.issued", r#"{"type":"invoice.issued","n":1.50}"#),
            expected("m1", "octoconf.stock", "[2]"),
            expected("m2", "octoconf.stock", r#"{"type":7}"#),
            expected("m3", "octoconf.stock", r#""not json""#),
        ];
        assert_eq!(events, format!("[{}]", list.join(",")));
    }

    #[test]
    fn a_time_that_no_event_can_hold_is_the_last_that_it_can() {
        let mut batch = batch("acme", &["1"]);
        let message = (*batch.items[0].message).clone();
        let sent_at = UNIX_EPOCH + Duration::from_millis(u64::MAX);
        batch.items[0].message = std::sync::Arc::new(Message { sent_at, ..message });
        let event = String::from_utf8(body(Format::Cloudevents, &batch).into_owned()).unwrap();
        assert!(event.contains(r#""time":"9999-12-31T23:59:59.999Z""#), "{event}");
    }

    #[test]
    fn ids_and_names_cannot_break_out_of_their_header() {
        let mut batch = batch("acme", &["1"]);
        batch.items = smallvec::smallvec![item("x\r\nevil: 1, é.2", "1")];
        batch.queue = "a%b\0".into();
        let headers = headers(&batch);
        assert_eq!(headers["webhook-id"], "x%0D%0Aevil:%201%2C%20%C3%A9%2E2");
        assert_eq!(headers["octoconf-messages"], headers["webhook-id"]);
        assert_eq!(headers["idempotency-key"], headers["webhook-id"]);
        assert_eq!(headers["octoconf-queue"], "a%25b%00");
        assert_eq!(headers["webhook-timestamp"], "1700000000");
        assert!(!headers.contains_key("evil"));
    }

    #[test]
    fn the_ids_of_a_full_batch_fit_a_header_line() {
        let payloads = ["1"; 100];
        let mut full = batch("acme", &payloads);
        for item in &mut full.items {
            let id = "0190f7a8-0000-7000-8000-000000000000";
            *item = Item { index: Some(999), ..crate::sink::testing::item(id, "1") };
        }
        assert_eq!(headers(&full)["octoconf-messages"].to_str().unwrap().split(',').count(), 100);

        for item in &mut full.items {
            *item = crate::sink::testing::item(&"x".repeat(1000), "1");
        }
        assert_eq!(headers(&full)["octoconf-messages"].to_str().unwrap().split(',').count(), 6);
    }

    #[test]
    fn the_trace_of_a_lone_message_is_passed_on() {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let traced = |value: AttributeValue| {
            let mut batch = batch("acme", &["1"]);
            let message = (*batch.items[0].message).clone();
            let attributes = vec![Attribute::new("traceparent".into(), value)];
            batch.items[0].message = std::sync::Arc::new(Message { attributes, ..message });
            batch
        };
        let one = traced(AttributeValue::String(trace.into()));
        assert_eq!(headers(&one)["traceparent"], trace);

        let mut two = batch("acme", &["1", "2"]);
        two.items[0] = one.items[0].clone();
        assert!(!headers(&two).contains_key("traceparent"));
        assert!(!headers(&traced(AttributeValue::String("00-\r\nx".into()))).contains_key("traceparent"));
        assert!(!headers(&traced(AttributeValue::Number("1".into()))).contains_key("traceparent"));
    }
}
