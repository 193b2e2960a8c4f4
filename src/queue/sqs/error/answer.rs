//! What an answer of the server means: a document of SQS, its error, or something that is no SQS at all.
//!
//! The code of an error is read from the answer itself, since no other place has all of them: rusoto knows a third of
//! the codes, the query protocol spells some of them in two ways, and proxies between us and SQS answer in HTML.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::Fault;
use super::code::{CodeClass, bare, class_of};
use crate::mask::hide;
use crate::queue::sqs::credentials::Keys;
use crate::queue::sqs::transport::Response;
use crate::queue::sqs::xml::Elements;
use crate::rfc3339;

/// The difference between our clock and the server's that is reported when a signature
/// fails: half of what SQS allows a signature (AWS: 15 minutes, older or newer).
const CLOCK_OFF: Duration = Duration::from_secs(7 * 60 + 30);
/// The largest number of characters of a server's message that are quoted.
pub(super) const MAX_QUOTED: usize = 300;
/// The largest number of characters of a code that are quoted.
pub(super) const MAX_QUOTED_CODE: usize = 100;

/// Returns the document of an answer if it is one of SQS's, else what the answer means.
/// `keys` are those that the request was signed with; they are masked in the text.
pub fn document(answer: &Response, keys: &Keys) -> Result<Bytes, Fault> {
    let status = answer.status;
    if let Some(said) = Said::read(&answer.body) {
        return Err(said.fault(answer, keys));
    }
    match status {
        200..=299 => nature(answer).map_or_else(|| Ok(answer.body.clone()), Err),
        300..=399 => {
            Err(Fault::Refused(format!("the server sends us elsewhere (status {status}); correct region, url or endpoint")))
        }
        408 | 425 | 429 | 500 | 502..=599 => Err(Fault::Transient(format!("the server answered with status {status}"))),
        413 => Err(Fault::TooLarge(format!("the server or a proxy takes no request as large as this (status {status})"))),
        404 | 405 | 501 => Err(Fault::Refused(format!("the server knows no SQS there (status {status}); correct endpoint"))),
        _ => Err(Fault::Refused(format!(
            "the server answered with status {status} and no error of SQS; check endpoint and proxies"
        ))),
    }
}

/// Returns whether the service refuses the keys of the request as unknown or expired: it may accept others.
pub fn blames_keys(answer: &Response) -> bool {
    let said = || Said::read(&answer.body).is_some_and(|said| is_about_keys(bare(&said.code)));
    answer.status >= 400 && said()
}

fn is_about_keys(code: &str) -> bool {
    let unknown = matches!(code, "InvalidClientTokenId" | "UnrecognizedClientException" | "InvalidAccessKeyId");
    unknown || matches!(code, "ExpiredToken" | "ExpiredTokenException")
}

/// Returns why the body of a successful answer cannot come from SQS; `None` if it may.
fn nature(answer: &Response) -> Option<Fault> {
    let body = answer.body.trim_ascii_start();
    let is = |word: &str| body.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()));
    if body.is_empty() {
        Some(Fault::Transient("the server answered with nothing; if this persists, check endpoint: it may be no SQS".to_owned()))
    } else if is("<!doctype html") || is("<html") {
        Some(Fault::Refused("the server answered with a web page; correct endpoint, or check the proxy in between".to_owned()))
    } else if is("{") || is("[") {
        Some(Fault::Refused("the server answered in JSON, but SQS's query protocol is XML; correct endpoint".to_owned()))
    } else if !is("<") {
        Some(Fault::Transient(
            "the server answered with something that is not XML; if this persists, check endpoint and proxies".to_owned(),
        ))
    } else {
        None
    }
}

/// An error document of SQS.
struct Said {
    code: String,
    message: String,
}

impl Said {
    fn read(body: &[u8]) -> Option<Self> {
        let root = Elements::of(body).find("ErrorResponse").or_else(|| {
            // The form that services in front of SQS write.
            Elements::of(body).find("Response")?.children().find("Errors")
        })?;
        let error = root.children().find("Error")?;
        let text = |name| Some(error.children().find(name)?.text().ok()?.into_owned());
        Some(Self { code: text("Code").unwrap_or_default(), message: text("Message").unwrap_or_default() })
    }

    fn fault(&self, answer: &Response, keys: &Keys) -> Fault {
        let said = quote(&self.code, &self.message, keys);
        match class_of(&self.code) {
            CodeClass::Transient => Fault::Transient(said),
            CodeClass::Missing => Fault::Missing(said),
            CodeClass::TooLarge => Fault::TooLarge(said),
            CodeClass::Content => Fault::Content(said),
            CodeClass::Signature => Fault::Refused(match clock(answer) {
                Some(off) => format!("{said}; {off}"),
                None => format!("{said}; check the secret access key, and whether the region is the queue's"),
            }),
            CodeClass::Refused(advice) => Fault::Refused(format!("{said}{advice}")),
            // A code that this version does not know is judged by its status, as an answer without a code is.
            CodeClass::Unknown => match answer.status {
                408 | 425 | 429 | 500.. => Fault::Transient(said),
                413 => Fault::TooLarge(said),
                _ => Fault::Refused(said),
            },
        }
    }
}

/// Returns how far our clock is from the server's if that is far enough to make a signature fail.
fn clock(answer: &Response) -> Option<String> {
    let theirs = answer.date?;
    let (off, word) = match answer.received.duration_since(theirs) {
        Ok(off) => (off, "fast"),
        Err(error) => (error.duration(), "slow"),
    };
    let off = Duration::from_secs(off.as_secs());
    (off > CLOCK_OFF).then(|| {
        let show = |time: SystemTime| rfc3339::seconds(time);
        let (off, ours, theirs) = (humantime::format_duration(off), show(answer.received), show(theirs));
        format!("the clock of this machine is {off} {word} ({ours} here, {theirs} there): set it")
    })
}

/// Returns a code and the first line of a message, without keys and short enough for a log.
pub(super) fn quote(code: &str, message: &str, keys: &Keys) -> String {
    let short = |text: &str, most| {
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        // Keys are hidden before the text is cut, or the start of a key at the cut would remain.
        hide(text, keys.secrets()).chars().take(most).collect::<String>()
    };
    let line = short(message.lines().next().unwrap_or_default().trim(), MAX_QUOTED);
    let code = short(code, MAX_QUOTED_CODE);
    if line.is_empty() { code } else { format!("{code}: {line}") }
}
