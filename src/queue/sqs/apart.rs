//! Sending where a server may refuse a whole request for one of its entries.

use compact_str::CompactString;

use super::call::Entry;
use super::error::{EntryFault, Fault};
use super::no_result;

/// Sends entries so that none holds up another. Returns for each the id of its message, or why it failed.
///
/// An entry that can make a server refuse a whole request is sent alone: a message with an
/// empty body, which some servers allow and AWS never does, and every entry of a request that is
/// too large for a service that accepts less than AWS, or of whose content the service refuses some.
pub fn send_apart(
    entries: &[Entry<'_>],
    send: impl Fn(&[Entry<'_>]) -> Result<Vec<Result<CompactString, EntryFault>>, Fault>,
) -> Result<Vec<Result<CompactString, EntryFault>>, Fault> {
    let apart = |entry: &Entry<'_>| {
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
