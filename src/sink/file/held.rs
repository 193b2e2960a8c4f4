//! The files that this process has open, by what they are and not by their paths: several paths may lead to one file, in different
//! spelling or by links.
//!
//! A file's lock keeps other processes out, and a second descriptor of our own just as well. So each file is locked and repaired once, and
//! whoever comes to it by another path shares it.
//!
//! Called by deliver threads. The lock of the table is never held during a call of the kernel.

use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use parking_lot::{Condvar, Mutex};

use super::open::OpenFile;

/// Device and inode.
pub type Id = (u64, u64);

/// See the [module's](self) text.
#[derive(Default, Clone)]
pub struct Held(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Those that are being opened or closed cannot be upgraded.
    files: Mutex<HashMap<Id, Weak<OpenFile>>>,
    /// A file was opened or closed.
    changed: Condvar,
}

/// What there is of a file.
pub enum Found {
    Open(Arc<OpenFile>),
    /// Nobody here has it, and nobody else will until the claim is dropped.
    Free(Claim),
}

/// The right of one thread to open a file, then that of the open file. To be dropped after the file is closed.
pub struct Claim {
    shared: Arc<Shared>,
    id: Id,
}

impl Held {
    /// The file, if it is open. Blocks while another thread opens or closes it.
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
    /// From now on others find the file.
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
