//! Parked deliveries that nothing delivers. A parking file keeps them by the name of their queue's section, so if the
//! section is renamed while the service is down, they stay in the file without a section that reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::queue::parking::parked_under;
use crate::settings::Settings;

use super::plan::{Queues, absolute};

/// Deliveries in a parking file that belong to no section with that file.
#[derive(Debug)]
pub struct Forgotten {
    /// A section whose parking is the file.
    section: String,
    file: PathBuf,
    /// The name of the section for which they were parked.
    pub queue: String,
    /// The number of the deliveries, at least one.
    pub deliveries: u64,
}

impl fmt::Display for Forgotten {
    /// Writes `KEY: TEXT`, as the warnings of the configuration are written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { section, file, queue, deliveries } = self;
        let file = file.display();
        write!(
            f,
            "queues.{section}.parking: {file} also holds {deliveries} deliveries that were parked for queues.{queue}, and no section of \
             that name parks in this file, so nothing delivers them; give the section its name back, or add a section \
             [queues.{queue}] with parking = \"{file}\", until `octoconf parked list {queue}` shows nothing"
        )
    }
}

/// Returns what the parking files of these settings hold for sections that are not there. A file that does not exist or
/// cannot be read is left out. Blocks to read the files.
pub fn forgotten(settings: &Settings) -> Vec<Forgotten> {
    let parks =
        |(name, queue): (&String, &crate::settings::QueueSettings)| Some((name.clone(), absolute(queue.parking.as_ref()?)));
    look(settings.queues.iter().filter_map(parks)).filter_map(Result::ok).flatten().collect()
}

/// Logs what the open parking files hold for queues that are not open. The queues that retire are open: they deliver
/// what they have parked. Blocks to read the files.
pub(super) fn tell(queues: &Queues) {
    for found in look(queues.open_parkings()) {
        match found {
            Ok(found) => found.iter().for_each(|forgotten| log::warn!("configuration: {forgotten}")),
            Err(why) => log::warn!("cannot tell whether deliveries of other queues are parked in a file: reason={why:?}"),
        }
    }
}

/// Looks into each file once. `parks` are the names of sections with the file in which each parks.
fn look(parks: impl Iterator<Item = (String, PathBuf)>) -> impl Iterator<Item = Result<Vec<Forgotten>, String>> {
    let mut files: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    for (name, file) in parks {
        files.entry(file).or_default().insert(name);
    }
    files.into_iter().map(|(file, names)| look_into(&file, &names))
}

fn look_into(file: &Path, names: &BTreeSet<String>) -> Result<Vec<Forgotten>, String> {
    let found = parked_under(file, &|name| !names.contains(name)).map_err(|error| error.to_string())?;
    let section = names.first().cloned().unwrap_or_default();
    let forgotten = |(queue, deliveries)| Forgotten { section: section.clone(), file: file.to_owned(), queue, deliveries };
    Ok(found.into_iter().map(forgotten).collect())
}
