//! What a reload does to the queues. The thread that asks for the reload prepares the plan, which may block; `dispatch`
//! then applies it in one turn.
//!
//! A queue whose rules alone differ keeps its place. A queue that becomes a different queue (another source, file,
//! group or parking) retires, and the new one starts beside it at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use crate::dispatch::{NewQueue, QueueChanges, QueueIndex, QueueRules};
use crate::handler::Handler;
use crate::handler::registry::Registry;
use crate::queue::Queue;
use crate::queue::parking::Parking;
use crate::settings::{QueueSettings, Settings, Source};

use super::error::{ReloadError, StartError};
use super::lane::{self, Lane, Opened};
use super::rules::queue_rules;

/// The largest number of queues, parkings included, that one process may see in its life if reloads add some. A few
/// kilobytes stay in memory for each removed queue, among them its counts.
const MOST_QUEUES: usize = 1000;

/// The queues in force, as the thread that prepares the next reload knows them.
#[derive(Clone, Default)]
pub struct Queues {
    slots: BTreeMap<String, QueueSlot>,
    /// The number of queues that there ever were, parkings included, which is the next free index.
    seen: usize,
    /// The open parkings, including those of retiring queues.
    parkings: Vec<OpenParking>,
}

#[derive(Clone)]
struct QueueSlot {
    /// The queue's index in the dispatcher.
    index: QueueIndex,
    name: Arc<str>,
    queue: Arc<dyn Queue>,
    /// The handler that new jobs run.
    handler: Arc<dyn Handler>,
    /// The queue's parking as a queue of its own; `None` if it has no parking.
    parking: Option<Arc<dyn Queue>>,
}

#[derive(Clone)]
struct OpenParking {
    /// The name of the queue that the parking belongs to.
    of: String,
    path: PathBuf,
    /// Expires once the queue of the parking is closed.
    parking: Weak<Parking>,
}

/// What `dispatch` has to do for a reload.
#[derive(Default)]
pub(crate) struct Plan {
    /// The queues that keep their place under other rules.
    pub changed: Vec<Changed>,
    /// The queues that retire.
    pub retired: Vec<QueueIndex>,
    /// The new queues, opened and ready.
    pub added: Vec<Opened>,
}

/// A queue that keeps its place.
pub(crate) struct Changed {
    pub index: QueueIndex,
    pub rules: QueueRules,
    pub handler_name: String,
    /// The handler that new jobs run; `None` if it stays the same.
    pub handler: Option<Arc<dyn Handler>>,
    pub parking_max_bytes: u64,
}

impl Plan {
    /// Returns the dispatcher's part of the plan. `seen` is the next free index.
    pub fn changes(&mut self, settings: &Settings, seen: QueueIndex) -> QueueChanges {
        let changed = self.changed.iter().map(|changed| (changed.index, changed.rules.clone())).collect();
        let mut next = seen;
        let mut added = Vec::with_capacity(self.added.len());
        for Opened { lane, parking } in &mut self.added {
            let Some(settings) = settings.queues.get(&*lane.name) else { continue };
            let parking = parking.as_mut().map(|parking| parking.rules(next));
            next += 1 + usize::from(parking.is_some());
            added.push(NewQueue { rules: queue_rules(settings, &lane.name, lane.limits), parking });
        }
        QueueChanges { changed, retired: self.retired.clone(), added }
    }
}

impl Queues {
    /// Returns the queues that an engine starts with, in this order. All parkings come after all queues.
    pub fn at_start(lanes: &[Opened], settings: &Settings) -> Self {
        let mut queues = Self::default();
        let parkings = lanes.iter().filter(|opened| opened.parking.is_some()).count();
        for (index, opened) in lanes.iter().enumerate() {
            queues.enter(index, opened, settings);
        }
        queues.seen = lanes.len() + parkings;
        queues
    }

    /// Returns all queues in force: the queues by name, then their parkings.
    pub fn all(&self) -> Vec<Arc<dyn Queue>> {
        let queues = self.slots.values().map(|slot| Arc::clone(&slot.queue));
        queues.chain(self.slots.values().filter_map(|slot| slot.parking.clone())).collect()
    }

    /// Returns the open parkings, including those of retiring queues: the name of each queue, and its parking's file.
    pub fn open_parkings(&self) -> impl Iterator<Item = (String, PathBuf)> {
        let open = self.parkings.iter().filter(|open| open.parking.strong_count() > 0);
        open.map(|open| (open.of.clone(), open.path.clone()))
    }

    /// Returns the number of queues that there ever were, parkings included, which is the next free index.
    pub fn seen(&self) -> usize {
        self.seen
    }

