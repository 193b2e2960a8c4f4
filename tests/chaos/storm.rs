//! The program under fire: killed, stopped, started again, its queue service and its partners failing, until time is over.

use std::time::Duration;

use crossbeam_channel::Receiver;

use crate::books::Books;
use crate::partner::Partners;
use crate::source::Source;
use crate::support::program::{Room, Running};

/// Between two strokes of fate, at least and at most: some kills hit a program that has just started.
const CALM: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// The longest stop of the queue service; below the lease by far, and above the time that a request takes.
const LONGEST_FREEZE: Duration = Duration::from_millis(2500);
/// The largest share of requests that fare badly.
const WORST_QUEUE: f64 = 0.3;
const WORST_PARTNER: f64 = 0.6;

pub struct Storm<'run> {
    pub room: &'run Room,
    pub source: &'run dyn Source,
    pub partners: &'run Partners,
    pub books: &'run Books,
    pub queues: usize,
    pub random: fastrand::Rng,
}

/// What was done to the program.
#[derive(Debug, Default)]
pub struct Strokes {
    pub kills: usize,
    pub stops: usize,
    pub freezes: usize,
    /// Deliveries that were accepted and not yet deleted when the program ended: so many may come again.
    pub unsettled: usize,
}

impl Storm<'_> {
    /// Rages until `over` says something. What is wrong with the program itself is the error.
    pub fn rage(&mut self, over: &Receiver<impl Sized>) -> Result<Strokes, String> {
        let mut strokes = Strokes::default();
        let mut program = self.start();
        loop {
            let (least, most) = CALM;
            let calm = least + (most - least).mul_f64(self.random.f64());
            if over.recv_timeout(calm).is_ok() {
                break;
            }
            if let Some(status) = program.ended() {
                return Err(format!("the program ended by itself: {status}"));
            }
            match self.random.u8(..20) {
                0..7 => {
                    program.kill();
                    strokes.kills += 1;
                    strokes.unsettled += self.unsettled();
                    program = self.start();
                }
                7..10 => {
                    strokes.stops += 1;
                    self.stop(program)?;
                    strokes.unsettled += self.unsettled();
                    program = self.start();
                }
                10..15 => {
                    strokes.freezes += 1;
                    self.source.freeze();
                    let _ = over.recv_timeout(LONGEST_FREEZE.mul_f64(self.random.f64()));
                    self.source.thaw();
                }
                _ => {
                    self.source.disturb(WORST_QUEUE * self.random.f64());
                    self.partners.disturb(WORST_PARTNER * self.random.f64());
                }
            }
        }
        strokes.stops += 1;
        self.stop(program)?;
        strokes.unsettled += self.unsettled();
        Ok(strokes)
    }

    fn start(&self) -> Running {
        self.room.start(&["run"])
    }

    fn stop(&self, program: Running) -> Result<(), String> {
        program.signal("TERM");
        match program.end() {
            Some(0) => Ok(()),
            status => Err(format!("after SIGTERM the program ended with {status:?}")),
        }
    }

    /// Deliveries accepted whose message is still on its queue, once nobody is at work. A letter that is in the dead letter queue twice
    /// makes it larger than it is.
    fn unsettled(&self) -> usize {
        self.partners.settle();
        self.books.between_sends(|sent| {
            let here = |queue| self.source.remaining(queue) + self.source.dead_count(queue);
            let here: u64 = (0..self.queues).map(here).sum();
            let settled = sent.saturating_sub(usize::try_from(here).unwrap_or(usize::MAX));
            self.books.delivered().saturating_sub(settled)
        })
    }
}
