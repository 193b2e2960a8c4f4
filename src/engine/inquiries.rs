//! Requests from other threads to the dispatcher: its status, a search, why a partner waits, actions upon a partner.
//! Owned by the thread `dispatch`, which must not wait for the requesters.
//!
//! A request about one partner is answered at once. A request that has to look at all partners is worked on in parts,
//! one per turn, so that a question about a hundred thousand partners makes no turn long; several per turn where turns
//! are long anyway, so that the answer still comes in time. Threads that ask for the status meanwhile get the same answer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::dispatch::{
    Action, Dispatcher, Event, FoundPartner, Histogram, PartnerReport, Refusal, RequestId, Search, Status, Survey, TURN,
};
use crate::message::Account;

/// How long a request to the dispatcher may take. A turn takes milliseconds.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The number of partners in one part, of which each turn looks at one at least: about a tenth of a millisecond.
const PARTNERS_A_PART: usize = 256;

/// How many times as long as its further parts a turn took without them. With one part a turn, a busy dispatcher whose
/// turns take 10 ms would look at 50,000 partners in the [`ANSWER_TIMEOUT`], and be told to hang if there are more.
const TURNS_PER_PARTS: u32 = 10;

/// The largest number of partners that a search returns.
const MAX_FOUND: usize = 50;

/// The result of an action: the partner as it is afterwards, or why nothing was done.
pub type Operated = Result<Box<PartnerReport>, Refusal>;

/// One request, with the channel for its answer. The requester may have given up; the answer is then dropped.
pub enum Inquiry {
    /// A sign of life.
    Life { reply: Sender<()> },
    /// The state of the engine.
    Status { reply: Sender<Answered> },
    /// The partners whose account contains a text.
    Search { text: String, reply: Sender<Vec<FoundPartner>> },
    /// What is known of one partner.
    Partner { account: Account, reply: Sender<Option<PartnerReport>> },
    /// An operator's action upon a partner. It is done by whoever takes the claim, if that is the dispatcher.
    Operate { account: Account, action: Action, claim: Claim, reply: Sender<Operated> },
}

/// Decides between the dispatcher, which is about to do an action, and its requester, which gives up waiting: an action
/// whose requester was told that there is no answer is not done later. An operator repeats it, and done twice a `skip`
/// would make dead letters of two deliveries.
#[derive(Debug, Clone, Default)]
pub struct Claim(Arc<AtomicBool>);

impl Claim {
    /// Takes the action, to do it or to withdraw it. Returns whether it was not taken before.
    pub fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

/// The state of the engine at one moment.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The dispatcher's state, completed with what only the engine knows.
    pub status: Status,
    /// How long the dispatcher's turns took.
    pub turns: Histogram,
    /// How much time the dispatcher spent on this answer.
    pub cost: Duration,
}

/// The requests that are not answered yet.
pub struct Inquiries {
    /// The survey in progress, which answers all waiting status requests; `None` if there are none.
    survey: Option<Survey>,
    /// The time spent on the survey so far.
    cost: Duration,
    /// The requesters of the status. As with all requests that wait here, there is at most one per asking thread, since
    /// each thread waits for its answer before it asks again.
    who_want_status: Vec<Sender<Answered>>,
    searches: VecDeque<(Search, Sender<Vec<FoundPartner>>)>,
    actions: VecDeque<(RequestId, Sender<Operated>)>,
    last_request: RequestId,
    turns: Histogram,
}

impl Inquiries {
    pub fn new() -> Self {
        Self {
            survey: None,
            cost: Duration::ZERO,
            who_want_status: Vec::new(),
            searches: VecDeque::new(),
            actions: VecDeque::new(),
            last_request: 0,
            turns: Histogram::new(TURN),
        }
    }

    /// Takes a request in, and returns the event that the dispatcher handles in this turn.
    pub fn take(&mut self, inquiry: Inquiry, dispatcher: &Dispatcher) -> Event {
        match inquiry {
            Inquiry::Life { reply } => _ = reply.try_send(()),
            Inquiry::Status { reply } => {
                self.survey.get_or_insert_default();
                self.who_want_status.push(reply);
            }
            Inquiry::Search { text, reply } => self.searches.push_back((Search::new(&text, MAX_FOUND), reply)),
            Inquiry::Partner { account, reply } => {
                let _ = reply.try_send(dispatcher.partner(&account));
            }
            Inquiry::Operate { account, action, claim, reply } if claim.take() => {
                self.last_request += 1;
                self.actions.push_back((self.last_request, reply));
                return Event::Operate { request: self.last_request, account, action };
            }
            // Withdrawn.
            Inquiry::Operate { .. } => {}
        }
        Event::Tick
    }

    /// Sends the answer to an [`Inquiry::Operate`].
    pub fn operated(&mut self, request: RequestId, result: Operated) {
        if let Some(place) = self.actions.iter().position(|(waiting, _)| *waiting == request)
            && let Some((_, reply)) = self.actions.remove(place)
        {
            let _ = reply.try_send(result);
        }
    }

    /// Returns whether a survey or a search is unfinished.
    pub fn is_busy(&self) -> bool {
        self.survey.is_some() || !self.searches.is_empty()
    }

    /// Works on the next parts of the first search, or else of the survey, and answers the
    /// requesters whose answer is ready. `turn` is how long the turn took so far.
    #[expect(clippy::disallowed_methods, reason = "what status costs is measured, so that it can be kept rare")]
    pub fn go_on(&mut self, dispatcher: &Dispatcher, turn: Duration, complete: impl FnOnce(Status) -> Status) {
        let begin = Instant::now();
        if let Some((search, _)) = self.searches.front_mut() {
            if in_parts(begin, turn, || dispatcher.search(search, PARTNERS_A_PART))
                && let Some((search, reply)) = self.searches.pop_front()
            {
                let _ = reply.try_send(search.found());
            }
            return;
        }
        let Some(mut survey) = self.survey.take() else { return };
        if !in_parts(begin, turn, || dispatcher.survey(&mut survey, PARTNERS_A_PART)) {
            self.survey = Some(survey);
            self.cost += begin.elapsed();
            return;
        }
        let status = complete(dispatcher.surveyed(survey));
        let cost = std::mem::take(&mut self.cost) + begin.elapsed();
        let answered = Answered { status, turns: self.turns.clone(), cost };
        for reply in self.who_want_status.drain(..) {
            let _ = reply.try_send(answered.clone());
        }
    }

    /// Counts a turn that took this long.
    pub fn turned(&mut self, took: Duration) {
        self.turns.observe(took);
    }
}

/// Looks at one part, and at further ones in the time that they may take beside a turn that took this long. `look` returns
/// whether all have been seen; so does this function.
fn in_parts(begin: Instant, turn: Duration, mut look: impl FnMut() -> bool) -> bool {
    loop {
        if look() {
            return true;
        }
        if begin.elapsed() >= turn / TURNS_PER_PARTS {
            return false;
        }
    }
}
