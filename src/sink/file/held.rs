//! The files that this process has open, by identity and not by path:
//! several paths may lead to one file, by another spelling or by links.
//!
//! The lock on a file keeps out other processes, and also a second descriptor of this process. So
//! each file is locked and repaired once, and a thread that reaches it by another path shares it.
//!
//! Called by delivery threads. The lock of the table is never held during a kernel call.

use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use parking_lot::{Condvar, Mutex};

/// The identity of a file: its device and inode.
pub type Id = (u64, u64);

/// The table of open files of the type `T`; see the [module](self).
pub struct Held<T>(Arc<Shared<T>>);

struct Shared<T> {
    /// The files by identity. One that is being opened or closed cannot be upgraded.
    files: Mutex<HashMap<Id, Weak<T>>>,
    /// Signalled when a file was opened or closed.
    changed: Condvar,
    /// Cloned for each folder that is open beside the files.
    folders: Arc<()>,
}

/// What the table has of a file.
pub enum Found<T> {
    Open(Arc<T>),
    /// The file is not open in this process, and no other thread opens it until the claim is dropped.
    Free(Claim<T>),
}

/// The right to open a file: first of the thread that opens it,
/// then of the open file. Must be dropped after the file is closed.
pub struct Claim<T> {
    shared: Arc<Shared<T>>,
    id: Id,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self(Arc::new(Shared { files: Mutex::default(), changed: Condvar::new(), folders: Arc::default() }))
    }
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Held<T> {
    /// Counts a folder as open until the result is dropped.
    pub fn folder(&self) -> Arc<()> {
        Arc::clone(&self.0.folders)
    }

    /// Returns the number of folders that are open beside the files.
    pub fn folders(&self) -> usize {
        Arc::strong_count(&self.0.folders) - 1
    }

    /// Returns the file if it is open, else the claim to open it. Blocks while another thread opens or closes the file.
    pub fn find(&self, id: Id) -> Found<T> {
        let Shared { files, changed, .. } = &*self.0;
        let mut files = files.lock();
        while let Some(held) = files.get(&id) {
            if let Some(open) = held.upgrade() {
                return Found::Open(open);
            }
            changed.wait(&mut files);
        }
        files.insert(id, Weak::new());
        Found::Free(Claim { shared: Arc::clone(&self.0), id })
    }
}

impl<T> Claim<T> {
    /// Makes the open file available to other threads.
    pub fn opened(&self, file: &Arc<T>) {
        self.shared.files.lock().insert(self.id, Arc::downgrade(file));
        self.shared.changed.notify_all();
    }
}

impl<T> Drop for Claim<T> {
    fn drop(&mut self) {
        self.shared.files.lock().remove(&self.id);
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Whichever thread is first: many rounds meet both orders.
    #[test]
    fn who_finds_a_file_that_another_thread_opens_or_closes_waits_for_it_and_is_woken() {
        const ID: Id = (1, 2);
        for round in 0..500 {
            let held = Held::<()>::default();
            let Found::Free(claim) = held.find(ID) else { panic!("nobody has it") };
            let opens = round % 2 == 0;
            thread::scope(|scope| {
                let found = scope.spawn(|| matches!(held.find(ID), Found::Open(_)));
                for _ in 0..round % 50 {
                    thread::yield_now();
                }
                let file = Arc::new(());
                if opens {
                    claim.opened(&file);
                } else {
                    drop(claim);
                }
                assert_eq!(found.join().unwrap(), opens);
            });
        }
    }
}