    fn enter(&mut self, index: QueueIndex, opened: &Opened, settings: &Settings) {
        let Lane { name, queue: Some(queue), handler: Some(handler), parking, .. } = &opened.lane else { return };
        let parked = opened.parking.as_ref().and_then(|parking| parking.lane.queue.clone());
        let (queue, handler) = (Arc::clone(queue), Arc::clone(handler));
        let slot = QueueSlot { index, name: Arc::clone(name), queue, handler, parking: parked };
        self.slots.insert(name.to_string(), slot);
        let path = settings.queues.get(&**name).and_then(|queue| queue.parking.as_deref());
        if let (Some(parking), Some(path)) = (parking, path) {
            self.parkings.push(OpenParking { of: name.to_string(), path: absolute(path), parking: Arc::downgrade(parking) });
        }
    }

    /// Compares the settings and opens the queues that are new. Returns the plan, and the queues in force once the plan
    /// is carried out. Blocks as long as [`lane::open`] and [`lane::refused`] do.
    ///
    /// # Errors
    ///
    /// A queue that cannot be opened, a parking that a retiring queue still has open, or more queues
    /// than a process may see.
    pub fn plan(&self, old: &Settings, new: &Settings, registry: &Registry) -> Result<(Plan, Self), ReloadError> {
        let (mut plan, mut after) = (Plan::default(), self.clone());
        after.parkings.retain(|open| open.parking.strong_count() > 0);
        let mut coming = Vec::new();
        for (name, slot) in &self.slots {
            let before = old.queues.get(name);
            match (before, new.queues.get(name)) {
                (Some(before), Some(settings)) if is_same_queue(before, settings) => {
                    let handler = other_handler(slot, old, new, settings, registry)
                        .map_err(|error| ReloadError::Open { queue: name.clone(), error })?;
                    if handler.is_some() || before != settings {
                        plan.changed.push(Changed {
                            index: slot.index,
                            rules: queue_rules(settings, &slot.name, slot.queue.limits()),
                            handler_name: settings.handler.clone(),
                            handler: handler.clone(),
                            parking_max_bytes: settings.parking_max_bytes,
                        });
                    }
                    if let (Some(handler), Some(slot)) = (handler, after.slots.get_mut(name)) {
                        slot.handler = handler;
                    }
                    continue;
                }
                (_, Some(settings)) => coming.push((name, settings)),
                (_, None) => {}
            }
            plan.retired.push(slot.index);
            after.slots.remove(name);
        }
        coming.extend(new.queues.iter().filter(|(name, _)| !self.slots.contains_key(*name)));
        for (name, settings) in coming {
            if let Some(path) = settings.parking.as_deref()
                && after.parkings.iter().any(|open| open.of == *name && open.path == absolute(path))
            {
                return Err(ReloadError::ParkingInUse { queue: name.clone(), path: path.display().to_string() });
            }
            let opened =
                lane::open(name, settings, registry).map_err(|error| ReloadError::Open { queue: name.clone(), error })?;
            after.enter(after.seen, &opened, new);
            after.seen += 1 + usize::from(opened.parking.is_some());
            plan.added.push(opened);
        }
        if let Some((name, error)) = lane::refused(plan.added.iter().map(|opened| &opened.lane)) {
            return Err(ReloadError::Open { queue: name.to_string(), error: error.into() });
        }
        if !plan.added.is_empty() && after.seen > MOST_QUEUES {
            return Err(ReloadError::TooMany { seen: after.seen, most: MOST_QUEUES });
        }
        Ok((plan, after))
    }
}

/// Returns the handler that the queue is to have from now on; `None` if it stays the same. A handler in code is another one
/// if it was registered anew, and a pipeline if its programs differ: each reload compiles them anew.
fn other_handler(
    slot: &QueueSlot,
    old: &Settings,
    new: &Settings,
    settings: &QueueSettings,
    registry: &Registry,
) -> Result<Option<Arc<dyn Handler>>, StartError> {
    let name = &settings.handler;
    let handler = lane::handler(&slot.name, name, registry)?;
    let is_same = match (old.handlers.get(name), new.handlers.get(name)) {
        (None, None) => Arc::ptr_eq(&handler, &slot.handler),
        (before, after) => before == after && old.queues.get(&*slot.name).is_some_and(|queue| queue.handler == *name),
    };
    Ok((!is_same).then_some(handler))
}

/// Returns whether the two are the same queue under different rules. Whether order is kept is a property of the queue:
/// messages already under way cannot be put in order afterwards.
pub fn is_same_queue(old: &QueueSettings, new: &QueueSettings) -> bool {
    old.source == new.source && old.parking == new.parking && keeps_order(old) == keeps_order(new)
}

