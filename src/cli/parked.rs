//! The command `parked`: lists and purges the deliveries that are parked on disk. It may run beside the service.

use std::path::Path;
use std::process::ExitCode;

use octoconf::queue::parking::{ParkedAccount, Parking};

use super::args::Parked;
use super::failure::Failure;
use super::progress::Progress;
use super::records::{self, Change, Outcome};
use super::setup::Setup;

/// The maximum number of deliveries deleted per transaction.
const PORTION: usize = 1000;

pub fn run(config: &Path, command: &Parked) -> Result<ExitCode, Failure> {
    let (Parked::List { queue, .. } | Parked::Purge { queue, .. }) = command;
    let setup = Setup::new(config)?;
    if let Parked::List { limit, json, .. } = command
        && setup.misses_parking(queue)?
    {
        return records::list::<ParkedAccount>(*limit, *json, |_| Ok(()));
    }
    let parking = setup.parking(queue)?;
    match command {
        Parked::List { partner, limit, json, .. } => records::list(*limit, *json, |each| {
            parking.list(&mut |line| partner.as_ref().is_some_and(|partner| line.account != *partner) || each(&line))
        }),
        Parked::Purge { partner, limit, dry_run, json, .. } => {
            purge(&parking, partner.as_deref(), *limit, Change { word: "purged", dry_run: *dry_run, json: *json })
        }
    }
}

fn purge(parking: &Parking, partner: Option<&str>, limit: Option<usize>, how: Change) -> Result<ExitCode, Failure> {
    let chosen = parking.count_of(partner)?.min(limit.map_or(u64::MAX, |limit| limit as u64));
    let mut purged = 0;
    if !how.dry_run {
        let mut progress = Progress::towards(chosen, "purged");
        // Deliveries that are parked while this runs are kept.
        while purged < chosen {
            let most = PORTION.min(usize::try_from(chosen - purged).unwrap_or(PORTION));
            let gone = parking.purge(partner, most)? as u64;
            if gone == 0 {
                break;
            }
            purged += gone;
            progress.reached(purged);
        }
        progress.end();
    }
    records::say_changed(Outcome { chosen, changed: purged, ..Outcome::default() }, how)
}
