//! The store without its dispatcher: order, bounds, age, versions, claims.

use std::time::UNIX_EPOCH;

use rusqlite::Connection;

use super::*;
use crate::message::park::START;
use crate::message::{Attribute, AttributeValue, Item, Message, Receipt, Received};
use crate::queue::memory::{MemoryOptions, MemoryQueue};
use crate::queue::sqlite::spoil::spoil;
use crate::queue::{
    Ask, Count, DeadFilter, DeadKind, DeadLetters, DeadReason, EntryError, EntryResult, Facts, Limits, NewMessage, Queue,
    SetAside, VisibilityChange,
};

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
fn a_row_that_cannot_be_read_is_left_out_and_named() {
    let scene = Scene::new();
    let parking = scene.parking();
    parking.park(&[behind("x", &["a", "b", "c"]), behind("y", &["d"])].concat()).unwrap();
    let file = rusqlite::Connection::open(scene.path()).unwrap();
    file.execute("UPDATE parked SET attributes = 'no JSON' WHERE message_id IN ('b', 'd')", []).unwrap();
    let first = take(&parking, "x", START, 2);
    assert_eq!((ids(&first), first.more), (vec!["a".to_owned()], true), "one row was looked at in vain");
    let [why] = &first.unreadable[..] else { panic!("{:?}", first.unreadable) };
    assert!(why.contains("row 2 of parked") && why.contains("attributes") && why.contains("sqlite3"), "{why}");
    let rest = take(&parking, "x", first.last.unwrap(), 2);
    assert_eq!((ids(&rest), rest.unreadable.len(), rest.more), (vec!["c".to_owned()], 0, false));
    let only = take(&parking, "y", START, 2);
    assert_eq!((ids(&only).len(), only.unreadable.len(), only.more), (0, 1, false));
    assert!(only.last.is_some_and(|last| last > START));
}

/// Parks `a` and `c` for x and `b` for y, and damages the part of the file that `mark` fills.
fn damaged(mark: &str) -> (Scene, Parking) {
    let scene = Scene::new();
    let large = |account: &str, id: &str| {
        let mut delivery = delivery(account, id);
        delivery.item.payload = format!("payload-of-{id} ").repeat(1000).into();
        let body = format!("body-of-{id} ").repeat(1000).into();
        delivery.item.message = Arc::new(Message { body, ..Message::clone(&delivery.item.message) });
        delivery
    };
    scene.parking().park(&[large("x", "a"), large("y", "b"), large("x", "c")]).unwrap();
    spoil(&scene.path(), mark);
    let parking = scene.parking();
    (scene, parking)
}

#[test]
fn a_damaged_page_holds_up_no_row_but_its_own() {
    let (_scene, parking) = damaged("payload-of-a ");
    let want = |account: &str, after| Want { account: account.into(), after, rows: 9 };
    let answers = parking.unpark(&[want("x", START), want("y", START)]).unwrap();
    assert_eq!((ids(&answers[0]), ids(&answers[1])), (vec!["c".to_owned()], vec!["b".to_owned()]));
    let [why] = &answers[0].unreadable[..] else { panic!("{answers:?}") };
    assert!(why.contains("row 1 of parked, for x") && why.contains("malformed") && why.contains(".recover"), "{why}");
    assert!(answers[1].unreadable.is_empty());
    assert_eq!(answers[0].last, Some(answers[0].rows[0].place));
    // What asks behind the damaged row does not meet it again.
    let one = Want { rows: 1, ..want("x", START) };
    let first = parking.unpark(&[one]).unwrap().remove(0);
    assert_eq!((first.rows.len(), first.unreadable.len(), first.more), (0, 1, true));
    assert_eq!(ids(&take(&parking, "x", first.last.unwrap(), 9)), ["c"]);
}

#[test]
fn a_body_on_a_damaged_page_keeps_only_its_own_letter_from_being_written() {
    let (_scene, parking) = damaged("body-of-a ");
    let origin = memory();
    let queue = ParkedQueue::new(parking, Arc::clone(&origin) as Arc<dyn Queue>).unwrap();
    let rows = take(&queue.parking, "x", START, 9).rows;
    let letters: Vec<_> = rows.iter().map(|row| letter(row, "why")).collect();
    let results = queue.set_aside(&letters).unwrap();
    assert!(matches!(&results[..], [Err(EntryError::Failed(why)), Ok(())] if why.contains("malformed")), "{results:?}");
    assert!(queue.set_aside(&letters[..1]).is_err(), "nothing is written");
    assert_eq!(ids(&take(&queue.parking, "x", START, 9)), ["a"]);
}

