//! `deliver = "file"`: one payload per line, appended to a file per partner, and durable before it counts as accepted.
//!
//! Called by delivery threads, many at once. Each file has its own lock, so a slow disk under one partner's file holds
//! up no other. The lock around the table of open files is never held during a kernel call. Threads share only the
//! waits for the disk ([`rounds`], [`volume`]).
//!
//! An unfinished last line is ended before the next line is appended: it is cut off if it is the beginning of a JSON
//! value, else it is kept and gets a line feed ([`last_line`]). Nothing but the beginning of a single line is ever deleted.
//!
//! Only one process may write a file, which is held under an advisory lock while it is open ([`open`]). Within
//! this process it is open once, whatever paths lead to it ([`held`]). A file that is renamed or
//! deleted, for example to rotate it, is noticed at the next flush. The folders in the configured
//! path may be anything; no name of an account or a queue leads out of them ([`template`], [`folder`]).

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use crossbeam_channel::bounded;
use hashbrown::HashMap;
use parking_lot::Mutex;
use rustix::io::Errno;

use self::disk::{Disk, Kernel};
use self::held::Held;
use self::open::OpenFile;
use self::reserved::Reserved;
use self::template::{FilePath, Template};
use self::volume::{Pending, Volume};
use super::reply::{Reply, SharedWork};
use super::{Sink, lines};
use crate::lru::Lru;
use crate::message::{Answer, Batch, RefusalCause};
use crate::settings::Store;

mod disk;
mod folder;
mod held;
mod last_line;
mod open;
mod reserved;
mod rounds;
pub mod template;
mod volume;

/// The number of least recently used files that are searched for one that no thread is writing.
const EVICTION_LOOKS: usize = 64;

/// The files of all partners of one configuration.
pub struct FileSink {
    disk: Arc<dyn Disk>,
    /// The largest number of files kept open while nothing is written to them, and of folders that wait for their sync.
    open_files: usize,
    /// The slots by the path of their file. `None` once another configuration is in
    /// force: a delivery that is still under way then opens its file for itself alone.
    slots: Mutex<Option<Lru<PathBuf, Arc<Slot>>>>,
    held: Held<OpenFile>,
    /// The file systems by device number; as many as there are under the configured paths.
    volumes: Arc<Mutex<HashMap<u64, Weak<Volume>>>>,
    reserved: Arc<Reserved>,
}

/// One path, and the open file there, if any. A slot outlives its file when the file is moved away.
#[derive(Default)]
struct Slot {
    current: Mutex<Option<Current>>,
}

/// The file to which a path leads, and its file system.
#[derive(Clone)]
struct Current {
    file: Arc<OpenFile>,
    volume: Arc<Volume>,
}

/// The result of a write.
struct Written {
    volume: Arc<Volume>,
    file: Arc<OpenFile>,
    end: u64,
    cuts: u64,
    failed_syncs: u64,
}

/// The files of the partners that share one section of the configuration.
pub struct FilePartner {
    sink: Arc<FileSink>,
    template: Template,
}

impl FilePartner {
    /// `path`: the configured path, with its placeholders.
    ///
    /// # Errors
    ///
    /// When `path` is no such template; the text says why.
    pub fn new(sink: Arc<FileSink>, path: &str) -> Result<Self, String> {
        let template = Template::parse(path).map_err(|error| error.to_string())?;
        Ok(Self { sink, template })
    }
}

impl Sink for FilePartner {
    fn deliver(&self, batch: &Batch) -> Answer {
        self.sink.deliver(&self.template, batch)
    }

    fn begin(&self, batch: &Batch, reply: Reply) -> Option<SharedWork> {
        self.sink.begin(&self.template, batch, reply)
    }
}

impl FileSink {
    /// `open_files`: how many files stay open between flushes; flushes in flight come on top.
    pub fn new(open_files: usize) -> Arc<Self> {
        Self::on(Arc::new(Kernel), open_files)
    }

    /// Writes and syncs through `disk`.
    pub fn on(disk: Arc<dyn Disk>, open_files: usize) -> Arc<Self> {
        let slots = Mutex::new(Some(Lru::new()));
        Arc::new(Self { disk, open_files, slots, held: Held::default(), volumes: Arc::default(), reserved: Arc::default() })
    }

    /// Creates the sink of another configuration. A file that both have open is open once.
    pub fn renewed(&self) -> Arc<Self> {
        let (disk, held, volumes) = (Arc::clone(&self.disk), self.held.clone(), Arc::clone(&self.volumes));
        let reserved = Arc::clone(&self.reserved);
        Arc::new(Self { disk, open_files: self.open_files, slots: Mutex::new(Some(Lru::new())), held, volumes, reserved })
    }

    /// Refuses deliveries to these files from now on, under every configuration. Blocks for as long as the disk does.
    pub fn reserve(&self, stores: &[Store]) {
        self.reserved.add(stores);
    }

    /// Closes all files, since another process may have to write them. A file with deliveries
    /// under way is closed as soon as these have ended. Blocks for as long as the kernel does.
    pub fn close(&self) {
        let slots = self.slots.lock().take();
        drop(slots);
    }

    /// Appends the batch and returns once it survives a power loss. After a failure nothing of
    /// the batch is left in the file, unless removing it fails too: the retry then repeats lines.
    pub fn deliver(self: &Arc<Self>, template: &Template, batch: &Batch) -> Answer {
        let (told, answer) = bounded(1);
        // There is only one answer, so a full channel cannot occur.
        let reply = Reply::new(move |answer| drop(told.send(answer)));
        if let Some(sync) = self.begin(template, batch, reply) {
            sync.run();
        }
        answer.recv().unwrap_or_else(|_| Answer::Unreachable { reason: "a delivery to a file was given up".into() })
    }

