//! The store without its dispatcher: the line of an account, its bounds, and what is listed of it.

use std::time::UNIX_EPOCH;

use rusqlite::Connection;

use super::*;
use crate::message::park::START;
use crate::message::{Attribute, AttributeValue, Item, Message, Receipt, Received};
use crate::queue::memory::{MemoryOptions, MemoryQueue};
use crate::queue::sqlite::spoil::{spoil, spoil_root};
use crate::queue::{
    Ask, Count, DeadFilter, DeadKind, DeadLetters, DeadReason, EntryError, EntryResult, Facts, Limits, NewMessage, Queue,
    SetAside, VisibilityChange,
};

mod damage;
mod files;
mod letters;
mod places;

const MIB: u64 = 1 << 20;

struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("parking.db")
    }

    fn open(&self, queue: &str, at_second: u64, max_bytes: u64) -> Result<Parking, QueueError> {
        let clock = Arc::new(move || UNIX_EPOCH + Duration::from_secs(at_second));
        let patience = Duration::from_millis(1);
        Parking::open(ParkingOptions { clock, patience, ..ParkingOptions::new(self.path(), queue, max_bytes) })
    }

    fn parking(&self) -> Parking {
        self.open("stock", 1000, 100 * MIB).unwrap()
    }
}

fn delivery(account: &str, id: &str) -> ToPark {
    let (id, index) = match id.split_once('-') {
        Some((id, index)) => (id, Some(index.parse().unwrap())),
        None => (id, None),
    };
    let message = Message {
        id: id.into(),
        body: format!("body of {id}").into(),
        attributes: vec![Attribute::new("traceparent".into(), AttributeValue::String("00-1".into()))],
        group: None,
        sent_at: UNIX_EPOCH + Duration::from_secs(900),
        receives: 3,
        open: None,
    };
    let item = Item { message: Arc::new(message), index, payload: format!("payload of {id}").into() };
    ToPark { account: account.into(), item, waited: Duration::from_secs(40), after: START, older: false }
}

fn older(account: &str, id: &str, after: i64) -> ToPark {
    ToPark { after, older: true, ..delivery(account, id) }
}

fn behind(account: &str, ids: &[&str]) -> Vec<ToPark> {
    ids.iter().map(|id| delivery(account, id)).collect()
}

fn take(parking: &Parking, account: &str, after: i64, rows: usize) -> Unparked {
    parking.unpark(&[Want { account: account.into(), after, rows }]).unwrap().remove(0)
}

fn ids(unparked: &Unparked) -> Vec<String> {
    unparked.rows.iter().map(|row| row.item.id().to_string()).collect()
}

fn place(parked: &Parked) -> i64 {
    match parked {
        Parked::At(place) => *place,
        other => panic!("{other:?}"),
    }
}

fn memory() -> Arc<MemoryQueue> {
    Arc::new(MemoryQueue::new(MemoryOptions::new("stock")))
}

fn letter(row: &crate::message::park::Row, why: &str) -> SetAside {
    let Item { message, index, payload } = row.item.clone();
    SetAside {
        message,
        receipt: row.receipt.clone(),
        delivery: Some(crate::queue::DeadDelivery { account: "x".into(), index, payload }),
        reason: DeadReason { kind: DeadKind::Refused, text: why.into() },
        last: true,
    }
}

#[test]
fn an_accounts_line_comes_back_in_order_and_page_by_page() {
    let scene = Scene::new();
    let parking = scene.parking();
    parking.park(&[behind("x", &["a", "b"]), behind("y", &["c"]), behind("x", &["d-1", "d-2"])].concat()).unwrap();
    let first = take(&parking, "x", START, 3);
    assert_eq!((ids(&first), first.more), (vec!["a".into(), "b".into(), "d-1".into()], true));
    let rest = take(&parking, "x", first.rows[2].place, 3);
    assert_eq!((ids(&rest), rest.more), (vec!["d-2".to_owned()], false));
    assert_eq!(ids(&take(&parking, "y", START, 3)), ["c"]);
    assert_eq!(ids(&take(&parking, "z", START, 3)), [""; 0]);
}

#[test]
fn an_answer_holds_a_few_mebibytes_however_many_rows_are_wanted() {
    let scene = Scene::new();
    let parking = scene.parking();
    let large = |id: &str| {
        let mut delivery = delivery("x", id);
        delivery.item.payload = vec![b'x'; 1 << 20].into();
        delivery
    };
    parking.park(&["a", "b", "c", "d", "e", "f"].map(large)).unwrap();
    let first = take(&parking, "x", START, 9);
    assert_eq!((ids(&first), first.more), (["a", "b", "c", "d"].map(String::from).to_vec(), true));
    let rest = take(&parking, "x", first.last.unwrap(), 9);
    assert_eq!((ids(&rest), rest.more), (["e", "f"].map(String::from).to_vec(), false));
}

