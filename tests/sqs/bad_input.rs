//! Servers that are not SQS, and an SQS that refuses the program: the log names what is wrong and what to do, requests
//! stay few, and the program keeps running until it is told to stop.

use std::time::Duration;

use crate::support::partner::{Connection, Partner};
use crate::support::program::{Running, Workspace, holds_for};
use crate::support::sqs_server::aws_environment;

/// How long requests are counted once the fault is logged, and the maximum number by then. A loop without
/// a pause would make thousands.
const COUNTED: Duration = Duration::from_secs(3);
const MOST: usize = 20;

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn refusal(code: &str) -> String {
    let body = format!(
        "<ErrorResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>not for you</Message></Error><RequestId>1</RequestId></ErrorResponse>"
    );
    answer("403 Forbidden", &body)
}

/// The program, with a stub in the place of SQS.
struct Trial {
    stub: Partner,
    workspace: Workspace,
    running: Running,
}

impl Trial {
    fn start(scheme: &str, stub: Partner) -> Self {
        let text = format!(
            r#"
            [admin]
            listen = ""
            [queues.stock]
            url = "{scheme}://{0}/1/stock"
            endpoint = "{scheme}://{0}"
            dead_letter = "none"
            handler = "product"
            [partners.default]
            deliver = "discard"
            "#,
            stub.address
        );
        let workspace = Workspace::new("octoconf.toml", &text).with_environment(&aws_environment());
        let running = workspace.start(&["run"]);
        Self { stub, workspace, running }
    }

    /// Ends the program, which must still be running.
    fn end(mut self, name: &str) {
        let log = self.workspace.log();
        assert_eq!(self.running.ended(), None, "{name}: {log}");
        let asked = self.stub.requests.try_iter().count();
        assert!(asked <= MOST, "{name}: {asked} requests\n{log}");
        assert!(self.stub.accepted() <= MOST, "{name}: {} connections\n{log}", self.stub.accepted());
        self.running.signal("TERM");
        assert_eq!(self.running.end(), Some(0), "{name}: {}", self.workspace.log());
        assert!(!self.workspace.log().contains("panicked"), "{name}: {}", self.workspace.log());
    }
}

/// Starts all trials, waits until each has logged what it must, and ends them.
fn try_all(cases: Vec<(&str, Trial, &[&str])>) {
    for (_, trial, says) in &cases {
        trial.workspace.said(&[&["the queue", "queue=stock"], *says].concat());
    }
    let busiest = || cases.iter().map(|(name, trial, _)| (trial.stub.requests.len().max(trial.stub.accepted()), *name)).max();
    holds_for(COUNTED, || busiest().is_some_and(|(count, _)| count <= MOST), || format!("too many requests: {:?}", busiest()));
    for (name, trial, _) in cases {
        trial.end(name);
    }
}

#[test]
fn a_server_that_is_not_sqs_is_reported_with_a_remedy() {
    let says = |answer: String| Trial::start("http", Partner::answering(answer));
    let page = "<!DOCTYPE html><html><body>Sign in to the network</body></html>";
    try_all(vec![
        ("a page", says(answer("200 OK", page)), &["web page", "correct endpoint"]),
        ("JSON", says(answer("200 OK", "{\"Messages\":[]}")), &["JSON", "correct endpoint"]),
        ("nothing", says(answer("200 OK", "")), &["nothing", "check endpoint"]),
        ("other XML", says(answer("200 OK", "<feed/>")), &["GetQueueAttributes"]),
        // More than any answer to this request has, and less than ten messages may have.
        ("an endless answer", says(answer("200 OK", &" ".repeat(10 << 20))), &["more than 1048576 bytes", "check endpoint"]),
        ("a gateway", says(answer("502 Bad Gateway", page)), &["502"]),
        ("no such page", says(answer("404 Not Found", page)), &["knows no SQS there", "correct endpoint"]),
        (
            "elsewhere",
            says("HTTP/1.1 301 Moved\r\nlocation: /\r\ncontent-length: 0\r\n\r\n".to_owned()),
            &["elsewhere", "region"],
        ),
    ]);
}

#[test]
fn a_mismatch_of_tls_and_plain_is_reported() {
    let tls_only = Partner::start(|mut connection: Connection| {
        connection.head();
        // How a TLS server answers a request that is not TLS: a fatal alert, "unexpected
        // message" (RFC 8446, section 6).
        connection.send(b"\x15\x03\x03\x00\x02\x02\x0a");
    });
    let plain_only = Partner::start(|mut connection: Connection| {
        connection.send(answer("400 Bad Request", ""));
    });
    try_all(vec![
        ("TLS where plain was meant", Trial::start("http", tls_only), &["does not answer in HTTP", "https:// in endpoint"]),
        ("plain where TLS was meant", Trial::start("https", plain_only), &["no TLS", "http:// in endpoint"]),
    ]);
}

#[test]
fn a_refusal_by_sqs_is_reported_with_a_remedy() {
    let says = |code: &str| Trial::start("http", Partner::answering(refusal(code)));
    let late = refusal("SignatureDoesNotMatch").replace("\r\n\r\n", "\r\ndate: Wed, 03 Jan 2024 10:00:00 GMT\r\n\r\n");
    try_all(vec![
        ("wrong keys", says("InvalidClientTokenId"), &["an operator has to act", "access key is not known there"]),
        ("wrong secret or region", says("SignatureDoesNotMatch"), &["secret access key", "region is the queue's"]),
        ("a clock that is off", Trial::start("http", Partner::answering(late)), &["clock of this machine", "set it"]),
        ("an old token", says("ExpiredToken"), &["session token has expired", "renew"]),
        ("a denied action", says("AccessDenied"), &["allow the action", "policy"]),
        ("a denied key", says("KmsAccessDenied"), &["kms:Decrypt"]),
        ("a throttle", says("RequestThrottled"), &["the queue fails", "RequestThrottled"]),
    ]);
}

#[test]
fn an_action_that_is_denied_later_is_reported_too() {
    let facts = "<GetQueueAttributesResponse><GetQueueAttributesResult/></GetQueueAttributesResponse>";
    let stub = Partner::start(move |mut connection: Connection| {
        while let Some(request) = connection.request() {
            let may = request.body.contains("Action=GetQueueAttributes");
            if !connection.send(if may { answer("200 OK", facts) } else { refusal("AccessDenied") }) {
                break;
            }
        }
    });
    try_all(vec![("receiving is denied", Trial::start("http", stub), &["receive was refused", "allow the action"])]);
}
