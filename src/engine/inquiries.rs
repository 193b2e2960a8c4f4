//! What other threads ask the dispatcher: how it is, why a partner waits, to pause one. Owned by the thread `dispatch`.
//!
//! What concerns one partner is answered at once. What has to look at all of them is answered a part a turn, so that a question about a
//! hundred thousand partners makes no turn long; whoever asks the same meanwhile gets the same answer.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::dispatch::{
    Action, Dispatcher, Event, FoundPartner, Histogram, PartnerReport, Refusal, RequestId, Search, Status, Survey, TURN,
};
use crate::message::Account;

/// How long a question to the dispatcher waits: a turn takes milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Partners looked at in one turn: about a tenth of a millisecond.
const PART: usize = 256;

/// Partners that a search gives.
const FOUND: usize = 50;

/// What came of an action: the partner as it is after it, or why nothing was done.
pub type Operated = Result<Box<PartnerReport>, Refusal>;

/// One question, with the way back. Whoever asked may have given up: then nobody takes the answer.
pub enum Inquiry {
    Status { reply: Sender<Answered> },
    Search { text: String, reply: Sender<Vec<FoundPartner>> },
    Partner { account: Account, reply: Sender<Option<PartnerReport>> },
    Operate { account: Account, action: Action, reply: Sender<Operated> },
}

/// A moment of the engine.
#[derive(Debug, Clone)]
pub struct Answered {
    pub status: Status,
    /// How long the dispatcher's turns took.
    pub turns: Histogram,
    /// How long the dispatcher was at this answer.
    pub cost: Duration,
}

pub struct Inquiries {
    survey: Option<Survey>,
    cost: Duration,
    /// These, like all that wait here, are as many as threads ask: each waits for its answer before it asks again.
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

    /// Takes a question in. Gives what is to happen in this turn.
    pub fn take(&mut self, inquiry: Inquiry, dispatcher: &Dispatcher) -> Event {
        match inquiry {
            Inquiry::Status { reply } => {
                self.survey.get_or_insert_default();
                self.who_want_status.push(reply);
            }
            Inquiry::Search { text, reply } => self.searches.push_back((Search::new(&text, FOUND), reply)),
            Inquiry::Partner { account, reply } => {
                let _ = reply.try_send(dispatcher.partner(&account));
            }
            Inquiry::Operate { account, action, reply } => {
                self.last_request += 1;
                self.actions.push_back((self.last_request, reply));
                return Event::Operate { request: self.last_request, account, action };
            }
        }
        Event::Tick
    }

    /// The answer to an [`Inquiry::Operate`].
    pub fn operated(&mut self, request: RequestId, result: Operated) {
        if let Some(place) = self.actions.iter().position(|(waiting, _)| *waiting == request)
            && let Some((_, reply)) = self.actions.remove(place)
        {
            let _ = reply.try_send(result);
        }
    }

    /// Whether something is left to be looked at.
    pub fn is_busy(&self) -> bool {
        self.survey.is_some() || !self.searches.is_empty()
    }

    /// Looks at a part of what is to be looked at, and answers whom it can.
    #[expect(clippy::disallowed_methods, reason = "what status costs is measured, so that it can be kept rare")]
    pub fn go_on(&mut self, dispatcher: &Dispatcher, complete: impl FnOnce(Status) -> Status) {
        let begin = Instant::now();
        if let Some((search, _)) = self.searches.front_mut() {
            if dispatcher.search(search, PART)
                && let Some((search, reply)) = self.searches.pop_front()
            {
                let _ = reply.try_send(search.found());
            }
            return;
        }
        let Some(mut survey) = self.survey.take() else { return };
        if !dispatcher.survey(&mut survey, PART) {
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

    /// A turn ended.
    pub fn turned(&mut self, took: Duration) {
        self.turns.observe(took);
    }
}