#[test]
fn a_delivered_row_on_a_damaged_page_keeps_no_other_from_being_deleted() {
    let (_scene, parking) = damaged("body-of-a ");
    let queue = ParkedQueue::new(parking, memory()).unwrap();
    let receipts: Vec<_> = take(&queue.parking, "x", START, 9).rows.into_iter().map(|row| row.receipt).collect();
    let not_deleted = |result: &EntryResult| matches!(result, Err(EntryError::NotDeleted(why)) if why.contains("malformed"));
    let results = queue.delete(&receipts).unwrap();
    assert!(not_deleted(&results[0]) && results[1].is_ok(), "{results:?}");
    assert_eq!(ids(&take(&queue.parking, "x", START, 9)), ["a"]);
    assert!(not_deleted(&queue.delete(&receipts[..1]).unwrap()[0]));
}

/// As if the page of the row itself were damaged.
#[test]
fn what_is_parked_is_listed_although_a_first_row_cannot_be_read() {
    let scene = Scene::new();
    let parking = scene.parking();
    parking.park(&[behind("x", &["a", "b"]), behind("y", &["c"])].concat()).unwrap();
    let root: u32 = parking
        .store
        .read(|file| Ok(file.query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'parked'", [], |row| row.get(0))?))
        .unwrap();
    drop(parking);
    let mut bytes = std::fs::read(scene.path()).unwrap();
    let page = (root as usize - 1) * 4096;
    bytes[page..page + 8].fill(0xff);
    std::fs::write(scene.path(), bytes).unwrap();
    let mut lines = Vec::new();
    let mut each = |line: ParkedAccount| {
        lines.push((line.account.to_string(), line.deliveries, line.oldest.to_string()));
        true
    };
    scene.parking().list(&mut each).unwrap();
    let line = |account: &str, deliveries| (account.to_owned(), deliveries, "(cannot be read)".to_owned());
    assert_eq!(lines, [line("x", 2), line("y", 1)]);
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
fn what_is_older_goes_before_what_is_parked_and_behind_what_is_in_memory() {
    let scene = Scene::new();
    let parking = scene.parking();
    let places = parking.park(&behind("x", &["a", "b"])).unwrap();
    let after = place(&places[0]);
    // They are given up newest first, so each goes before the one given up earlier.
    parking.park(&[older("x", "m2", after), older("x", "m1", after)]).unwrap();
    assert_eq!(ids(&take(&parking, "x", after, 9)), ["m1", "m2", "b"]);
    assert_eq!(ids(&take(&parking, "x", START, 9)), ["a", "m1", "m2", "b"]);
    let last = take(&parking, "x", START, 9).rows[3].place;
    parking.park(&[older("x", "m3", last)]).unwrap();
    assert_eq!(ids(&take(&parking, "x", last, 9)), ["m3"], "there is nothing to be before");
}

#[test]
fn what_is_older_than_a_row_that_left_memory_goes_right_before_it() {
    let scene = Scene::new();
    let parking = scene.parking();
    let places = parking.park(&behind("x", &["a", "b"])).unwrap();
    // Both were unparked, and b left memory again: no row behind the place before b's own is in memory.
    let after = place(&places[1]) - 1;
    parking.park(&[older("x", "m", after)]).unwrap();
    assert_eq!(ids(&take(&parking, "x", START, 9)), ["a", "m", "b"]);
}

#[test]
fn a_place_is_not_used_again_while_it_is_known_in_memory() {
    let scene = Scene::new();
    let parking = scene.parking();
    let after = place(&parking.park(&behind("x", &["a", "b"])).unwrap()[1]);
    parking.purge(None, 9).unwrap();
    parking.park(&[older("x", "m2", after), older("x", "m1", after)]).unwrap();
    assert_eq!(ids(&take(&parking, "x", after, 9)), ["m1", "m2"]);
}

#[test]
fn thousands_go_one_before_the_other_and_others_between_any_two_of_them() {
    let scene = Scene::new();
    let parking = scene.parking();
    let after = place(&parking.park(&behind("x", &["a", "z"])).unwrap()[0]);
    let names: Vec<String> = (0..3000).map(|n| format!("m{n:04}")).collect();
    let newest_first: Vec<_> = names.iter().rev().map(|name| older("x", name, after)).collect();
    let places = parking.park(&newest_first).unwrap();
    assert!(places.is_sorted_by_key(|parked| -place(parked)));
    // m1000 was unparked, and deliveries older than m1001 leave memory.
    let back = place(&places[1999]);
    parking.park(&[older("x", "n2", back), older("x", "n1", back)]).unwrap();
    assert_eq!(ids(&take(&parking, "x", back, 3)), ["n1", "n2", "m1001"]);
}

#[test]
fn where_there_is_no_place_between_two_those_behind_move_on() {
    let scene = Scene::new();
    let parking = scene.parking();
    let after = place(&parking.park(&behind("x", &["a", "b", "c", "d"])).unwrap()[0]);
    let rows = Connection::open(scene.path()).unwrap();
    for (id, place) in [("b", after + 1), ("c", after + 2)] {
        rows.execute("UPDATE parked SET place = ?2 WHERE message_id = ?1", rusqlite::params![id, place]).unwrap();
    }
    parking.park(&[older("x", "m2", after), older("x", "m1", after)]).unwrap();
    assert_eq!(ids(&take(&parking, "x", START, 9)), ["a", "m1", "m2", "b", "c", "d"]);
    assert_eq!(ids(&take(&parking, "x", after, 9)), ["m1", "m2", "b", "c", "d"]);
}

#[test]
fn parking_twice_is_one_row_of_each_queue() {
    let scene = Scene::new();
    let parking = scene.parking();
    parking.park(&behind("x", &["a", "d-1"])).unwrap();
    let again = parking.park(&behind("x", &["a", "d-1", "d-2"])).unwrap();
    assert!(matches!(again[..], [Parked::Already, Parked::Already, Parked::At(_)]), "{again:?}");
    assert_eq!(ids(&take(&parking, "x", START, 9)), ["a", "d-1", "d-2"]);
    // Another handler made the deliveries in another order: this one is not on the disk, and has to go elsewhere.
    let answers = parking.park(&behind("y", &["d-1", "e"])).unwrap();
    assert!(matches!(answers[..], [Parked::ForAnother, Parked::Full]), "{answers:?}");
    let other = scene.open("invoice", 1000, MIB).unwrap();
    assert!(matches!(other.park(&behind("x", &["a"])).unwrap()[..], [Parked::At(_)]));
    assert_eq!((parking.count_of(None).unwrap(), other.count_of(None).unwrap()), (3, 1));
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

#[test]
fn a_newer_file_and_one_of_queues_are_refused_by_name() {
    let scene = Scene::new();
    drop(scene.parking());
    Connection::open(scene.path()).unwrap().execute_batch("PRAGMA user_version = 12").unwrap();
    let error = scene.open("stock", 0, MIB).err().unwrap();
    assert!(!error.is_transient() && error.to_string().contains("schema version 12"), "{error}");

    let queues = Scene::new();
    let options = crate::queue::sqlite::SqliteOptions::new(queues.path(), "stock");
    let open = crate::queue::sqlite::SqliteQueue::open(options).unwrap();
    let error = queues.open("stock", 0, MIB).err().unwrap().to_string();
    assert!(error.contains("stock.parking") && error.contains("is for queues"), "{error}");
    drop(open);
    let error = queues.open("stock", 0, MIB).err().unwrap().to_string();
    assert!(error.contains("not for parking"), "{error}");
}

fn memory() -> Arc<MemoryQueue> {
    Arc::new(MemoryQueue::new(MemoryOptions::new("stock")))
}

#[test]
fn what_is_parked_in_a_file_that_was_moved_away_is_still_delivered() {
    let scene = Scene::new();
    let origin = memory();
    let queue = ParkedQueue::new(scene.parking(), Arc::clone(&origin) as Arc<dyn Queue>).unwrap();
    queue.parking.park(&behind("x", &["a", "b"])).unwrap();
    std::fs::rename(scene.path(), scene.folder.path().join("away.db")).unwrap();
    let error = queue.parking.park(&behind("x", &["c"])).unwrap_err().to_string();
    assert!(error.contains("put it back"), "{error}");
    let rows = take(&queue.parking, "x", START, 9).rows;
    assert_eq!(queue.delete(&[rows[0].receipt.clone()]).unwrap(), [Ok(())]);
    assert_eq!(queue.set_aside(&[letter(&rows[1], "why")]).unwrap(), [Ok(())]);
    std::fs::rename(scene.folder.path().join("away.db"), scene.path()).unwrap();
    assert!(queue.count().unwrap().is_empty());
    assert_eq!(origin.dead_letters().unwrap().find("1").unwrap().unwrap().body, "body of b");
}

#[test]
fn one_process_claims_a_file_for_all_of_its_queues_and_another_one_waits() {
    let scene = Scene::new();
    let first = ParkedQueue::new(scene.parking(), memory()).unwrap();
    let second = ParkedQueue::new(scene.open("invoice", 0, MIB).unwrap(), memory()).unwrap();
    drop(first);
    // A descriptor of its own, as another process would have.
    let lock = || std::fs::File::open(scene.folder.path().join("parking.db-lock")).unwrap().try_lock();
    assert!(lock().is_err(), "the second still delivers from it");
    drop(second);
    let theirs = std::fs::File::open(scene.folder.path().join("parking.db-lock")).unwrap();
    theirs.try_lock().unwrap();
    let error = ParkedQueue::new(scene.parking(), memory()).err().unwrap();
    assert!(error.is_transient() && error.to_string().contains("another instance"), "{error}");
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
fn as_a_queue_it_is_settled_like_any_other() {
    let scene = Scene::new();
    let origin = memory();
    let queue = ParkedQueue::new(scene.parking(), Arc::clone(&origin) as Arc<dyn Queue>).unwrap();
    queue.parking.park(&behind("x", &["a", "b-1", "c"])).unwrap();
    let rows = take(&queue.parking, "x", START, 9).rows;
    assert_eq!(queue.count().unwrap().visible, 1, "there is something");
    queue.change_visibility(&[VisibilityChange::new(rows[0].receipt.clone(), Duration::ZERO)]).unwrap();
    queue.delete(&[rows[0].receipt.clone(), rows[0].receipt.clone()]).unwrap();
    let letter = |n: usize, why: &str| letter(&rows[n], why);
    assert_eq!(queue.set_aside(&[letter(1, "b"), letter(2, "c")]).unwrap(), [Ok(()), Ok(())]);
    assert_eq!(queue.set_aside(&[letter(2, "again")]).unwrap(), [Ok(())], "it is gone, and so is what there was to say");
    assert!(queue.count().unwrap().is_empty());

    let mut letters = Vec::new();
    let mut each = |letter| {
        letters.push(letter);
        true
    };
    origin.dead_letters().unwrap().list(&DeadFilter::default(), &mut each).unwrap();
    let told: Vec<_> = letters.iter().map(|letter| (letter.message_id.as_str(), letter.index, letter.body.as_ref())).collect();
    assert_eq!(told, [("b", Some(1), &b"body of b"[..]), ("c", None, &b"body of c"[..])]);
    assert!(matches!(rows[0].receipt, Receipt::Row { .. }));
}

/// A queue that takes two letters a call, and that is away after this number of calls.
struct Origin {
    letters: MemoryQueue,
    calls: AtomicU64,
}

impl Queue for Origin {
    fn receive(&self, ask: &Ask) -> Result<Vec<Received>, QueueError> {
        self.letters.receive(ask)
    }

    fn delete(&self, receipts: &[Receipt]) -> Result<Vec<EntryResult>, QueueError> {
        self.letters.delete(receipts)
    }

    fn change_visibility(&self, changes: &[VisibilityChange]) -> Result<Vec<EntryResult>, QueueError> {
        self.letters.change_visibility(changes)
    }

    fn set_aside(&self, letters: &[SetAside]) -> Result<Vec<EntryResult>, QueueError> {
        let left = self.calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |calls| calls.checked_sub(1));
        left.map_err(|_| QueueError::Unavailable { queue: "stock".into(), what: "set aside", why: "throttled".into() })?;
        self.letters.set_aside(letters)
    }

    fn send(&self, messages: &[NewMessage]) -> Result<Vec<CompactString>, QueueError> {
        self.letters.send(messages)
    }

    fn count(&self) -> Result<Count, QueueError> {
        self.letters.count()
    }

    fn limits(&self) -> Limits {
        Limits { entries: 2, ..self.letters.limits() }
    }

    fn facts(&self) -> Result<Facts, QueueError> {
        self.letters.facts()
    }

    fn dead_letters(&self) -> Option<&dyn DeadLetters> {
        self.letters.dead_letters()
    }
}

#[test]
fn letters_that_are_written_are_told_although_others_or_their_rows_fail() {
    let scene = Scene::new();
    let origin = Arc::new(Origin { letters: MemoryQueue::new(MemoryOptions::new("stock")), calls: AtomicU64::new(1) });
    let queue = ParkedQueue::new(scene.parking(), Arc::clone(&origin) as Arc<dyn Queue>).unwrap();
    queue.parking.park(&behind("x", &["a", "b", "c"])).unwrap();
    let rows = take(&queue.parking, "x", START, 9).rows;
    let letters: Vec<_> = rows.iter().map(|row| letter(row, "why")).collect();
    let results = queue.set_aside(&letters).unwrap();
    assert!(matches!(&results[..], [Ok(()), Ok(()), Err(EntryError::Failed(why))] if why.contains("throttled")), "{results:?}");
    assert_eq!(ids(&take(&queue.parking, "x", START, 9)), ["c"]);
    assert!(queue.set_aside(&letters[2..]).is_err(), "nothing is written of it");

    origin.calls.store(1, Ordering::Relaxed);
    let writable = |value: i64| {
        queue.parking.store.with_writers(|connection| connection.pragma_update(None, "query_only", value).unwrap());
    };
    writable(1);
    let results = queue.set_aside(&letters[2..]).unwrap();
    assert!(matches!(&results[..], [Err(EntryError::NotDeleted(why))] if why.contains("writable")), "{results:?}");
    writable(0);
    assert_eq!(queue.delete(&[rows[2].receipt.clone()]).unwrap(), [Ok(())]);
    assert!(queue.count().unwrap().is_empty());
}
