//! Notifications to systemd (`sd_notify(3)`, `Type=notify`): the service is ready, reloads or stops, its status, and,
//! as long as work advances, that it is alive.

mod socket;

use std::time::Duration;

use anyhow::Context as _;
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use octoconf::dispatch::{EngineState, Status};
use octoconf::engine::{EngineHealth, Remote};

pub use self::socket::Notify;

/// The interval between two looks at the engine.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Starts the thread `systemd`, if there is a socket to notify. The thread feeds the watchdog while the engine
/// advances, and keeps the line that `systemctl status` shows up to date. It ends when `end` is disconnected.
pub fn start(notify: &Notify, remote: Remote, end: Receiver<()>) -> anyhow::Result<()> {
    if !notify.is_heard() {
        return Ok(());
    }
    let notify = notify.clone();
    // At least twice as often as required, as sd_watchdog_enabled(3) recommends, and once
    // more in case the thread is late.
    let every = notify.watchdog().map_or(LOOK_INTERVAL, |watchdog| (watchdog / 3).min(LOOK_INTERVAL));
    let guard = remote.guard("systemd");
    let body = move || {
        let _guard = guard;
        let (mut said, mut stops) = (String::new(), false);
        loop {
            if remote.health().is_well() && notify.watchdog().is_some() {
                notify.say(&["WATCHDOG=1"]);
            }
            let status = remote.status();
            // The dispatcher ends before the process, so a missing status may just mean that the run is over.
            if status.is_none() && end.try_recv() == Err(TryRecvError::Disconnected) {
                return;
            }
            stops = notify.stops() || status.as_ref().map_or(stops, |status| status.state != EngineState::Running);
            let line = line(status.as_ref(), stops, remote.health());
            if line != said {
                notify.say(&[&format!("STATUS={line}")]);
                said = line;
            }
            if end.recv_timeout(every) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    };
    std::thread::Builder::new().name("systemd".to_owned()).spawn(body).context("cannot start the thread systemd")?;
    Ok(())
}

/// Returns the status as one line, trouble first. `stops`: whether the service was told to stop, or was stopping when
/// it last reported; a missing status is then normal.
fn line(status: Option<&Status>, stops: bool, health: &EngineHealth) -> String {
    let mut parts: Vec<String> = health.stalls().into_iter().map(|stall| format!("STALLED {stall}")).collect();
    parts.extend(health.troubles().into_iter().map(|(queue, why)| format!("queue {queue} fails to {why}")));
    parts.extend(health.refused_reload().map(|why| format!("the last reload was refused: {why}")));
    match status {
        None if stops => parts.push("stopping".to_owned()),
        None => parts.push("the dispatcher does not answer".to_owned()),
        Some(status) => {
            let partners = &status.partners;
            parts.push(format!("{}, {} held", status.state, status.in_flight));
            parts.push(format!(
                "of {} partners {} have something waiting, {} back off, {} have an open breaker",
                partners.total, partners.waiting, partners.backing_off, partners.open
            ));
        }
    }
    // Always one line, whatever text a service answered with.
    parts.join("; ").replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_at_the_end_of_a_stop_is_no_trouble() {
        let health = EngineHealth::default();
        assert_eq!(line(None, true, &health), "stopping");
        assert_eq!(line(None, false, &health), "the dispatcher does not answer");
    }
}
