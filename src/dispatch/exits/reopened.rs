//! A message that was redriven for some of its deliveries, and a handler that may give fewer by now than it did then.

use crate::message::settle::DeadReason;

use crate::dispatch::Dispatcher;
use crate::dispatch::keys::Ticket;
use crate::dispatch::ledger::Held;

impl Dispatcher {
    /// Sets the message aside where one of its open deliveries is none of the `given` ones that its handler gives now: to settle it without
    /// that one would lose it. Nothing of the message is sent then, so that the letter holds all that is open. Gives whether it did.
    pub(in crate::dispatch) fn lacks_what_is_open(&mut self, ticket: Ticket, given: usize) -> bool {
        let Some(open) = self.ledger.get(ticket).and_then(still_open) else { return false };
        let missing: Vec<u16> = open.iter().copied().filter(|index| usize::from(*index) >= given).collect();
        if missing.is_empty() {
            return false;
        }
        let (open, missing) = (list(&open), list(&missing));
        let text = format!(
            "redriven for its deliveries {open} (counted from 0), of which its handler does not give {missing} any more: it gives {given} \
             now; nothing of it was sent; redrive it once the handler gives them again, or purge it and send it anew"
        );
        self.leave_as_dead(ticket, DeadReason { kind: "rejected", text });
        true
    }
}

/// The indices for which it was redriven, without those that are settled since. `None`: for all.
fn still_open(held: &Held) -> Option<Vec<u16>> {
    let open = held.redriven_for()?;
    let settled = held.several.as_ref().map(|several| several.settled.as_slice()).unwrap_or_default();
    Some(open.iter().copied().filter(|index| !settled.contains(index)).collect())
}

fn list(indices: &[u16]) -> String {
    indices.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}
