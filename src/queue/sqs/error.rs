//! The meaning of SQS's errors for the engine: wait, look the queue up again, or report to a person.
//!
//! The code is read from the answer itself, since no other place has all of them: rusoto knows a
//! third of the codes, the query protocol spells some of them in two ways, and proxies between
//! us and SQS answer in HTML. No text in this module quotes more than a line of an answer,
//! because SQS answers to a refused signature with all that was signed, tokens included.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::credentials::Keys;
use super::transport::Response;
use super::xml::Elements;
use crate::mask::hide;
use crate::queue::{EntryError, QueueError};
use crate::rfc3339;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Waiting may help.
    Transient(String),
    /// The queue does not exist, or no longer exists.
    Missing(String),
    /// The request holds more than the service accepts at once.
    TooLarge(String),
    /// The service does not accept the content of the message.
    Content(String),
    /// A person has to act.
    Refused(String),
}

impl Fault {
    /// Converts the fault to the error type of all queues.
    pub fn of(self, queue: &str, what: &'static str) -> QueueError {
        let queue = queue.to_owned();
        match self {
            Self::Transient(why) => QueueError::Unavailable { queue, what, why },
            Self::Missing(why) => QueueError::Missing { queue, why },
            Self::TooLarge(why) | Self::Content(why) | Self::Refused(why) => QueueError::Refused { queue, what, why },
        }
    }

    /// Returns the reason, as a sentence for the operator.
    pub fn why(&self) -> &str {
        match self {
            Self::Transient(why) | Self::Missing(why) | Self::TooLarge(why) | Self::Content(why) | Self::Refused(why) => why,
        }
    }

    /// Returns the same fault with its text changed.
    pub fn map(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Transient(why) => Self::Transient(change(why)),
            Self::Missing(why) => Self::Missing(change(why)),
            Self::TooLarge(why) => Self::TooLarge(change(why)),
            Self::Content(why) => Self::Content(change(why)),
            Self::Refused(why) => Self::Refused(change(why)),
        }
    }
}

/// The difference between our clock and the server's that is reported when a signature
/// fails: half of what SQS allows a signature (AWS: 15 minutes, older or newer).
const CLOCK_OFF: Duration = Duration::from_secs(7 * 60 + 30);
/// The largest number of characters of a server's message that are quoted.
const MAX_QUOTED: usize = 300;
/// The largest number of characters of a code that are quoted.
const MAX_QUOTED_CODE: usize = 100;

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

enum CodeClass {
    Transient,
    Missing,
    TooLarge,
    Content,
    Signature,
    /// A refusal, with advice on what to do about it.
    Refused(&'static str),
    Unknown,
}

/// Returns the code without the name spaces that some protocols put before it.
fn bare(code: &str) -> &str {
    let code = code.rsplit('#').next().unwrap_or_default();
    code.strip_prefix("AWS.SimpleQueueService.").unwrap_or(code)
}

fn class_of(code: &str) -> CodeClass {
    match bare(code) {
        "NonExistentQueue" | "QueueDoesNotExist" => CodeClass::Missing,
        "BatchRequestTooLong" => CodeClass::TooLarge,
        "InvalidMessageContents" => CodeClass::Content,
        "OverLimit"
        | "RequestThrottled"
        | "KmsThrottled"
        | "KMS.ThrottlingException"
        | "ServiceUnavailable"
        | "InternalFailure"
        | "InternalError"
        | "InternalServerError"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "SlowDown"
        | "PriorRequestNotComplete"
        | "BandwidthLimitExceeded"
        | "LimitExceededException"
        | "TooManyRequestsException"
        | "QueueDeletedRecently" => CodeClass::Transient,
        code if code.starts_with("Throttl") => CodeClass::Transient,
        "SignatureDoesNotMatch" | "InvalidSignatureException" | "RequestExpired" | "RequestTimeTooSkewed" => CodeClass::Signature,
        "InvalidClientTokenId" | "UnrecognizedClientException" | "InvalidAccessKeyId" => {
            CodeClass::Refused("; the access key is not known there: check the keys, their session token and the region")
        }
        "ExpiredToken" | "ExpiredTokenException" => {
            CodeClass::Refused("; the session token has expired: renew the keys at their source")
        }
        "MissingAuthenticationToken" | "IncompleteSignature" => {
            CodeClass::Refused("; something between us and SQS removes the signature from our requests")
        }
        "AccessDenied" | "AccessDeniedException" | "NotAuthorized" | "AuthFailure" => {
            CodeClass::Refused("; allow the action in the role's policy, and check the queue's own")
        }
        "OptInRequired" => CodeClass::Refused("; the AWS account is not signed up for SQS in that region"),
        "InvalidAddress" => CodeClass::Refused("; the queue's URL is not of this region or endpoint"),
        "InvalidSecurity" => CodeClass::Refused("; write https:// in endpoint"),
        "KmsAccessDenied" | "KMS.AccessDeniedException" => {
            CodeClass::Refused("; allow kms:Decrypt and kms:GenerateDataKey on the queue's key")
        }
        code if code.starts_with("Kms") || code.starts_with("KMS.") => CodeClass::Refused("; check the queue's key in KMS"),
        _ => CodeClass::Unknown,
    }
}

/// Why one entry of a batch failed, while others may have gone well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryFault {
    /// The receipt is no longer valid, or the message is gone.
    Gone,
    /// The entry may succeed when it is tried again.
    Transient(String),
    /// The queue does not exist; the entry itself may be right.
    Missing(String),
    /// A person has to act, on keys, a policy or a key of KMS for example; the entry itself may be right.
    Denied(String),
    /// SQS will never accept the entry as it is.
    Refused(String),
}

