//! How many delivery threads the limits on tasks allow (each thread is a task).
//!
//! Delivery threads are started last, and by the hundred. If they took all that the system grants,
//! none would be left for further pollers and ackers, or for any other thread that is started later.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit, getuid};
use rustix::thread::{CapabilitySet, capabilities};

use super::lane::Lane;
use crate::dispatch::QueueRules;

/// The number of the engine's own threads and of those that look names up.
const OWN_THREADS: usize = 16;

/// The number of threads that are not delivery threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Others {
    /// The threads without which nothing moves.
    first: usize,
    /// The further pollers and ackers that are started under load.
    more: usize,
}

impl Others {
    /// Counts these threads for `handlers` handler threads. `lanes` are the queues and their parkings.
    pub fn of<'a>(handlers: usize, lanes: impl Iterator<Item = &'a Lane>, queues: &[QueueRules]) -> Self {
        let around = |lane: &Lane| 1 + usize::from(lane.handler.is_some()) + usize::from(lane.parking.is_some());
        let more = |queue: &QueueRules| queue.pollers.saturating_sub(1) + queue.ackers.saturating_sub(1);
        Self { first: OWN_THREADS + handlers + lanes.map(around).sum::<usize>(), more: queues.iter().map(more).sum() }
    }
}

/// Returns the number of delivery threads to use: `wanted`, or what the limits on tasks leave. Logs if that is less.
pub fn delivery_threads(wanted: usize, others: Others) -> usize {
    let of_cgroups = left_by_cgroups(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"));
    let Some(left) = left_to_user().into_iter().chain(of_cgroups).min() else { return wanted };
    let threads = within(left, wanted, others);
    if threads < wanted {
        log::warn!(
            "{wanted} delivery threads need more tasks than the {left} that this process may still have, some of which are for all else: \
             {threads} are used; raise the limit (TasksMax, ulimit -u)"
        );
    }
    threads
}

/// Returns how many of the `left` tasks, at most `wanted`, are for delivery threads; at
/// least 1. Further pollers and ackers get at most half of what the first threads leave.
fn within(left: usize, wanted: usize, Others { first, more }: Others) -> usize {
    let left = left.saturating_sub(first);
    wanted.min(left - more.min(left / 2)).max(1)
}

/// Returns what `ulimit -u` leaves, which counts the tasks of all the user's processes.
/// `None` if there is no such limit, or if it does not apply to this process.
fn left_to_user() -> Option<usize> {
    let limit = usize::try_from(getrlimit(Resource::Nproc).current?).ok()?;
    let exempt = CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_RESOURCE;
    let is_exempt = getuid().is_root() || capabilities(None).is_ok_and(|sets| sets.effective.intersects(exempt));
    (!is_exempt).then(|| limit.saturating_sub(tasks_of_user(&getuid().as_raw().to_string())))
}

/// Counts the tasks of the user's processes, as far as this process can see them.
fn tasks_of_user(user: &str) -> usize {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let statuses = processes.filter_map(|process| fs::read_to_string(process.path().join("status")).ok());
    statuses
        .filter(|status| field(status, "Uid:") == Some(user))
        .filter_map(|status| field(&status, "Threads:")?.parse::<usize>().ok())
        .sum()
}

/// Returns the first word of a field of `/proc/PID/status`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()
}

/// Returns what is left of `pids.max` (`TasksMax`) in the narrowest of the control groups that this process is
/// in, of either version. A container may see its own group as the topmost, whatever the group is called outside.
fn left_by_cgroups(list: &Path, mounted: &Path) -> Option<usize> {
    let list = fs::read_to_string(list).unwrap_or_default();
    let groups = list.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let is_of_tasks = controllers.is_empty() || controllers.split(',').any(|controller| controller == "pids");
        is_of_tasks.then(|| (mounted.join(controllers), path.trim_start_matches('/')))
    });
    let folders = groups.flat_map(|(root, path)| Path::new(path).ancestors().map(move |group| root.join(group)));
    folders.filter_map(|folder| left_in(&folder)).min()
}

/// Returns what is left in one control group; `None` if it has no limit (`max`).
fn left_in(folder: &Path) -> Option<usize> {
    let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<usize>().ok();
    Some(number("pids.max")?.saturating_sub(number("pids.current")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_together_fit_the_limit() {
        let others = Others { first: 40, more: 22 };
        assert_eq!(within(8192, 1024, others), 1024);
        assert_eq!(within(1024, 1024, others), 1024 - 62);
        assert_eq!(within(100, 1024, others), 38);
        assert_eq!(within(60, 1024, others), 10, "half of what is left of a low limit");
        assert_eq!((within(40, 1024, others), within(0, 1024, others)), (1, 1), "whatever may come of it");
        for left in 42..2000 {
            assert!(40 + within(left, 1024, others) <= left, "{left}");
        }
    }

    #[test]
    fn the_narrowest_control_group_counts() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let left = |list: &str| {
            write("list", list);
            left_by_cgroups(&folder.path().join("list"), folder.path())
        };
        for (group, max, current) in [("a", "500\n", "100\n"), ("a/b", "max\n", "90\n"), ("a/b/c", "450\n", "10\n")] {
            write(&format!("{group}/pids.max"), max);
            write(&format!("{group}/pids.current"), current);
        }
        assert_eq!(left("0::/a/b/c\n"), Some(400));
        assert_eq!(left("0::/a/b\n1:name=systemd:/a\n"), Some(400));
        assert_eq!((left("0::/\n"), left("0::/elsewhere\n"), left("")), (None, None, None));
        write("pids/pids.max", "64\n");
        write("pids/pids.current", "80\n");
        assert_eq!(
            left("8:cpu,cpuacct:/a\n7:pids:/docker/1\n0::/a\n"),
            Some(0),
            "a group that a container does not see by its name"
        );
    }

    #[test]
    fn the_threads_of_a_user_are_counted() {
        let (end, ended) = crossbeam_channel::bounded::<()>(0);
        let user = getuid().as_raw().to_string();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        assert_eq!(field(&status, "Uid:"), Some(&*user));
        std::thread::scope(|scope| {
            // Each thread ends once the sender is dropped.
            (0..3).for_each(|_| drop(scope.spawn(|| ended.recv())));
            assert!(tasks_of_user(&user) >= 4);
            drop(end);
        });
    }
}
