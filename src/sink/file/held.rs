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

use super::open::OpenFile;

/// The identity of a file: its device and inode.
pub type Id = (u64, u64);

/// The table of open files; see the [module](self).
#[derive(Default, Clone)]
pub struct Held(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// The files by identity. One that is being opened or closed cannot be upgraded.
    files: Mutex<HashMap<Id, Weak<OpenFile>>>,
    /// Signalled when a file was opened or closed.
    changed: Condvar,
}

/// What the table has of a file.
pub enum Found {
    Open(Arc<OpenFile>),
    /// The file is not open in this process, and no other thread opens it until the claim is dropped.
    Free(Claim),
}

/// The right to open a file: first of the thread that opens it,
/// then of the open file. Must be dropped after the file is closed.
pub struct Claim {
    shared: Arc<Shared>,
    id: Id,
}

impl Held {
    /// Returns the file if it is open, else the claim to open it. Blocks while another thread opens or closes the file.
    pub fn find(&self, id: Id) -> Found {
        let Shared { files, changed } = &*self.0;
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

impl Claim {
    /// Makes the open file available to other threads.
    pub fn opened(&self, file: &Arc<OpenFile>) {
        self.shared.files.lock().insert(self.id, Arc::downgrade(file));
        self.shared.changed.notify_all();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shared.files.lock().remove(&self.id);
        self.shared.changed.notify_all();
    }
}