impl EntryFault {
    /// Classifies the failure of an entry. `sender` is whether SQS says that
    /// the fault is ours; `keys` are those that the request was signed with.
    pub fn of(code: &str, message: &str, sender: bool, keys: &Keys) -> Self {
        let handle = message.contains("ReceiptHandle") || message.to_ascii_lowercase().contains("receipt handle");
        match bare(code) {
            "ReceiptHandleIsInvalid" | "MessageNotInflight" => Self::Gone,
            // "The receipt handle has expired", on FIFO queues.
            "InvalidParameterValue" if handle => Self::Gone,
            _ if sender => match class_of(code) {
                CodeClass::Transient => Self::Transient(quote(code, message, keys)),
                CodeClass::Missing => Self::Missing(quote(code, message, keys)),
                CodeClass::Signature => Self::Denied(quote(code, message, keys)),
                CodeClass::Refused(advice) => Self::Denied(format!("{}{advice}", quote(code, message, keys))),
                CodeClass::TooLarge | CodeClass::Content | CodeClass::Unknown => Self::Refused(quote(code, message, keys)),
            },
            _ => Self::Transient(quote(code, message, keys)),
        }
    }
}

impl From<Fault> for EntryFault {
    /// Converts the failure of a request that had only this entry.
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Transient(why) => Self::Transient(why),
            Fault::Missing(why) => Self::Missing(why),
            Fault::TooLarge(why) | Fault::Content(why) | Fault::Refused(why) => Self::Refused(why),
        }
    }
}

