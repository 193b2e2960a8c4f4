//! The books of the dispatcher: what one part of it counts must be what the other parts hold. Checked after each turn.

use crate::dispatch::Dispatcher;
use crate::dispatch::keys::Ticket;
use crate::dispatch::ledger::{Leaving, Stage};
use crate::dispatch::partner::Partner;

/// Where the deliveries of one held message are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Found {
    /// In buckets.
    waiting: usize,
    on_wire: usize,
    /// On their way to the disk.
    to_disk: usize,
}

/// What one queue takes of the room.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Takes {
    held: usize,
    bytes: u64,
    reserved: usize,
}

/// Checks that all counts agree.
pub fn check(dispatcher: &Dispatcher) {
    check_partners(dispatcher);
    check_messages(dispatcher);
    check_room(dispatcher);
}

/// Returns all partners.
pub fn partners(dispatcher: &Dispatcher) -> impl Iterator<Item = &Partner> {
    (0..).map_while(|number| dispatcher.partners.nth(number))
}

fn check_partners(dispatcher: &Dispatcher) {
    assert!(dispatcher.partners.adds_up(), "how partners are found and where they stand: {:?}", dispatcher.partners);
    for partner in partners(dispatcher) {
        let flights = partner.flights.iter().map(|flush| dispatcher.partners.flight(*flush).expect("it is on the wire"));
        let on_wire: usize = flights.map(|flight| flight.parcel.slips.len()).sum();
        assert_eq!(partner.on_wire, on_wire, "deliveries on the wire to {}", partner.account);
        let key = dispatcher.partners.find(&partner.account).expect("it is found by its account");
        assert_eq!(partner.hidden, dispatcher.hidden.of(key, |_| true), "messages hidden because of {}", partner.account);
        for key in partner.buckets.iter() {
            let bucket = dispatcher.partners.bucket(key).expect("it is the partner's");
            let is_listed = partner.buckets.in_use().contains(&key);
            assert_eq!(is_listed, bucket.counts_as_used, "{key:?} of {}", partner.account);
            assert!(is_listed || !bucket.is_in_use(), "{key:?} of {} is in use", partner.account);
            assert!(!bucket.listed, "{key:?} of {} is to be looked at, and the turn is over", partner.account);
            let flights = partner.flights.iter().filter_map(|flush| dispatcher.partners.flight(*flush));
            let of_bucket = flights.filter(|flight| flight.bucket == key).map(|flight| flight.parcel.slips.len());
            assert_eq!(bucket.on_wire, of_bucket.sum::<usize>(), "deliveries on the wire of {key:?} of {}", partner.account);
        }
    }
}

/// Checks that each message that is still to be sent knows of as many open deliveries as there are, so that each of
/// them leaves at some time and the message leaves with the last one.
fn check_messages(dispatcher: &Dispatcher) {
    let mut found = FoundByTicket { dispatcher, by_place: Vec::new() };
    for (_, bucket) in dispatcher.partners.buckets() {
        bucket.oldest_first().for_each(|slip| found.count(slip.ticket, |found| found.waiting += 1));
    }
    for flush in partners(dispatcher).flat_map(|partner| &partner.flights) {
        let flight = dispatcher.partners.flight(*flush).expect("it is on the wire");
        flight.parcel.slips.iter().for_each(|slip| found.count(slip.ticket, |found| found.on_wire += 1));
    }
    for transfer in dispatcher.queues.iter().filter_map(|queue| queue.parking.as_deref()) {
        let leavers = transfer.waiting.iter().chain(&transfer.called);
        leavers.for_each(|leaver| found.count(leaver.ticket, |found| found.to_disk += 1));
    }
    for (ticket, held) in dispatcher.ledger.iter() {
        let (id, found) = (&held.message.id, found.of(ticket));
        assert_eq!(usize::from(held.on_wire()), found.on_wire, "deliveries of {id} on the wire: {held:?}");
        assert_eq!(usize::from(held.on_way_to_disk()), found.to_disk, "deliveries of {id} on their way to the disk: {held:?}");
        if held.may_be_sent() {
            let all = found.waiting + found.on_wire + found.to_disk;
            assert_eq!(usize::from(held.open()), all, "open deliveries of {id}, which are {found:?}: {held:?}");
            assert!(held.open() > 0 || held.is_under_way(), "{id} is held, and nothing of it is open: {held:?}");
        }
    }
}

/// What is found of the held messages, by the place of their tickets.
struct FoundByTicket<'a> {
    dispatcher: &'a Dispatcher,
    by_place: Vec<Found>,
}

impl FoundByTicket<'_> {
    /// Counts a delivery, unless its message is not held any more: such deliveries are dropped later.
    fn count(&mut self, ticket: Ticket, count: impl FnOnce(&mut Found)) {
        if self.dispatcher.ledger.get(ticket).is_none() {
            return;
        }
        let place = ticket.place as usize;
        if place >= self.by_place.len() {
            self.by_place.resize(place + 1, Found::default());
        }
        count(&mut self.by_place[place]);
    }

    fn of(&self, ticket: Ticket) -> Found {
        self.by_place.get(ticket.place as usize).copied().unwrap_or_default()
    }
}

/// Checks that the room counts what is held and what is asked for.
fn check_room(dispatcher: &Dispatcher) {
    let mut takes = vec![Takes::default(); dispatcher.queues.len()];
    let (mut none_leaves, mut handling) = (true, vec![0; dispatcher.queues.len()]);
    for (_, held) in dispatcher.ledger.iter() {
        handling[held.queue] += usize::from(held.stage() == Stage::Handling);
        let takes = &mut takes[dispatcher.takes_places_of(held.queue)];
        takes.held += 1;
        takes.bytes += held.bytes() as u64;
        none_leaves &= !held.is_leaving() && !held.is_on_way_to_disk();
    }
    for (takes, queue) in takes.iter_mut().zip(&dispatcher.queues) {
        let rows = queue.parking.iter().flat_map(|transfer| &transfer.asked).map(|(_, rows)| rows);
        takes.reserved = queue.intake.asked_for() + rows.sum::<usize>();
    }
    for (queue, takes) in takes.iter().enumerate() {
        let (held, bytes, reserved, handled) = dispatcher.room.taken_by(queue);
        assert_eq!(Takes { held, bytes, reserved }, *takes, "the room of queue {queue}");
        let runs = dispatcher.queues[queue].intake.running() > 0;
        assert!(
            handled >= handling[queue],
            "{} messages of queue {queue} are with its handler, {handled} count",
            handling[queue]
        );
        assert!(runs || handled == 0, "{handled} messages of queue {queue} are with its handler, and no job runs");
    }
    assert!(dispatcher.room.adds_up(), "the sums over all queues: {:?}", dispatcher.room);
    let leaving = dispatcher.ledger.leaving();
    assert!(!none_leaves || leaving == Leaving::default(), "nothing is on its way out but {leaving:?}");
    assert!(dispatcher.ledger.adds_up(), "what the ledger keeps of copies: {:?}", dispatcher.ledger);
}
