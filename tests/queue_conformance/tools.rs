//! Helpers for what the cases do repeatedly.

use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;
use octoconf::message::{Attribute, Receipt, Received};
use octoconf::queue::{
    Ask, DeadDelivery, DeadFilter, DeadKind, DeadLetter, DeadReason, NewMessage, Queue, SetAside, VisibilityChange,
};

/// The lease of everything that [`take`] receives.
pub const LEASE: Duration = Duration::from_secs(30);
/// Longer than any test runs: a wait that ends was interrupted.
pub const LONG: Duration = Duration::from_secs(3600);

pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn message(body: impl Into<Bytes>) -> NewMessage {
    NewMessage { body: body.into(), ..NewMessage::default() }
}

pub fn send(queue: &dyn Queue, bodies: &[&'static str]) {
    let messages: Vec<_> = bodies.iter().map(|body| message(*body)).collect();
    assert_eq!(queue.send(&messages).unwrap().len(), bodies.len());
}

pub fn send_delayed(queue: &dyn Queue, body: &'static str, delay: Duration) {
    queue.send(&[NewMessage { delay, ..message(body) }]).unwrap();
}

pub fn ask(max: usize) -> Ask {
    Ask { max, wait: Duration::ZERO, lease: LEASE, bytes: usize::MAX }
}

/// Makes one receive without waiting.
pub fn take(queue: &dyn Queue, max: usize) -> Vec<Received> {
    queue.receive(&ask(max)).unwrap()
}

/// Makes one receive from a service that may miss messages for a moment.
pub fn take_some(queue: &dyn Queue, max: usize) -> Vec<Received> {
    queue.receive(&Ask { wait: Duration::from_secs(20), ..ask(max) }).unwrap()
}

/// Returns attributes sorted by name, since not every service keeps their order.
pub fn by_name(attributes: &[Attribute]) -> Vec<Attribute> {
    let mut sorted = attributes.to_vec();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    sorted
}

pub fn take_one(queue: &dyn Queue) -> Received {
    let mut taken = take(queue, 1);
    assert_eq!(taken.len(), 1);
    taken.remove(0)
}

pub fn bodies(taken: &[Received]) -> Vec<String> {
    taken.iter().map(|received| String::from_utf8(received.message.body.to_vec()).unwrap()).collect()
}

/// Returns the bodies of one receive.
pub fn take_bodies(queue: &dyn Queue, max: usize) -> Vec<String> {
    bodies(&take(queue, max))
}

pub fn receipts(taken: &[Received]) -> Vec<Receipt> {
    taken.iter().map(|received| received.receipt.clone()).collect()
}

/// Deletes all of the copies, which must succeed.
pub fn delete(queue: &dyn Queue, taken: &[Received]) {
    for result in queue.delete(&receipts(taken)).unwrap() {
        assert_eq!(result, Ok(()));
    }
}

/// Hides all of the copies for a time, which must succeed.
pub fn hide(queue: &dyn Queue, taken: &[Received], hidden: Duration) {
    let changes: Vec<_> = receipts(taken).into_iter().map(|receipt| VisibilityChange::new(receipt, hidden)).collect();
    for result in queue.change_visibility(&changes).unwrap() {
        assert_eq!(result, Ok(()));
    }
}

pub fn reason(kind: DeadKind, text: &str) -> DeadReason {
    DeadReason { kind, text: text.into() }
}

/// A dead letter for a whole message.
pub fn whole(received: &Received) -> SetAside {
    SetAside {
        message: received.message.clone(),
        receipt: received.receipt.clone(),
        delivery: None,
        reason: reason(DeadKind::Rejected, "account is null"),
        last: true,
    }
}

/// A dead letter for one delivery of several.
pub fn partial(received: &Received, index: u16, last: bool) -> SetAside {
    let delivery = DeadDelivery { account: "acme".into(), index: Some(index), payload: format!("payload {index}").into() };
    SetAside { delivery: Some(delivery), reason: reason(DeadKind::Refused, "status 422: unknown sku"), last, ..whole(received) }
}

/// Sets all of the letters aside, which must succeed.
pub fn set_aside(queue: &dyn Queue, letters: &[SetAside]) {
    for result in queue.set_aside(letters).unwrap() {
        assert_eq!(result, Ok(()));
    }
}

pub fn letters(queue: &dyn Queue) -> Vec<DeadLetter> {
    filtered(queue, &DeadFilter::default())
}

pub fn filtered(queue: &dyn Queue, filter: &DeadFilter) -> Vec<DeadLetter> {
    let mut letters = Vec::new();
    let each = &mut |letter| {
        letters.push(letter);
        true
    };
    queue.dead_letters().unwrap().list(filter, each).unwrap();
    letters
}

pub fn ids(letters: &[DeadLetter]) -> Vec<CompactString> {
    letters.iter().map(|letter| letter.id.clone()).collect()
}

/// Redrives all dead letters.
pub fn redrive_all(queue: &dyn Queue) -> usize {
    queue.dead_letters().unwrap().redrive(&ids(&letters(queue))).unwrap()
}
