//! A parking as a queue: how its rows leave, and the dead letters about them.

use super::*;

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
