//! `deliver = "sqs"`: a batch becomes messages of another queue, with the account as FIFO group. This is the first
//! tier that re-keys messages.
//!
//! Called by delivery threads, many at once. Requests of up to ten entries and 1 MiB are sent one after the other; once
//! an entry was not accepted, the rest of the batch is not sent. To a FIFO queue each entry is sent alone: all entries
//! of a batch belong to one group, and of several in one request SQS may refuse the first and accept those behind it.

use std::sync::Arc;

use self::entries::entry;
use super::Sink;
use crate::message::{Answer, Batch, RefusalCause};
use crate::queue::sqs::{Entry, EntryFault, Fault, RemoteQueue, fitting};

mod entries;
mod queues;

pub use self::queues::Queues;

/// A queue that accepts entries.
pub trait Outlet: Send + Sync {
    /// Returns whether the queue is a FIFO queue. On AWS these are the queues whose names end in `.fifo`.
    fn is_fifo(&self) -> bool;

    /// Sends entries that fit into one request, and returns one result per entry, in their order. Blocks for as
    /// long as the request takes.
    ///
    /// # Errors
    ///
    /// Why no entry was sent, or why it is not known whether any was.
    fn send(&self, entries: &[Entry<'_>]) -> Result<Vec<Result<(), EntryFault>>, Fault>;
}

impl Outlet for RemoteQueue {
    fn is_fifo(&self) -> bool {
        RemoteQueue::is_fifo(self)
    }

    fn send(&self, entries: &[Entry<'_>]) -> Result<Vec<Result<(), EntryFault>>, Fault> {
        let sent = RemoteQueue::send(self, entries)?;
        Ok(sent.into_iter().map(|sent| sent.map(drop)).collect())
    }
}

/// One queue as a partner.
#[derive(Clone)]
pub struct SqsSink {
    outlet: Arc<dyn Outlet>,
}

impl SqsSink {
    /// Creates a sink that sends to this queue.
    pub fn new(outlet: Arc<dyn Outlet>) -> Self {
        Self { outlet }
    }
}

impl Sink for SqsSink {
    /// Sends a batch and blocks until SQS has answered for each delivery.
    fn deliver(&self, batch: &Batch) -> Answer {
        let mut open = Vec::new();
        let mut entries = Vec::new();
        let mut places = Vec::new();
        for (place, item) in batch.items.iter().enumerate() {
            match entry(batch, item, self.outlet.is_fifo()) {
                Ok(entry) => {
                    entries.push(entry);
                    places.push(place);
                }
                Err(reason) => open.push((place, refused(RefusalCause::Impossible, reason))),
            }
        }
        let most = if self.outlet.is_fifo() { 1 } else { usize::MAX };
        let (mut entries, mut places) = (entries.as_slice(), places.as_slice());
        let mut failed = None;
        while !entries.is_empty() && failed.is_none() {
            let (now, later) = entries.split_at(fitting(entries).min(most));
            let (now_places, later_places) = places.split_at(now.len());
            let results: Vec<_> = match self.outlet.send(now) {
                Ok(results) => results.into_iter().map(|sent| sent.map_err(answer_to_entry)).collect(),
                Err(fault) => vec![Err(answer_to_call(fault)); now.len()],
            };
            for (at, place) in now_places.iter().enumerate() {
                let silent = || Err(unreachable("SQS did not say how an entry ended".to_owned()));
                if let Err(answer) = results.get(at).cloned().unwrap_or_else(silent) {
                    failed = Some(answer.clone());
                    open.push((*place, answer));
                }
            }
            (entries, places) = (later, later_places);
        }
        if let Some(answer) = failed {
            open.extend(places.iter().map(|place| (*place, answer.clone())));
        }
        answer_for(open, batch.items.len())
    }
}

/// Returns the answer for a batch of `all` deliveries, of which `open` are not accepted, each
/// with an answer of its own.
fn answer_for(open: Vec<(usize, Answer)>, all: usize) -> Answer {
    // All open deliveries get the same answer, the one that condemns the least: the others get an answer of their
    // own at the next attempt.
    let Some((_, rest)) = open.iter().min_by_key(|(_, answer)| severity(answer)) else { return Answer::Accepted };
    let rest = match rest {
        // A dead letter names its own reason. Of those that have different ones, each is told it once it stands alone.
        Answer::Refused { cause: RefusalCause::Impossible, reason } if open.iter().any(|(_, other)| other != rest) => {
            refused(RefusalCause::Content, reason.to_string())
        }
        rest => rest.clone(),
    };
    if open.len() == all {
        return rest;
    }
    let accepted = (0..all).filter(|place| !open.iter().any(|(open, _)| open == place)).collect();
    Answer::Partly { accepted, rest: Box::new(rest) }
}

/// Ranks answers by their consequences. That the partner waits (`None`) is milder than any refusal.
fn severity(answer: &Answer) -> Option<RefusalCause> {
    if let Answer::Refused { cause, .. } = answer { Some(*cause) } else { None }
}

fn answer_to_call(fault: Fault) -> Answer {
    match fault {
        Fault::Transient(why) => unreachable(why),
        Fault::Missing(why) => refused(RefusalCause::Place, why),
        Fault::TooLarge(why) => refused(RefusalCause::Size, why),
        Fault::Content(why) => refused(RefusalCause::Content, why),
        // The cause is wrong keys or a denied action.
        Fault::Refused(why) => refused(RefusalCause::SetUp, why),
    }
}

fn answer_to_entry(fault: EntryFault) -> Answer {
    match fault {
        EntryFault::Transient(why) => unreachable(why),
        EntryFault::Missing(why) => refused(RefusalCause::Place, why),
        EntryFault::Denied(why) => refused(RefusalCause::SetUp, why),
        EntryFault::Refused(why) => refused(RefusalCause::Content, why),
        EntryFault::Gone => unreachable("SQS reports a bad receipt, although none was sent".to_owned()),
    }
}

fn refused(cause: RefusalCause, why: String) -> Answer {
    Answer::Refused { cause, reason: why.into() }
}

fn unreachable(why: String) -> Answer {
    Answer::Unreachable { reason: why.into() }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use bytes::Bytes;
    use parking_lot::Mutex;

    use super::*;
    use crate::queue::sqs::credentials::Keys;
    use crate::sink::testing::batch;

    type Results = Result<Vec<Result<(), EntryFault>>, Fault>;

    /// Answers each request as scripted, then accepts all. Records what was sent.
    #[derive(Default)]
    struct Scripted {
        fifo: bool,
        script: Mutex<VecDeque<Results>>,
        sent: Mutex<Vec<Vec<String>>>,
    }

    impl Outlet for Scripted {
        fn is_fifo(&self) -> bool {
            self.fifo
        }

        fn send(&self, entries: &[Entry<'_>]) -> Results {
            self.sent.lock().push(entries.iter().map(|entry| entry.body.to_owned()).collect());
            self.script.lock().pop_front().unwrap_or_else(|| Ok(vec![Ok(()); entries.len()]))
        }
    }

    fn deliver(payloads: &[&str], script: Vec<Results>) -> (Answer, Vec<Vec<String>>) {
        deliver_to(false, payloads, script)
    }

    fn deliver_to(fifo: bool, payloads: &[&str], script: Vec<Results>) -> (Answer, Vec<Vec<String>>) {
        let outlet = Arc::new(Scripted { fifo, script: Mutex::new(script.into()), ..Scripted::default() });
        let answer = SqsSink::new(outlet.clone()).deliver(&batch("acme", payloads));
        let sent = outlet.sent.lock().clone();
        (answer, sent)
    }

    fn busy() -> EntryFault {
        EntryFault::Transient("busy".into())
    }

    fn partly(accepted: &[usize], rest: Answer) -> Answer {
        Answer::Partly { accepted: accepted.into(), rest: Box::new(rest) }
    }

    #[test]
    fn a_batch_goes_out_in_tens_and_in_order() {
        let payloads: Vec<String> = (0..25).map(|at| at.to_string()).collect();
        let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
        let (answer, sent) = deliver(&payloads, vec![]);
        assert_eq!(answer, Answer::Accepted);
        assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5]);
        assert_eq!(sent.concat(), payloads);
    }

    #[test]
    fn a_group_is_sent_one_by_one_and_nothing_overtakes_what_was_refused() {
        let (answer, sent) = deliver_to(true, &["a", "b", "c"], vec![Ok(vec![Ok(())]), Ok(vec![Err(busy())])]);
        assert_eq!(sent, [["a"], ["b"]]);
        assert_eq!(answer, partly(&[0], unreachable("busy".into())));
    }

    #[test]
    fn the_good_are_accepted_and_the_rest_is_named() {
        let results = vec![Ok(()), Err(busy()), Ok(()), Err(busy())];
        let (answer, _) = deliver(&["a", "b", "c", "d"], vec![Ok(results)]);
        assert_eq!(answer, partly(&[0, 2], unreachable("busy".into())));
    }

    #[test]
    fn what_follows_a_failure_is_not_sent() {
        let payloads = ["x"; 25];
        let (answer, sent) = deliver(&payloads, vec![Ok(vec![Ok(()); 10]), Err(Fault::Transient("busy".into()))]);
        assert_eq!(answer, partly(&(0..10).collect::<Vec<_>>(), unreachable("busy".into())));
        assert_eq!(sent.len(), 2);
        let (answer, _) = deliver(&payloads, vec![Err(Fault::Missing("gone".into()))]);
        assert_eq!(answer, refused(RefusalCause::Place, "gone".into()));
    }

    #[test]
    fn one_that_sqs_never_takes_does_not_hold_up_the_others() {
        let (answer, sent) = deliver(&["a", "\0", "c"], vec![]);
        assert_eq!(sent, [["a", "c"]]);
        let Answer::Partly { accepted, rest } = answer else { panic!("expected Partly") };
        assert_eq!(*accepted, [0, 2]);
        assert_eq!(severity(&rest), Some(RefusalCause::Impossible));
        assert_eq!(severity(&deliver(&["\0"], vec![]).0), Some(RefusalCause::Impossible));
    }

    #[test]
    fn the_open_wait_together_before_any_is_condemned() {
        let invalid = || EntryFault::Refused("no".into());
        let (answer, _) = deliver(&["\0", "b", "c"], vec![Ok(vec![Err(invalid()), Err(busy())])]);
        assert_eq!(answer, unreachable("busy".into()));
        let (answer, _) = deliver(&["\0", "b", "c"], vec![Ok(vec![Err(invalid()), Ok(())])]);
        assert_eq!(answer, partly(&[2], refused(RefusalCause::Content, "no".into())));
        let (answer, _) = deliver(&["a", "b"], vec![Err(Fault::Refused("no".into()))]);
        assert_eq!(answer, refused(RefusalCause::SetUp, "no".into()));
    }

    #[test]
    fn a_set_up_that_sqs_refuses_entry_by_entry_condemns_no_message() {
        let keys = Keys { access_key_id: "a".into(), secret_access_key: "s".into(), session_token: None, expires_at: None };
        for code in ["KMS.DisabledException", "KmsAccessDenied", "AccessDenied", "AWS.SimpleQueueService.NonExistentQueue"] {
            let fault = EntryFault::of(code, "no", true, &keys);
            let (answer, _) = deliver(&["a", "b"], vec![Ok(vec![Err(fault.clone()), Err(fault)])]);
            // A queue that does not exist stops its own bucket, as where the whole request is refused.
            let wanted = if code.ends_with("Queue") { RefusalCause::Place } else { RefusalCause::SetUp };
            assert_eq!(severity(&answer), Some(wanted), "{code}: {answer:?}");
        }
        let fault = EntryFault::of("InvalidMessageContents", "no", true, &keys);
        let (answer, _) = deliver(&["a"], vec![Ok(vec![Err(fault)])]);
        assert!(matches!(answer, Answer::Refused { cause: RefusalCause::Content, .. }), "{answer:?}");
    }

    #[test]
    fn each_that_sqs_never_takes_is_told_its_own_reason() {
        let (answer, _) = deliver(&["\0", "b", ""], vec![]);
        let Answer::Partly { accepted, rest } = answer else { panic!("expected Partly") };
        assert_eq!(*accepted, [1]);
        assert!(
            matches!(*rest, Answer::Refused { cause: RefusalCause::Content, .. }),
            "they are told apart by halving: {rest:?}"
        );
        let (answer, _) = deliver(&["\0", "\0"], vec![]);
        assert!(matches!(answer, Answer::Refused { cause: RefusalCause::Impossible, .. }), "the reason of both: {answer:?}");
    }

    #[test]
    fn what_a_whole_request_fails_of_is_told_from_what_a_message_does() {
        for (fault, cause) in [
            (Fault::TooLarge("no".into()), RefusalCause::Size),
            (Fault::Content("no".into()), RefusalCause::Content),
            (Fault::Missing("no".into()), RefusalCause::Place),
        ] {
            assert_eq!(deliver(&["a", "b"], vec![Err(fault)]).0, refused(cause, "no".into()));
        }
    }

    #[test]
    fn an_entry_without_a_result_is_not_taken_for_sent() {
        let (answer, _) = deliver(&["a", "b"], vec![Ok(vec![Ok(())])]);
        assert_eq!(answer, partly(&[0], unreachable("SQS did not say how an entry ended".into())));
    }

    #[test]
    fn large_payloads_get_requests_of_their_own() {
        let mut batch = batch("acme", &["a", "b", "c"]);
        for item in &mut batch.items {
            item.payload = Bytes::from("x".repeat(600_000));
        }
        let outlet = Arc::new(Scripted::default());
        assert_eq!(SqsSink::new(outlet.clone()).deliver(&batch), Answer::Accepted);
        assert_eq!(outlet.sent.lock().len(), 3);
    }
}