#[test]
fn a_row_brings_all_that_a_partner_needs() {
    let scene = Scene::new();
    scene.parking().park(&behind("x", &["a-7"])).unwrap();
    let later = scene.open("stock", 1060, MIB).unwrap();
    let row = take(&later, "x", START, 1).rows.remove(0);
    let (sent, expected) = (&row.item.message, delivery("x", "a-7").item.message);
    assert_eq!((row.item.index, row.item.payload.as_ref()), (Some(7), &b"payload of a"[..]));
    assert_eq!(
        (&sent.id, &sent.attributes, sent.sent_at, sent.receives),
        (&expected.id, &expected.attributes, expected.sent_at, 3)
    );
    assert_eq!(row.waited, Duration::from_secs(100), "40 s in memory and 60 s here");
}

#[test]
fn a_step_of_the_wall_clock_makes_no_delivery_older() {
    let (scene, seconds) = (Scene::new(), Arc::new(AtomicU64::new(1000)));
    let wall = {
        let seconds = Arc::clone(&seconds);
        move || UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::Relaxed))
    };
    let clock = Arc::new(SteadyClock::from(&wall));
    let parking = Parking::open(ParkingOptions { clock, ..ParkingOptions::new(scene.path(), "stock", MIB) }).unwrap();
    parking.park(&behind("x", &["a"])).unwrap();
    for hours in [10, 0] {
        seconds.store(1000 + hours * 3600, Ordering::Relaxed);
        let waited = take(&parking, "x", START, 1).rows.remove(0).waited;
        assert!((40..3600).contains(&waited.as_secs()), "{waited:?}");
    }
    assert!(SteadyClock::of_process().now() <= SteadyClock::of_process().now());
}

#[test]
fn the_file_is_never_larger_than_it_may_be_and_room_comes_back() {
    let scene = Scene::new();
    let parking = scene.open("stock", 1000, 2 * MIB).unwrap();
    let large = |n: usize| {
        let mut delivery = delivery("x", &format!("m{n}"));
        delivery.item.payload = vec![b'x'; 100_000].into();
        delivery
    };
    let results = parking.park(&(0..40).map(large).collect::<Vec<_>>()).unwrap();
    let parked = results.iter().take_while(|result| **result != Parked::Full).count();
    assert!((15..=20).contains(&parked), "{parked} of 100 kB in 2 MiB");
    let small = parking.park(&behind("y", &["small"])).unwrap();
    assert!(matches!(small[..], [Parked::At(_)]), "what fits is parked: {small:?}");
    drop(parking);
    // The rows are moved from the log into the file when the last connection is closed.
    assert!(std::fs::metadata(scene.path()).unwrap().len() <= 2 * MIB);

    let parking = scene.open("stock", 1000, 2 * MIB).unwrap();
    parking.purge(Some("x"), 5).unwrap();
    let results = parking.park(&(100..140).map(large).collect::<Vec<_>>()).unwrap();
    let parked = results.iter().take_while(|result| **result != Parked::Full).count();
    assert!((4..=6).contains(&parked), "{parked} in the place of 5");
}

#[test]
fn what_is_parked_is_listed_and_purged_by_account() {
    let scene = Scene::new();
    let parking = scene.parking();
    parking.park(&[behind("x", &["a", "b"]), behind("y", &["c"]), behind("ü", &["d"])].concat()).unwrap();
    let mut lines = Vec::new();
    let mut listed = |most: usize| {
        lines.clear();
        let mut each = |line: ParkedAccount| {
            lines.push((line.account.to_string(), line.deliveries, line.bytes, line.oldest.to_string(), line.waits_since));
            lines.len() < most
        };
        parking.list(&mut each).unwrap();
        lines.clone()
    };
    let since = UNIX_EPOCH + Duration::from_secs(960);
    let line = |account: &str, deliveries: u64, oldest: &str| {
        (account.to_owned(), deliveries, deliveries * 21, oldest.to_owned(), since)
    };
    assert_eq!(listed(9), [line("x", 2, "a"), line("y", 1, "c"), line("ü", 1, "d")]);
    assert_eq!(listed(1), [line("x", 2, "a")]);
    assert_eq!((parking.purge(Some("x"), 1).unwrap(), parking.purge(Some("z"), 9).unwrap()), (1, 0));
    assert_eq!(listed(1), [line("x", 1, "b")], "the oldest goes first");
    assert_eq!((parking.purge(None, 9).unwrap(), listed(9)), (3, vec![]));
}

#[test]
fn a_list_goes_over_its_pages() {
    let scene = Scene::new();
    let parking = scene.parking();
    let many: Vec<_> = (0..2500).map(|n| delivery(&format!("a{n:04}"), &format!("m{n}"))).collect();
    parking.park(&many).unwrap();
    let mut accounts = Vec::new();
    parking
        .list(&mut |line| {
            accounts.push(line.account);
            true
        })
        .unwrap();
    assert!(accounts.len() == 2500 && accounts.is_sorted());
}