fn keeps_order(settings: &QueueSettings) -> bool {
    // A FIFO queue keeps its groups in order whatever `order_wait` says.
    let has_groups = match &settings.source {
        Source::Sqlite { group, .. } | Source::Memory { group, .. } => group.is_some(),
        Source::Sqs(_) => false,
    };
    has_groups || !settings.order_wait.is_zero()
}

/// Returns the path by which a parking file is compared with others.
pub(super) fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Context, Environment, FileFormat};

    fn settings(folder: &Path, queues: &str) -> Settings {
        let context = Context { environment: &Environment::default(), handlers: &Registry::new() };
        let text = format!(
            "[queues.invoice]\nsource = 'sqlite'\npath = 'FOLDER/q.db'\nhandler = 'order'\n{queues}\n[partners.default]\ndeliver = 'discard'\n"
        );
        let text = text.replace("FOLDER", folder.to_str().unwrap());
        config::parse(&text, FileFormat::Toml, "octoconf.toml", &context).unwrap().settings
    }

    fn start(settings: &Settings) -> (Vec<Opened>, Queues) {
        let open = |(name, queue): (&String, &QueueSettings)| lane::open(name, queue, &Registry::new()).unwrap();
        let opened: Vec<_> = settings.queues.iter().map(open).collect();
        let queues = Queues::at_start(&opened, settings);
        (opened, queues)
    }

    const STOCK: &str =
        "[queues.stock]\nsource = 'sqlite'\npath = 'FOLDER/q.db'\nhandler = 'product'\nparking = 'FOLDER/parked.db'";

    #[test]
    fn what_differs_is_changed_replaced_added_or_retired() {
        let folder = tempfile::tempdir().unwrap();
        let one = settings(folder.path(), "");
        let (_opened, queues) = start(&one);
        let plan = |old: &Settings, queues: &Queues, new: &Settings| {
            let (plan, after) = queues.plan(old, new, &Registry::new()).unwrap();
            let names = plan.added.iter().map(|opened| opened.lane.name.to_string()).collect::<Vec<_>>();
            let changed = plan.changed.iter().map(|changed| (changed.index, changed.handler.is_some())).collect::<Vec<_>>();
            ((changed, plan.retired.clone(), names), after, plan)
        };
        assert_eq!(plan(&one, &queues, &one).0, (vec![], vec![], vec![]));
        let slower = settings(folder.path(), "concurrency = 1");
        assert_eq!(plan(&one, &queues, &slower).0, (vec![(0, false)], vec![], vec![]));
        let (seen, after, kept) = plan(&one, &queues, &settings(folder.path(), STOCK));
        assert_eq!((seen, after.seen()), ((vec![], vec![], vec!["stock".to_owned()]), 3), "its parking has an index of its own");
        let (seen, later, _kept) = plan(&settings(folder.path(), STOCK), &after, &settings(folder.path(), "order_wait = '0s'"));
        assert_eq!((seen, later.seen()), ((vec![], vec![0, 1], vec!["invoice".to_owned()]), 4));
        drop(kept);
    }

    #[test]
    fn a_parking_is_of_one_queue_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let (with, without) = (settings(folder.path(), STOCK), settings(folder.path(), ""));
        let (opened, queues) = start(&with);
        let (_, after) = queues.plan(&with, &without, &Registry::new()).unwrap();
        drop(queues);
        let again = after.plan(&without, &with, &Registry::new()).err().unwrap();
        assert!(matches!(again, ReloadError::ParkingInUse { .. }), "{again}");
        assert!(again.to_string().starts_with("queues.stock.parking: "), "{again}");
        // The retired queue is gone.
        drop(opened);
        assert!(after.plan(&without, &with, &Registry::new()).is_ok());
    }

    #[test]
    fn a_process_takes_so_many_queues_in_its_life() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (settings(folder.path(), ""), settings(folder.path(), STOCK));
        let (_opened, mut queues) = start(&one);
        queues.seen = MOST_QUEUES - 2;
        assert!(queues.plan(&one, &two, &Registry::new()).is_ok());
        queues.seen = MOST_QUEUES - 1;
        let refused = queues.plan(&one, &two, &Registry::new()).err().unwrap();
        assert!(matches!(refused, ReloadError::TooMany { seen: 1001, .. }), "{refused}");
        assert!(queues.plan(&one, &settings(folder.path(), "concurrency = 2"), &Registry::new()).is_ok());
    }
}
