//! Messages that carry the time when they were sent, and a handler that adds the time when it saw them, so that the
//! partners' side can compute the latency.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use octoconf::message::{Delivery, Message, Outcome};
use serde::{Deserialize, Serialize};

/// The origin of all times, which are in nanoseconds.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn now() -> u64 {
    u64::try_from(START.elapsed().as_nanos()).expect("a run of less than centuries")
}

/// The body of a message and, with `seen`, the payload for the partner.
#[derive(Serialize, Deserialize)]
struct Stamped {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    number: u64,
    sent: u64,
    #[serde(default)]
    seen: u64,
}

/// A delivery that has reached its partner.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub number: u64,
    /// The time since the message was put on the queue.
    pub since_sent: Duration,
    /// The time since the handler saw the message.
    pub since_seen: Duration,
}

/// Returns the body of a message that is sent now.
pub fn body(account: &str, number: u64) -> Vec<u8> {
    let stamped = Stamped { account: Some(account.to_owned()), number, sent: now(), seen: 0 };
    serde_json::to_vec(&stamped).expect("plain data")
}

/// The handler, which delivers the stamps to the account.
pub fn handle(message: &Message) -> Outcome {
    let stamped = serde_json::from_slice::<Stamped>(&message.body);
    let Ok(Stamped { account: Some(account), number, sent, .. }) = stamped else { return Outcome::reject("no stamp") };
    let payload = serde_json::to_vec(&Stamped { account: None, number, sent, seen: now() }).expect("plain data");
    Outcome::Deliver([Delivery { account: account.into(), payload: payload.into() }].into_iter().collect())
}

/// Reads the stamps of a request that has just arrived.
pub fn arrived(request: &[u8], arrivals: &Sender<Arrival>) {
    let now = now();
    let body = memchr::memmem::find(request, b"\r\n\r\n").map_or(request.len(), |head| head + 4);
    let stamps: Vec<Stamped> = serde_json::from_slice(&request[body..]).expect("an array of stamps");
    for Stamped { number, sent, seen, .. } in stamps {
        let since = |then: u64| Duration::from_nanos(now.saturating_sub(then));
        let arrival = Arrival { number, since_sent: since(sent), since_seen: since(seen) };
        // After the run, there is no receiver.
        let _ = arrivals.send(arrival);
    }
}
