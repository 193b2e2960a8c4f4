//! `parked`: what waits on the disk for partners that are away. Beside a running service, too.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use indicatif::ProgressBar;
use octoconf::commands::parked::Listing;
use octoconf::queue::parking::Parking;
use serde_json::json;

use super::args::Parked;
use super::failure::Failure;
use super::files;
use super::setup::Setup;

/// Deliveries that one transaction deletes.
const PORTION: usize = 1000;

pub fn run(config: &Path, command: &Parked) -> Result<ExitCode, Failure> {
    let (Parked::List { queue, .. } | Parked::Purge { queue, .. }) = command;
    let parking = Setup::new(config)?.parking(queue)?;
    match command {
        Parked::List { partner, limit, json, .. } => list(&parking, partner.as_deref(), limit.unwrap_or(usize::MAX), *json),
        Parked::Purge { partner, limit, dry_run, json, .. } => {
            purge(&parking, partner.as_deref(), limit.unwrap_or(usize::MAX), (*dry_run, *json))
        }
    }
}

fn list(parking: &Parking, partner: Option<&str>, limit: usize, json: bool) -> Result<ExitCode, Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut listing = Listing::new(&mut out, json)?;
    let mut left = limit;
    let mut failed = None;
    if left > 0 {
        parking.list(&mut |line| {
            if partner.is_none_or(|partner| line.account == partner) {
                left -= 1;
                failed = listing.line(&line).err();
            }
            failed.is_none() && left > 0
        })?;
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    listing.end()?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn purge(parking: &Parking, partner: Option<&str>, limit: usize, (dry_run, json): (bool, bool)) -> Result<ExitCode, Failure> {
    let chosen = parking.count_of(partner)?.min(limit as u64);
    let mut purged = 0;
    if !dry_run {
        let bar = ProgressBar::new(chosen).with_style(files::towards("purged"));
        // What is parked meanwhile stays.
        while purged < chosen {
            let most = PORTION.min(usize::try_from(chosen - purged).unwrap_or(PORTION));
            let gone = parking.purge(partner, most)? as u64;
            if gone == 0 {
                break;
            }
            purged += gone;
            bar.set_position(purged);
        }
        bar.finish_and_clear();
    }
    let mut out = io::stdout();
    match (json, dry_run) {
        (true, _) => writeln!(out, "{}", json!({ "chosen": chosen, "purged": purged, "dry_run": dry_run }))?,
        (false, true) => writeln!(out, "{chosen} would be purged")?,
        (false, false) => writeln!(out, "{purged} purged")?,
    }
    Ok(ExitCode::SUCCESS)
}
