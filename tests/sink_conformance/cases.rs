//! What every sink does with a batch.

use std::collections::BTreeSet;
use std::thread;

use octoconf::message::{Answer, RefusalCause};

use crate::driver::Driver;
use crate::support::partner::batch_of;

/// Accounts that a file name, a URL or a group id cannot hold unchanged, each similar to another one.
const ODD: [&str; 12] =
    ["acme", "Acme", "acme ", "ac/me", "ac%2Fme", "..", ".", "ac\u{e4}me", "aca\u{308}me", "acme\n", "sha256-acme", "acme.jsonl"];

fn payload(account: &str, number: usize) -> String {
    serde_json::json!({ "for": account, "n": number }).to_string()
}

/// Returns the numbers for that account in each place, in order of arrival, without the places that hold none.
fn numbers(places: &[Vec<String>], account: &str) -> Vec<Vec<u64>> {
    let read = |line: &String| -> Option<u64> {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        (value["for"] == account).then(|| value["n"].as_u64().unwrap())
    };
    places.iter().map(|place| place.iter().filter_map(read).collect()).filter(|numbers: &Vec<u64>| !numbers.is_empty()).collect()
}

fn deliver(driver: &dyn Driver, account: &str, numbers: impl Iterator<Item = usize>) -> Answer {
    let payloads: Vec<_> = numbers.map(|number| (format!("{account}-{number}"), payload(account, number))).collect();
    driver.sink().deliver(&batch_of(account, &payloads))
}

/// The batches are larger than one request of SQS.
pub fn accepted_batches_have_arrived_whole_and_in_order(driver: &impl Driver) {
    for account in ["acme", "other"] {
        assert_eq!(deliver(driver, account, 0..25), Answer::Accepted);
        assert_eq!(deliver(driver, account, 25..26), Answer::Accepted);
    }
    let Some(places) = driver.arrived() else { return };
    for account in ["acme", "other"] {
        assert_eq!(numbers(&places, account), [(0..26).collect::<Vec<u64>>()], "{account}");
    }
}

pub fn payloads_arrive_to_the_byte(driver: &impl Driver) {
    let long = format!("\"{}\"", "x".repeat(200_000));
    let payloads = ["{}", "null", r#"{"a":"\n\u0000\"\\","b":[1.0,1e400]}"#, "\"\u{1F419}\u{e4}<&>']]>\u{FFFD}\u{7F}\"", &long];
    let named: Vec<_> = payloads.iter().enumerate().map(|(n, payload)| (format!("m{n}"), (*payload).to_owned())).collect();
    assert_eq!(driver.sink().deliver(&batch_of("acme", &named)), Answer::Accepted);
    if let Some(places) = driver.arrived() {
        assert_eq!(places.concat(), payloads);
    }
}

/// The flushes of each account follow one another, as they do with `parallel = 1`; those of
/// different accounts run in parallel.
pub fn many_threads_deliver_at_once(driver: &impl Driver) {
    let accounts: Vec<String> = (0..8).map(|number| format!("shop-{number}")).collect();
    thread::scope(|scope| {
        for account in &accounts {
            scope.spawn(move || {
                for start in (0..30).step_by(3) {
                    assert_eq!(deliver(driver, account, start..start + 3), Answer::Accepted, "{account}");
                }
            });
        }
    });
    let Some(places) = driver.arrived() else { return };
    for account in &accounts {
        assert_eq!(numbers(&places, account), [(0..30).collect::<Vec<u64>>()], "{account}");
    }
}

/// Nothing is lost or out of order either: the same batch is sent again, and arrives.
pub fn an_absent_side_accepts_nothing(driver: &impl Driver) {
    assert_eq!(deliver(driver, "acme", 0..3), Answer::Accepted);
    driver.go_away();
    for _ in 0..2 {
        let answer = deliver(driver, "acme", 3..6);
        let Answer::Unreachable { reason } = answer else { panic!("expected Unreachable, got {answer:?}") };
        assert!(!reason.is_empty());
    }
    driver.come_back();
    assert_eq!(deliver(driver, "acme", 3..6), Answer::Accepted);
    assert_eq!(numbers(&driver.arrived().unwrap(), "acme"), [[0, 1, 2, 3, 4, 5]]);
}

/// An account for which there can be no place is refused for good, with a reason.
pub fn no_two_accounts_share_a_place(driver: &impl Driver) {
    let mut accepted = BTreeSet::new();
    for account in ODD {
        match deliver(driver, account, 0..1) {
            Answer::Accepted => _ = accepted.insert(account),
            Answer::Refused { cause: RefusalCause::Impossible, reason } => assert!(!reason.is_empty()),
            other => panic!("{account:?}: {other:?}"),
        }
    }
    let places = driver.arrived().unwrap();
    assert_eq!(places.len(), accepted.len());
    for account in accepted {
        assert_eq!(numbers(&places, account), [[0]], "{account:?}");
    }
    assert!(places.iter().all(|place| place.len() == 1), "{places:?}");
}
