//! The features of the queue in memory alone: a preload whose rows do not exist until they are taken, and a bound on
//! dead letters.

use std::collections::HashSet;

use super::*;
use crate::message::{Attribute, AttributeValue};
use crate::queue::{DeadDelivery, DeadKind, DeadReason};

const NO_WAIT: Ask = Ask { max: 500, wait: Duration::ZERO, lease: Duration::from_secs(30), bytes: usize::MAX };

fn preloaded(lines: &[&'static str], repeat: u64) -> MemoryOptions {
    MemoryOptions { preload: lines.iter().map(|line| Bytes::from(*line)).collect(), repeat, ..MemoryOptions::new("stock") }
}

fn by_first_letter() -> Grouping {
    Arc::new(|body| body.first().map(|letter| char::from(*letter).to_compact_string()))
}

fn bodies(taken: &[Received]) -> Vec<&[u8]> {
    taken.iter().map(|received| &*received.message.body).collect()
}

fn receipts(taken: &[Received]) -> Vec<Receipt> {
    taken.iter().map(|received| received.receipt.clone()).collect()
}

fn whole(received: &Received) -> SetAside {
    SetAside {
        message: received.message.clone(),
        receipt: received.receipt.clone(),
        delivery: None,
        reason: DeadReason { kind: DeadKind::Rejected, text: String::new() },
        last: true,
    }
}

#[test]
fn a_preload_of_billions_is_counted_and_costs_nothing() {
    let queue = MemoryQueue::new(preloaded(&["a", "b", "c"], 10_000_000_000));
    queue.send(&[NewMessage::default()]).unwrap();
    let taken = queue.receive(&NO_WAIT).unwrap();
    assert_eq!(bodies(&taken[..4]), [b"a", b"b", b"c", b"a"]);
    queue.delete(&receipts(&taken[..100])).unwrap();
    let count = queue.count().unwrap();
    assert_eq!((count.visible, count.hidden), (30_000_000_001 - 500, 400));
}

#[test]
fn bodies_are_shared_and_ids_are_unique_without_an_allocation() {
    let queue = MemoryQueue::new(preloaded(&["a"], 500));
    queue.send(&vec![NewMessage::default(); 500]).unwrap();
    let preload = queue.receive(&NO_WAIT).unwrap();
    let sent = queue.receive(&NO_WAIT).unwrap();
    let ids: HashSet<_> = preload.iter().chain(&sent).map(|received| received.message.id.clone()).collect();
    assert_eq!(ids.len(), 1000);
    assert!(ids.iter().all(|id| !id.is_heap_allocated() && !id.contains('.') && !id.contains('-')));
    assert!(!queue.id(u64::MAX / 4 / 1_000_000).is_heap_allocated());
    let first = preload[0].message.body.as_ptr();
    assert!(preload.iter().all(|received| received.message.body.as_ptr() == first));
}

#[test]
fn two_queues_give_no_id_twice() {
    let id = |queue: &MemoryQueue| queue.receive(&Ask { max: 1, ..NO_WAIT }).unwrap()[0].message.id.clone();
    let (one, other) = (MemoryQueue::new(preloaded(&["a"], 1)), MemoryQueue::new(preloaded(&["a"], 1)));
    assert_ne!(id(&one), id(&other));
}

#[test]
fn groups_of_a_preload_keep_their_order_over_repetitions() {
    let queue = MemoryQueue::new(MemoryOptions { grouping: Some(by_first_letter()), ..preloaded(&["a1", "b1", "a2"], 2) });
    let first = queue.receive(&Ask { max: 1, ..NO_WAIT }).unwrap();
    assert_eq!(bodies(&first), [b"a1"]);
    assert_eq!(bodies(&queue.receive(&NO_WAIT).unwrap()), [b"b1", b"b1"]);
    queue.change_visibility(&[VisibilityChange::new(first[0].receipt.clone(), Duration::ZERO)]).unwrap();
    let rest = queue.receive(&NO_WAIT).unwrap();
    assert_eq!(bodies(&rest), [b"a1", b"a2", b"a1", b"a2"]);
    assert_eq!(rest.iter().map(|received| received.message.receives).collect::<Vec<_>>(), [2, 1, 1, 1]);
    queue.delete(&receipts(&rest)).unwrap();
    assert_eq!(queue.count().unwrap().visible, 0);
}

#[test]
fn full_dead_letters_refuse_more_and_keep_the_messages() {
    let queue = MemoryQueue::new(MemoryOptions { max_dead_letters: 3, ..preloaded(&["a"], 5) });
    let taken = queue.receive(&NO_WAIT).unwrap();
    let letters: Vec<_> = taken.iter().map(whole).collect();
    queue.set_aside(&letters[..2]).unwrap();
    let error = queue.set_aside(&letters[2..]).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("at most 3"), "{error}");
    assert_eq!(queue.count().unwrap().hidden, 3);
    assert_eq!(queue.purge(&["1".into()]).unwrap(), 1);
    queue.set_aside(&letters[2..4]).unwrap();
    assert_eq!(queue.count().unwrap().hidden, 1);
}

