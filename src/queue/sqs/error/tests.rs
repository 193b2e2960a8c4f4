//! The meaning of each code and of answers that are none of SQS's, and what is quoted of them.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;

use super::answer::{MAX_QUOTED, MAX_QUOTED_CODE};
use super::*;
use crate::queue::sqs::testing::keys;
use crate::queue::sqs::transport::Response;

const NOW: Duration = Duration::from_secs(1_720_000_000);

fn answer(status: u16, body: &str) -> Response {
    Response { status, date: Some(UNIX_EPOCH + NOW), received: UNIX_EPOCH + NOW, body: Bytes::copy_from_slice(body.as_bytes()) }
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
    let body =
        "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>Signature expired</Message></Error></ErrorResponse>";
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
    let total = "Value 43200 for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout is beyond the limit.";
    assert!(matches!(of("InvalidParameterValue", total, true), EntryFault::Refused(_)));
    assert_eq!(of("InternalError", "again", false), EntryFault::Transient("InternalError: again".into()));
    assert_eq!(of("RequestThrottled", "", true), EntryFault::Transient("RequestThrottled".into()));
    for (code, says) in [("KMS.AccessDeniedException", "kms:Decrypt"), ("KmsDisabled", "key in KMS"), ("AccessDenied", "policy")]
    {
        let fault = of(code, "no", true);
        assert!(matches!(&fault, EntryFault::Denied(why) if why.contains(says)), "{fault:?}");
    }
}
