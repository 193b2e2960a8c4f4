//! Everything that belongs to one queue.

use std::sync::Arc;
use std::time::Instant;

use serde::{Serialize, Serializer};

use super::due::Alarm;
use super::exits::calls::QueueCalls;
use super::exits::known::Known;
use super::intake::Intake;
use super::keys::QueueIndex;
use super::order::Order;
use super::overflow::shed::HIDDEN;
use super::parking::Transfer;
use super::record::counts::QueueCounts;
use super::record::summary::Summary;
use super::record::tally::Tally;
use super::record::troubles::Troubles;
use super::rules::QueueRules;
use crate::message::service::Facts;

/// See the [module documentation](self).
#[derive(Debug)]
pub struct QueueState {
    pub rules: Arc<QueueRules>,
    pub stage: QueueStage,
    /// The earliest moment of the next search for parked deliveries, once the queue retires; `None`: at any time.
    pub look_at: Option<Instant>,
    pub intake: Intake,
    pub order: Order,
    pub calls: QueueCalls,
    /// The transfer of deliveries to and from the queue's parking, if it has one.
    pub parking: Option<Box<Transfer>>,
    /// If this is the parking of a queue, that queue. Every message of this one is a parked row then.
    pub parks_for: Option<QueueIndex>,
    /// What the queue's service does by itself.
    pub facts: Facts,
    /// What is settled of messages that are no longer held but may come back.
    pub known: Known,
    pub counts: QueueCounts,
    pub tally: Tally,
    /// Whether the queue's service has answered any request yet.
    pub reached: bool,
    pub troubles: Troubles,
    pub summaries: Summaries,
    pub alarms: Alarms,
}

/// Events of one queue that may happen by the thousand, each kind summed up in a log line.
#[derive(Debug, Default)]
pub struct Summaries {
    pub dead_letters: Summary,
    pub leases_lost: Summary,
    pub given_back: Summary,
    pub parked: Summary,
}

/// What falls due of one queue.
#[derive(Debug, Default)]
pub struct Alarms {
    pub intake: Alarm,
    pub lease: Alarm,
    pub order: Alarm,
    pub calls: Alarm,
    pub summary: Alarm,
    pub trouble: Alarm,
}

/// How far a queue is on its way from serving to gone: its state in status and report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueStage {
    /// No reload has taken the queue away.
    Serving,
    /// A reload took the queue away: no more messages are received, those held are delivered as before.
    Retiring,
    /// A reload took the queue away, and nothing of it is left.
    Gone,
}

impl QueueStage {
    /// Returns the stage's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Retiring => "retiring",
            Self::Gone => "gone",
        }
    }
}

impl Serialize for QueueStage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl QueueState {
    /// Creates the state of a queue that serves, of which at most `held` messages are held. What is settled is remembered
    /// of as many more as may be hidden: each of them comes back.
    pub fn new(rules: QueueRules, held: usize) -> Self {
        let rules = Arc::new(rules);
        Self {
            stage: QueueStage::Serving,
            look_at: None,
            order: Order::new(rules.fifo, rules.order_wait),
            calls: QueueCalls::new(&rules),
            parking: None,
            parks_for: None,
            intake: Intake::new(Arc::clone(&rules)),
            rules,
            facts: Facts::default(),
            known: Known::new(HIDDEN.saturating_add(held)),
            counts: QueueCounts::default(),
            tally: Tally::default(),
            reached: false,
            troubles: Troubles::default(),
            summaries: Summaries::default(),
            alarms: Alarms::default(),
        }
    }

    /// Replaces the rules by others, of which name, kind and parking are the same.
    pub fn set_rules(&mut self, rules: QueueRules) {
        self.rules = Arc::new(rules);
        self.order.set_wait(self.rules.order_wait);
        self.calls.set_rules(&self.rules);
        self.intake.set_rules(Arc::clone(&self.rules));
    }

    /// Returns whether no reload has taken the queue away.
    pub fn is_serving(&self) -> bool {
        self.stage == QueueStage::Serving
    }

    /// Returns whether pollers ask the queue for messages. The rows of a parking come back another way.
    pub fn receives(&self) -> bool {
        self.is_serving() && self.parks_for.is_none()
    }

    /// Returns whether no call about a copy or a parked delivery is requested or under way.
    pub fn has_no_calls(&self) -> bool {
        self.calls.is_idle() && self.parking.as_deref().is_none_or(Transfer::is_idle)
    }

    /// Returns whether the queue is taken away and may still have something left.
    pub fn is_retiring(&self) -> bool {
        self.stage == QueueStage::Retiring
    }

    /// Returns whether nothing of the queue is left.
    pub fn is_gone(&self) -> bool {
        self.stage == QueueStage::Gone
    }
}
