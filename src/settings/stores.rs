//! The files in which the queues of this process live.

use std::path::{Path, PathBuf};

use super::{Settings, Source};

/// A file of a queue. Whoever else writes it destroys the queue, or puts messages on it.
pub struct Store {
    pub path: PathBuf,
    /// Whose file it is, in words, such as `of queues.stock`.
    pub whose: String,
    /// What its name and the names of those beside it end with.
    endings: &'static [&'static str],
}

impl Settings {
    /// Returns the files of the queues and of what they have parked.
    pub(crate) fn stores(&self) -> Vec<Store> {
        let mut stores = Vec::new();
        for (name, queue) in &self.queues {
            match &queue.source {
                Source::Sqlite { path, .. } => stores.push(Store::database(path, format!("of queues.{name}"))),
                Source::Memory { preload: Some(path), .. } => {
                    stores.push(Store { path: path.clone(), whose: format!("that fills queues.{name}"), endings: &[""] });
                }
                Source::Memory { preload: None, .. } | Source::Sqs(_) => {}
            }
            if let Some(path) = &queue.parking {
                stores.push(Store::database(path, format!("of what queues.{name} has parked")));
            }
        }
        stores
    }
}

impl Store {
    /// A database, with what SQLite and this program put beside it.
    pub fn database(path: &Path, whose: String) -> Self {
        Self { path: path.to_owned(), whose, endings: &["", "-wal", "-shm", "-journal", "-lock"] }
    }

    /// Returns the file and those beside it. `path`: the file's path, which may be another spelling of its own.
    pub fn files(&self, path: &Path) -> impl Iterator<Item = PathBuf> {
        self.endings.iter().map(move |ending| {
            let mut file = path.as_os_str().to_owned();
            file.push(ending);
            file.into()
        })
    }
}
