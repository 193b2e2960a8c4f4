//! Sending where a server may refuse a whole request for one of its entries.

use std::cell::Cell;
use std::time::Duration;

use compact_str::CompactString;

use super::call::Entry;
use super::error::{EntryFault, Fault};
use super::no_result;
use crate::net::clocks::Clocks;

/// How long entries are sent one by one: what one send may take. If each of ten requests took that long, the leases of their
/// messages would end meanwhile.
const WHILE: Duration = Duration::from_secs(30);

/// Returns whether there is still time to send one more entry, for [`WHILE`] from the first on: however long the request took
/// that was refused, one more is made, so that a call does something.
pub fn for_a_while() -> impl Fn() -> bool {
    while_by(Clocks::system())
}

fn while_by(clock: Clocks) -> impl Fn() -> bool {
    let end = Cell::new(None);
    move || {
        let now = clock.steady();
        let until = end.get().unwrap_or(now + WHILE);
        end.set(Some(until));
        now < until
    }
}

/// Sends entries so that none holds up another. Returns for each the id of its message, or why it failed.
///
/// An entry that can make a server refuse a whole request is sent alone: a message with an
/// empty body, which some servers allow and AWS never does, and every entry of a request that is
/// too large for a service that accepts less than AWS, or of whose content the service refuses some. Those
/// that are still to be sent once `goes_on` says no fail without a request, and may be sent again.
pub fn send_apart(
    entries: &[Entry<'_>],
    goes_on: impl Fn() -> bool,
    send: impl Fn(&[Entry<'_>]) -> Result<Vec<Result<CompactString, EntryFault>>, Fault>,
) -> Result<Vec<Result<CompactString, EntryFault>>, Fault> {
    let apart = |entry: &Entry<'_>| {
        if !goes_on() {
            return Err(EntryFault::Transient("it was not sent: those before it took too long".to_owned()));
        }
        let sent = send(std::slice::from_ref(entry)).map(|sent| sent.into_iter().next());
        sent.map_or_else(|fault| Err(EntryFault::from(fault)), |sent| sent.unwrap_or_else(no_result))
    };
    let (empty, usual): (Vec<_>, Vec<_>) = entries.iter().cloned().partition(|entry| entry.body.is_empty());
    let sent = match send(&usual) {
        Err(fault @ (Fault::TooLarge(_) | Fault::Content(_))) => match usual.as_slice() {
            // It was alone.
            [_] => vec![Err(fault.into())],
            _ => usual.iter().map(apart).collect(),
        },
        sent => sent?,
    };
    let (mut sent, mut empty) = (sent.into_iter(), empty.iter().map(apart));
    let next = |entry: &Entry<'_>| if entry.body.is_empty() { empty.next() } else { sent.next() };
    Ok(entries.iter().map(next).map(|sent| sent.unwrap_or_else(no_result)).collect())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Sends messages with these bodies while fewer than `most` requests were made before, to a server that refuses several at
    /// once. Returns the bodies of each request, and which messages are sent.
    fn send(bodies: &[&str], most: usize) -> (Vec<String>, Vec<bool>) {
        let (requests, made) = (RefCell::new(Vec::new()), Cell::new(0));
        let entries: Vec<_> = bodies
            .iter()
            .map(|body| Entry { body, attributes: Vec::new().into(), delay: 0, group: None, deduplication: None })
            .collect();
        let sent = send_apart(
            &entries,
            || made.get() < most,
            |entries| {
                made.set(made.get() + 1);
                requests.borrow_mut().push(entries.iter().map(|entry| entry.body).collect::<Vec<_>>().join(" "));
                if entries.len() > 1 {
                    return Err(Fault::Content("one of them".to_owned()));
                }
                Ok(entries.iter().map(|entry| Ok(entry.body.into())).collect())
            },
        );
        let sent = sent.unwrap().into_iter().map(|sent| match sent {
            Err(EntryFault::Transient(why)) => !why.contains("not sent"),
            sent => sent.is_ok(),
        });
        (requests.into_inner(), sent.collect())
    }

    #[test]
    fn those_refused_together_are_sent_one_by_one() {
        assert_eq!(send(&["a", "", "b"], 9), (vec!["a b".into(), "a".into(), "b".into(), "".into()], vec![true; 3]));
    }

    #[test]
    fn the_time_begins_with_the_first_that_is_sent_alone() {
        let (start, seconds) = (Clocks::system().steady(), Arc::new(AtomicU64::new(0)));
        let passed = Arc::clone(&seconds);
        let goes_on = while_by(Clocks::with_steady(move || start + Duration::from_secs(passed.load(Ordering::Relaxed))));
        let at = |second| {
            seconds.store(second, Ordering::Relaxed);
            goes_on()
        };
        assert_eq!([40, 69, 70].map(at), [true, true, false]);
    }

    #[test]
    fn what_would_take_too_long_is_not_sent() {
        let (requests, sent) = send(&["a", "b", "c", ""], 2);
        assert_eq!((requests, sent), (vec!["a b c".into(), "a".into()], vec![true, false, false, false]));
    }
}