    /// Does the same without waiting for the disk's sync: the thread that
    /// leads the sync sends the reply. `Some` if that is this thread.
    pub fn begin(self: &Arc<Self>, template: &Template, batch: &Batch, reply: Reply) -> Option<SharedWork> {
        let target = template.fill(&batch.queue, &batch.account);
        match self.write(&target, &lines::of(&batch.items)) {
            Ok((Written { file, volume, end, cuts, failed_syncs }, slot)) => {
                let pending = Pending { path: target.path, file, end, cuts, failed_syncs, _slot: slot, reply };
                let lead = volume.rounds.join(pending)?;
                let sink = Arc::clone(self);
                // For as long as the disk takes, and for as long as other threads keep writing.
                Some(SharedWork::new("syncs files", move || lead.run(|members| volume.sync(&*sink.disk, members))))
            }
            Err(error) => {
                reply.send(answer_of(&target.path, &error));
                None
            }
        }
    }

    fn write(&self, target: &FilePath, lines: &[u8]) -> io::Result<(Written, Arc<Slot>)> {
        let slot = self.slot(&target.path);
        let mut current = slot.current.lock();
        let written = self.write_to(&mut current, target, lines);
        if written.is_err() {
            // On a full disk, all files would otherwise keep their folders open until there is space again.
            current.take_if(|current| current.file.has_folders());
        }
        drop(current);
        Ok((written?, slot))
    }

    /// Appends to the file that is open, or opens it if the path no longer leads to that one.
    fn write_to(&self, current: &mut Option<Current>, target: &FilePath, lines: &[u8]) -> io::Result<Written> {
        if let Some(current) = current
            && let Some(written) = self.append(current, target, lines)?
        {
            return Ok(written);
        }
        // The old file is closed first: if no more files may be open, its place is needed.
        *current = None;
        self.reserved.check(target)?;
        let file = OpenFile::open(target, &self.held)?;
        // This comes before the lines are written: if it failed after that,
        // they would stay in the file, and the retry would repeat them.
        let volume = self.volume(&file)?;
        let current = current.insert(Current { file, volume });
        self.append(current, target, lines)?.ok_or_else(|| {
            io::Error::new(ErrorKind::WouldBlock, "it is moved away as soon as it is created: leave the path to octoconf")
        })
    }

    /// Appends the lines, see [`OpenFile::append`].
    fn append(&self, current: &Current, target: &FilePath, lines: &[u8]) -> io::Result<Option<Written>> {
        let Current { file, volume } = current.clone();
        let failed_syncs = volume.failed_syncs();
        let appended = file.append(target, lines, &*self.disk)?;
        Ok(appended.map(|(end, cuts)| Written { volume, file, end, cuts, failed_syncs }))
    }

    fn slot(&self, path: &Path) -> Arc<Slot> {
        let mut table = self.slots.lock();
        let Some(slots) = &mut *table else { return Arc::default() };
        let known = slots.get(path).cloned();
        let slot = known.unwrap_or_else(|| {
            let slot = Arc::<Slot>::default();
            slots.insert(path.to_owned(), Arc::clone(&slot));
            slot
        });
        let mut evicted = Vec::new();
        // Folders wait for their sync for long only if syncs fail. So do those of files that were moved away and made anew,
        // whose slots are known.
        while slots.len() + self.held.folders() > self.open_files.max(1) {
            // A slot in use is held by its thread as well as by the table, and new holders come only through the table.
            let Some(idle) = slots.evict(EVICTION_LOOKS, |slot| Arc::strong_count(slot) == 1) else { break };
            evicted.push(idle);
        }
        // Closing their files is a kernel call, so it happens outside the lock.
        drop(table);
        drop(evicted);
        slot
    }

    /// Returns the file system of a file that was just opened.
    fn volume(&self, file: &OpenFile) -> io::Result<Arc<Volume>> {
        let known = self.volumes.lock().get(&file.device).and_then(Weak::upgrade);
        known.map_or_else(|| self.new_volume(file), Ok)
    }

    fn new_volume(&self, file: &OpenFile) -> io::Result<Arc<Volume>> {
        let volume = Arc::new(Volume::of(file, &self.held, &*self.disk)?);
        let mut volumes = self.volumes.lock();
        // Another thread may have been faster.
        let known = volumes.get(&file.device).and_then(Weak::upgrade);
        Ok(known.unwrap_or_else(|| {
            volumes.insert(file.device, Arc::downgrade(&volume));
            volume
        }))
    }
}

/// Returns what an error of the kernel means for the partner.
fn answer_of(path: &Path, error: &io::Error) -> Answer {
    let reason = format!("file {}: {}", path.display(), advice(error)).into();
    match error.kind() {
        // However long it waits, the name stays impossible on this file system, or the file that of a queue.
        ErrorKind::InvalidFilename => Answer::Refused { cause: RefusalCause::Impossible, reason },
        _ => Answer::Unreachable { reason },
    }
}

/// Returns the kernel's message, with what to do about it if that is known.
fn advice(error: &io::Error) -> String {
    let what_to_do = match error.kind() {
        ErrorKind::StorageFull => "free space on the disk, or move the path to another",
        ErrorKind::QuotaExceeded => "raise the quota of the user that octoconf runs as",
        ErrorKind::ReadOnlyFilesystem => "mount the file system for writing",
        ErrorKind::PermissionDenied => "give the user that octoconf runs as the right to write there",
        _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            "a symbolic link stands where the file belongs; remove it"
        }
        ErrorKind::NotADirectory => "a file or a symbolic link stands where a folder belongs; move it away",
        ErrorKind::IsADirectory => "a folder stands where the file belongs; move it away",
        _ => return error.to_string(),
    };
    format!("{error}: {what_to_do}")
}

#[cfg(test)]
mod tests;