#[test]
fn dead_letters_are_bounded_in_bytes_too_and_give_them_back() {
    let queue = MemoryQueue::new(preloaded(&["a"], 2));
    let taken = queue.receive(&NO_WAIT).unwrap();
    let payload = Bytes::from(vec![0; 200 * 1024 * 1024]);
    let large = |received: &Received| SetAside {
        delivery: Some(DeadDelivery { account: "acme".into(), index: None, payload: payload.clone() }),
        ..whole(received)
    };
    queue.set_aside(&[large(&taken[0])]).unwrap();
    assert!(queue.set_aside(&[large(&taken[1])]).is_err());
    queue.purge(&["1".into()]).unwrap();
    queue.set_aside(&[large(&taken[1])]).unwrap();
}

#[test]
fn a_letter_that_is_written_again_counts_once() {
    let queue = MemoryQueue::new(preloaded(&["a"], 1));
    let taken = queue.receive(&NO_WAIT).unwrap();
    let payload = Bytes::from(vec![0; 100 * 1024 * 1024]);
    let large = |index| SetAside {
        delivery: Some(DeadDelivery { account: "acme".into(), index: Some(index), payload: payload.clone() }),
        last: false,
        ..whole(&taken[0])
    };
    for index in [0, 0, 1] {
        queue.set_aside(&[large(index)]).unwrap();
    }
    assert!(queue.set_aside(&[large(2)]).is_err());
}

#[test]
fn attributes_count_among_the_bytes_of_dead_letters() {
    let queue = MemoryQueue::new(MemoryOptions::new("stock"));
    let value = AttributeValue::Binary(Bytes::from(vec![0; 100 * 1024 * 1024]));
    let attributes = vec![Attribute::new("picture".into(), value)];
    queue.send(&vec![NewMessage { attributes, ..NewMessage::default() }; 3]).unwrap();
    let letters: Vec<_> = queue.receive(&NO_WAIT).unwrap().iter().map(whole).collect();
    queue.set_aside(&letters[..2]).unwrap();
    assert!(queue.set_aside(&letters[2..]).is_err());
    assert_eq!(queue.redrive(&["1".into()]).unwrap(), 1);
    queue.set_aside(&letters[2..]).unwrap();
}

#[test]
fn a_receipt_of_another_kind_leaves_each_entry_its_own_time() {
    let queue = MemoryQueue::new(preloaded(&["a", "b"], 1));
    let taken = receipts(&queue.receive(&NO_WAIT).unwrap());
    let hour = Duration::from_secs(3600);
    let changes =
        [(Receipt::Handle("AQEB".into()), Duration::ZERO), (taken[0].clone(), hour), (taken[1].clone(), Duration::ZERO)]
            .map(|(receipt, hidden)| VisibilityChange::new(receipt, hidden));
    assert_eq!(queue.change_visibility(&changes).unwrap(), [Err(EntryError::Gone), Ok(()), Ok(())]);
    assert_eq!(bodies(&queue.receive(&NO_WAIT).unwrap()), [b"b"]);
}
