//! The program under fire: it is killed, stopped and started, and its queue service and partners
//! fail, until the time is over.

use std::time::Duration;

use crossbeam_channel::Receiver;

use crate::books::Books;
use crate::partner::Partners;
use crate::source::Source;
use crate::support::program::{Running, Workspace};

/// The minimum and maximum time between two strokes. Some kills hit a program that has just started.
const CALM: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(3));
/// The longest freeze of the queue service: far below the lease, and longer than a request takes.
const LONGEST_FREEZE: Duration = Duration::from_millis(2500);
/// The largest shares of requests that fail, at the queue service and at the partners.
const WORST_QUEUE: f64 = 0.3;
const WORST_PARTNER: f64 = 0.6;

/// What a storm needs to know of the run.
#[derive(Clone, Copy)]
pub struct Scene<'run> {
    pub workspace: &'run Workspace,
    pub source: &'run dyn Source,
    pub partners: &'run Partners,
    pub books: &'run Books,
    pub queues: usize,
}

pub struct Storm<'run> {
    scene: Scene<'run>,
    random: fastrand::Rng,
    /// The length of the log before the present run.
    log_before: usize,
}

/// What was done to the program.
#[derive(Debug, Default)]
pub struct Strokes {
    pub kills: usize,
    pub stops: usize,
    pub freezes: usize,
    /// The number of deliveries that were accepted and whose messages were not yet deleted when the program ended: at
    /// most this many may be repeated.
    pub unsettled: usize,
}

impl<'run> Storm<'run> {
    pub fn new(scene: Scene<'run>, random: fastrand::Rng) -> Self {
        Self { scene, random, log_before: 0 }
    }

    /// Rages until `over` receives something. The error is what is wrong with the program itself.
    pub fn rage(&mut self, over: &Receiver<impl Sized>) -> Result<Strokes, String> {
        let mut strokes = Strokes::default();
        self.turn_the_weather();
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
                    self.stop(program, &mut strokes)?;
                    program = self.start();
                }
                10..15 => {
                    strokes.freezes += 1;
                    self.scene.source.freeze();
                    let is_over = over.recv_timeout(LONGEST_FREEZE.mul_f64(self.random.f64())).is_ok();
                    self.scene.source.thaw();
                    // The end is signalled only once.
                    if is_over {
                        break;
                    }
                }
                _ => self.turn_the_weather(),
            }
        }
        self.stop(program, &mut strokes)?;
        Ok(strokes)
    }

    fn turn_the_weather(&mut self) {
        self.scene.source.disturb(WORST_QUEUE * self.random.f64());
        self.scene.partners.disturb(WORST_PARTNER * self.random.f64());
    }

    fn start(&mut self) -> Running {
        self.log_before = self.scene.workspace.log().len();
        self.scene.workspace.start(&["run"])
    }

    fn stop(&self, program: Running, strokes: &mut Strokes) -> Result<(), String> {
        program.signal("TERM");
        match program.end() {
            Some(0) => strokes.stops += 1,
            // The signal itself ended the program, because it came before the program had taken over its signals. The
            // log shows when that is done.
            None if !self.scene.workspace.log()[self.log_before..].contains("starting: ") => strokes.kills += 1,
            status => return Err(format!("after SIGTERM the program ended with {status:?}")),
        }
        strokes.unsettled += self.unsettled();
        Ok(())
    }

    /// Returns the number of accepted deliveries whose message is still on its queue, once nothing runs. A letter that
    /// is twice in the dead letter queue makes the result too large.
    fn unsettled(&self) -> usize {
        self.scene.partners.wait_until_answered();
        self.scene.books.between_sends(|sent| {
            let here = |queue| self.scene.source.remaining(queue) + self.scene.source.dead_count(queue);
            let here: u64 = (0..self.scene.queues).map(here).sum();
            let settled = sent.saturating_sub(usize::try_from(here).unwrap_or(usize::MAX));
            self.scene.books.delivered().saturating_sub(settled)
        })
    }
}
