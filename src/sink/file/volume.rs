//! One file system with files of partners: what is written to it at about the same time is synced together.
//!
//! Called by delivery threads. The leader of a round ([`super::rounds`]) blocks for as long as the disk does.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::disk::Disk;
use super::folder::Folder;
use super::held::{Held, Id};
use super::open::{CUT_SHORT, OpenFile, Progress};
use super::rounds::Rounds;
use super::{Slot, advice};
use crate::message::Answer;
use crate::sink::reply::Reply;

/// The largest number of files and folders that a round syncs one by one. If there are more, the whole file system is
/// synced once, if it can report failures ([`Disk::reports_losses`]). On ext4 each sync of a file commits the journal once:
/// with 64 threads over 4,000 files, that made 1,600 flushes a second one by one and 15,000 together. A few are still
/// synced one by one, since syncing the file system waits for everything else that the machine has written.
const MAX_ONE_BY_ONE: usize = 4;

/// How long a round waits for more members after a round that was a crowd. Some thousands of flushes a second
/// make a crowd in that time.
const GATHER_TIME: Duration = Duration::from_millis(2);

/// One file system, whose files are synced together. It lives as long as one of these files is open.
pub struct Volume {
    /// The rounds of syncs, each led by [`Volume::sync`].
    pub rounds: Rounds<Pending>,
    device: u64,
    /// Any folder on the file system, opened before anything is written there, so that the kernel
    /// reports all write errors to it. Without files that are open, it must not keep the file system mounted.
    any: Arc<Folder>,
    /// Whether a sync of the whole file system reports data that was lost; else files are synced one by one.
    reports_losses: bool,
    /// The number of failed syncs of the whole file system; see [`Volume::sync`]. A folder's
    /// own sync tells nothing about files that are not in it.
    failed_syncs: AtomicU64,
}

/// Lines that are written and wait for their sync.
pub struct Pending {
    pub path: PathBuf,
    pub file: Arc<OpenFile>,
    /// The length of the file after these lines.
    pub end: u64,
    /// The value of [`Progress::cuts`] when the lines were written.
    pub cuts: u64,
    /// The value of [`Volume::failed_syncs`] before the lines were written.
    pub failed_syncs: u64,
    /// Keeps the file from being evicted.
    pub _slot: Arc<Slot>,
    pub reply: Reply,
}

impl Volume {
    /// Returns the file system of a file of which nothing is written yet.
    pub fn of(file: &OpenFile, held: &Held<OpenFile>, disk: &dyn Disk) -> io::Result<Self> {
        let any = file.anchor(held)?;
        let reports_losses = disk.reports_losses(&any.file);
        Ok(Self { rounds: Rounds::new(GATHER_TIME), device: file.device, any, reports_losses, failed_syncs: AtomicU64::new(0) })
    }

    /// Returns the number of failed syncs of the whole file system so far.
    pub fn failed_syncs(&self) -> u64 {
        self.failed_syncs.load(Ordering::Acquire)
    }

    /// Runs one round: answers every member, and takes back the lines of files whose sync failed. The kernel reports an
    /// error once, to the sync that finds it: if the file system was synced, lines that were written before its last
    /// failure may be what that was about, even if they are in the round after it. They are taken back too.
    pub fn sync(&self, disk: &dyn Disk, members: Vec<Pending>) {
        let failures = self.failed_syncs();
        let mut files: BTreeMap<_, Vec<Pending>> = BTreeMap::new();
        for member in members {
            let lost = member.lost(&member.file.progress.lock());
            if lost.is_ok() {
                files.entry(Arc::as_ptr(&member.file)).or_default().push(member);
            } else {
                member.settle(lost);
            }
        }
        let synced = self.sync_files(disk, files.values().filter_map(|members| Some(&*members.first()?.file)));
        for (members, mut synced) in files.into_values().zip(synced) {
            if synced.is_ok() && members.iter().any(|member| member.failed_syncs != failures) {
                synced = Err("a sync of its file system failed while it was written".into());
            }
            if synced.is_err() {
                members.iter().take(1).for_each(|member| member.file.cut_back());
            }
            for member in members {
                let outcome = synced.as_ref().map_err(String::clone).and_then(|folders| member.confirm(folders));
                member.settle(outcome);
            }
        }
    }

    /// Syncs the files and their folders. Returns for each file the identities of its folders, or why its sync failed.
    fn sync_files<'a>(&self, disk: &dyn Disk, files: impl Iterator<Item = &'a OpenFile>) -> Vec<Result<Vec<Id>, String>> {
        let files: Vec<_> = files.map(|file| (file, file.progress.lock().folders.clone())).collect();
        let folders: BTreeMap<Id, _> =
            files.iter().flat_map(|(_, folders)| folders).map(|folder| (folder.id(), folder)).collect();
        let told = |synced: io::Result<()>| synced.map_err(|error| advice(&error));

        let together = self.reports_losses && files.len() + folders.len() > MAX_ONE_BY_ONE;
        let whole = if together { told(disk.sync_all(&self.any.file)) } else { Ok(()) };
        let of_file = |(file, _): &(&OpenFile, _)| if together { whole.clone() } else { told(disk.sync(&file.file)) };
        let data: Vec<_> = files.iter().map(of_file).collect();
        // A folder on the way to a file may be on another file system than the file.
        let elsewhere = folders.into_iter().filter(|(_, folder)| !together || folder.device != self.device);
        let mut all_failed = whole.is_err();
        let mut entry = |folder: &Folder| {
            let synced = told(folder.sync(disk));
            all_failed |= folder.stand_in && synced.is_err();
            synced
        };
        let entries: BTreeMap<Id, _> = elsewhere.map(|(id, folder)| (id, entry(folder))).collect();
        if all_failed {
            self.failed_syncs.fetch_add(1, Ordering::Release);
        }
        let synced = |folder: &Arc<Folder>| entries.get(&folder.id()).cloned().unwrap_or(Ok(())).map(|()| folder.id());
        files.iter().zip(data).map(|((_, folders), data)| data.and_then(|()| folders.iter().map(synced).collect())).collect()
    }
}

impl Pending {
    /// Fails with the reason if the lines were cut off after they were written: by a failed
    /// round before this one, or by another program, as an append has noticed.
    fn lost(&self, progress: &Progress) -> Result<(), String> {
        if progress.cuts == self.cuts { Ok(()) } else { Err(progress.cut.into()) }
    }

    /// Confirms the lines after a successful sync of the file and of
    /// these folders, unless the file has been deleted or cut short meanwhile.
    fn confirm(&self, folders: &[Id]) -> Result<(), String> {
        let mut progress = self.file.progress.lock();
        self.lost(&progress)?;
        progress.durable = progress.durable.max(self.end);
        // Another path to the file may have added folders meanwhile.
        progress.folders.retain(|folder| !folders.contains(&folder.id()));
        match self.file.file.metadata() {
            Ok(meta) if meta.nlink() == 0 => Err("it was deleted while it was written; the lines go to a new one".into()),
            Ok(meta) if meta.len() < self.end => Err(CUT_SHORT.into()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn settle(self, outcome: Result<(), String>) {
        self.reply.send(match outcome {
            Ok(()) => Answer::Accepted,
            Err(reason) => Answer::Unreachable { reason: format!("file {}: {reason}", self.path.display()).into() },
        });
    }
}
