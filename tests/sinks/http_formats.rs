//! What a partner receives, byte for byte, in each format.

use std::time::{Duration, SystemTime};

use crate::support::partner::{OK, Partner, Request, batch, everyone, http};
use octoconf::message::Answer;
use octoconf::settings::{Deliver, Format, HttpSettings, Secret};
use octoconf::sink::{Clocks, Limits, Sink, Sinks};

fn received(partner: &Partner, settings: HttpSettings, payloads: &[&str]) -> Request {
    let clock = Clocks::with_wall(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_614_265_330));
    let settings = everyone(Deliver::Http(settings));
    let sinks = Sinks::with_clocks(&settings, Limits::of(16), "1.2.3", clock).unwrap();
    assert_eq!(sinks.deliver(&batch("acme/1", payloads)), Answer::Accepted);
    partner.requests.recv().unwrap()
}

fn with_format(partner: &Partner, format: Format) -> HttpSettings {
    HttpSettings { format, ..http(format!("http://{}/in/{{account}}/{{queue}}?v=1", partner.address)) }
}

#[test]
fn a_request_is_the_batch_and_its_headers_and_nothing_else() {
    let partner = Partner::answering(OK);
    let request = received(&partner, with_format(&partner, Format::Json), &[r#"{"n":1}"#, "2"]);
    let mut lines: Vec<&str> = request.head.lines().collect();
    assert_eq!(lines.remove(0), "POST /in/acme%2F1/stock?v=1 HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", partner.address);
    // The id of a batch of the two deliveries m0 and m1, which is the same whenever it is computed.
    let id = "f1e97efb-96f8-583c-a7bc-dff7bf553436";
    let (idempotency_key, webhook_id) = (format!("idempotency-key: {id}"), format!("webhook-id: {id}"));
    let mut expected = vec![
        "content-length: 11",
        "content-type: application/json",
        &host,
        &idempotency_key,
        "octoconf-messages: m0,m1",
        "octoconf-queue: stock",
        "user-agent: octoconf/1.2.3",
        &webhook_id,
        "webhook-timestamp: 1614265330",
    ];
    expected.sort_unstable();
    assert_eq!(lines, expected);
    assert_eq!(request.body, r#"[{"n":1},2]"#);
}

#[test]
fn each_format_has_its_body_and_content_type() {
    let partner = Partner::answering(OK);
    for (format, payloads, content_type, body) in [
        (Format::Json, &["1"][..], "application/json", "[1]"),
        (Format::Single, &["1"], "application/json", "1"),
        (Format::Ndjson, &["1", "2"], "application/x-ndjson", "1\n2\n"),
    ] {
        let request = received(&partner, with_format(&partner, format), payloads);
        assert_eq!((request.header("content-type"), request.body.as_str()), (Some(content_type), body));
    }
    let request = received(&partner, with_format(&partner, Format::Cloudevents), &[r#"{"type":"stock.updated"}"#]);
    assert_eq!(request.header("content-type"), Some("application/cloudevents-batch+json"));
    assert_eq!(
        request.body,
        concat!(
            r#"[{"specversion":"1.0","id":"m0","source":"/octoconf/stock","type":"stock.updated","#,
            r#""time":"2026-01-02T03:04:05.000Z","datacontenttype":"application/json","data":{"type":"stock.updated"}}]"#
        )
    );
}

#[test]
fn configured_headers_and_the_user_of_the_url_go_along() {
    let partner = Partner::answering(OK);
    let mut settings = http(format!("http://user:p%40ss@{}/", partner.address));
    settings.headers.insert("X-Api-Key".into(), Secret::new("k e y"));
    let request = received(&partner, settings, &["1"]);
    assert_eq!(request.header("authorization"), Some("Basic dXNlcjpwQHNz"));
    assert_eq!(request.header("x-api-key"), Some("k e y"));
    assert_eq!(request.header("user-agent"), Some("octoconf/1.2.3"));
    assert_eq!(request.header("host"), Some(partner.address.to_string().as_str()));
}

#[test]
fn a_request_is_signed_if_there_is_a_secret() {
    let partner = Partner::answering(OK);
    let mut settings = http(partner.url());
    settings.format = Format::Single;
    settings.signing_secret = Some(Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    let request = received(&partner, settings, &[r#"{"test": 2432232314}"#]);
    // Computed independently of this code, over `m0.1614265330.BODY`.
    assert_eq!(request.header("webhook-signature"), Some("v1,hSvMRbW3RB1je7g16nhJ0Ef96s6Yfnv4NmVfq7CRWFE="));
}