impl From<EntryFault> for EntryError {
    fn from(fault: EntryFault) -> Self {
        match fault {
            EntryFault::Gone => Self::Gone,
            // Tried again until the lease ends, which costs little, since SQS may allow by then what it refuses now.
            EntryFault::Transient(why) | EntryFault::Missing(why) | EntryFault::Denied(why) | EntryFault::Refused(why) => {
                Self::Failed(why)
            }
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
fn quote(code: &str, message: &str, keys: &Keys) -> String {
    let short = |text: &str, most| {
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        // Keys are hidden before the text is cut, or the start of a key at the cut would remain.
        hide(text, keys.secrets()).chars().take(most).collect::<String>()
    };
    let line = short(message.lines().next().unwrap_or_default().trim(), MAX_QUOTED);
    let code = short(code, MAX_QUOTED_CODE);
    if line.is_empty() { code } else { format!("{code}: {line}") }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::queue::sqs::testing::keys;

    const NOW: Duration = Duration::from_secs(1_720_000_000);

    fn answer(status: u16, body: &str) -> Response {
        Response {
            status,
            date: Some(UNIX_EPOCH + NOW),
            received: UNIX_EPOCH + NOW,
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    fn refusal(status: u16, code: &str) -> Fault {
        let body = format!(
            "<?xml version=\"1.0\"?><ErrorResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\"><Error><Type>Sender</Type>\
             <Code>{code}</Code><Message>because</Message><Detail/></Error><RequestId>1</RequestId></ErrorResponse>"
        );
        document(&answer(status, &body), &keys()).unwrap_err()
    }

    #[test]
    fn every_code_has_its_meaning_whatever_the_status() {
        for code in [
            "OverLimit",
            "AWS.SimpleQueueService.OverLimit",
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottled",
            "KmsThrottled",
            "ServiceUnavailable",
            "InternalFailure",
            "InternalError",
            "AWS.SimpleQueueService.QueueDeletedRecently",
        ] {
            assert_eq!(refusal(403, code), Fault::Transient(format!("{code}: because")));
        }
        for code in ["AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "com.amazonaws.sqs#QueueDoesNotExist"] {
            assert_eq!(refusal(400, code), Fault::Missing(format!("{code}: because")));
        }
        let too_large = refusal(400, "AWS.SimpleQueueService.BatchRequestTooLong");
        assert!(matches!(too_large, Fault::TooLarge(_)), "{too_large:?}");
        assert!(matches!(refusal(400, "InvalidMessageContents"), Fault::Content(_)));
        for (code, says) in [
            ("InvalidClientTokenId", "access key"),
            ("SignatureDoesNotMatch", "secret access key"),
            ("ExpiredToken", "renew the keys"),
            ("AccessDenied", "policy"),
            ("KmsAccessDenied", "kms:Decrypt"),
            ("KmsDisabled", "key in KMS"),
            ("InvalidAddress", "region or endpoint"),
            ("InvalidSecurity", "https://"),
            ("InvalidParameterValue", "because"),
        ] {
            let fault = refusal(400, code);
            assert!(matches!(&fault, Fault::Refused(why) if why.contains(says) && why.contains(code)), "{fault:?}");
        }
    }

    #[test]
    fn an_unknown_code_counts_by_its_status() {
        assert_eq!(refusal(400, "OfTomorrow"), Fault::Refused("OfTomorrow: because".into()));
        for status in [408, 429, 500, 503] {
            assert_eq!(refusal(status, "OfTomorrow"), Fault::Transient("OfTomorrow: because".into()), "{status}");
        }
        assert_eq!(refusal(413, "OfTomorrow"), Fault::TooLarge("OfTomorrow: because".into()));
    }

    #[test]
    fn a_clock_that_is_off_is_said_with_how_much() {
        let body = "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>Signature expired</Message></Error></ErrorResponse>";
        let off = |received| document(&Response { received, ..answer(403, body) }, &keys()).unwrap_err().why().to_owned();
        let there = UNIX_EPOCH + NOW;
        assert!(
            off(there + Duration::from_secs(7200)).contains("is 2h fast (2024-07-03T11:46:40Z here, 2024-07-03T09:46:40Z there)")
        );
        assert!(off(there - Duration::from_secs(86_400)).contains("is 1day slow"));
        assert!(!off(there + Duration::from_secs(60)).contains("clock"));
    }

    #[test]
    fn what_is_no_sqs_is_named() {
        for (status, body, transient, says) in [
            (200, "", true, "nothing"),
            (200, "\n <!DOCTYPE html><html>", false, "web page"),
            (200, "<HTML><body>", false, "web page"),
            (200, "{\"Messages\": []}", false, "JSON"),
            (200, "hello", true, "not XML"),
            (301, "", false, "elsewhere"),
            (403, "<html>denied</html>", false, "403"),
            (404, "", false, "no SQS there"),
            (429, "slow down", true, "429"),
            (502, "<html>bad gateway</html>", true, "502"),
        ] {
            let fault = document(&answer(status, body), &keys()).unwrap_err();
            assert_eq!(matches!(fault, Fault::Transient(_)), transient, "{fault:?}");
            assert!(fault.why().contains(says), "{fault:?}");
        }
        for body in ["", "<html>Request Entity Too Large</html>"] {
            assert!(matches!(document(&answer(413, body), &keys()), Err(Fault::TooLarge(why)) if why.contains("413")));
        }
        let fine = "<ReceiveMessageResponse/>";
        assert_eq!(document(&answer(200, fine), &keys()).unwrap(), fine);
    }

    #[test]
    fn one_line_of_a_message_is_quoted_and_no_more() {
        let message = format!("does not match{}\nThe Canonical String was 'x-amz-security-token:hush'", "!".repeat(1000));
        let quoted = quote("SignatureDoesNotMatch", &message, &keys());
        assert!(quoted.len() < 350 && !quoted.contains("hush"), "{quoted}");
    }

    #[test]
    fn a_key_that_the_cut_goes_through_is_hidden_whole() {
        for left in 0..12 {
            let quoted = quote(
                &format!("{}AKIDHUSH", "c".repeat(MAX_QUOTED_CODE - left)),
                &format!("{}hush-token", "m".repeat(MAX_QUOTED - left)),
                &keys(),
            );
            assert!(!quoted.to_lowercase().contains('h') && !quoted.contains("AK"), "{left}: {quoted}");
        }
        let EntryFault::Refused(why) = EntryFault::of("InvalidParameterValue", "token hush-token", true, &keys()) else {
            panic!("it is the sender's fault")
        };
        assert_eq!(why, "InvalidParameterValue: token ***");
    }

    #[test]
    fn a_receipt_that_is_over_is_gone_and_of_the_rest_sqs_says_whose_fault_it_is() {
        let of = |code, message, sender| EntryFault::of(code, message, sender, &keys());
        assert_eq!(of("ReceiptHandleIsInvalid", "", true), EntryFault::Gone);
        assert_eq!(of("AWS.SimpleQueueService.MessageNotInflight", "", true), EntryFault::Gone);
        let expired = "Value AQEB for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.";
        assert_eq!(of("InvalidParameterValue", expired, true), EntryFault::Gone);
        let total =
            "Value 43200 for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout is beyond the limit.";
        assert!(matches!(of("InvalidParameterValue", total, true), EntryFault::Refused(_)));
        assert_eq!(of("InternalError", "again", false), EntryFault::Transient("InternalError: again".into()));
        assert_eq!(of("RequestThrottled", "", true), EntryFault::Transient("RequestThrottled".into()));
        for (code, says) in
            [("KMS.AccessDeniedException", "kms:Decrypt"), ("KmsDisabled", "key in KMS"), ("AccessDenied", "policy")]
        {
            let fault = of(code, "no", true);
            assert!(matches!(&fault, EntryFault::Denied(why) if why.contains(says)), "{fault:?}");
        }
    }
}
