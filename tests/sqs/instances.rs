//! A fleet on one FIFO queue whose groups are the accounts. Each group is held by one instance at a time, and is handed
//! over when an instance stops or dies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::support::partner::{Connection, NO_CONTENT, Partner};
use crate::support::program::{Workspace, until};
use crate::support::sqs_server::{SqsServer, TestQueue, aws_environment};
use parking_lot::Mutex;
use serde_json::{Value, json};

const GROUPS: usize = 500;
/// The number of messages of each group, and the number of each that are sent together: the tests' server becomes
/// slower with the depth of a queue.
const EACH: usize = 6;
const TOGETHER: usize = 2;
/// More messages are sent once no more than this number is left.
const LOW: u64 = 300;

/// The instance that is killed in the middle of the run, and the one that is stopped.
const KILLED: &str = "1";
const STOPPED: &str = "2";

/// What the partners accepted.
#[derive(Default)]
struct Books {
    /// The first deliveries of each group, in order.
    groups: BTreeMap<String, Vec<usize>>,
    /// The instance that made each first delivery.
    first: BTreeMap<(String, usize), String>,
    /// Repeated deliveries.
    again: Vec<(String, usize)>,
}

impl Books {
    fn accept(&mut self, instance: &str, payload: &Value) {
        let (group, number) = (payload["account"].as_str().unwrap(), payload["n"].as_u64().unwrap() as usize);
        let key = (group.to_owned(), number);
        if self.first.contains_key(&key) {
            self.again.push(key);
            return;
        }
        self.groups.entry(key.0.clone()).or_default().push(number);
        self.first.insert(key, instance.to_owned());
    }
}

/// A partner that accepts everything and records it.
fn partner(books: &Arc<Mutex<Books>>) -> Partner {
    let books = books.clone();
    Partner::start(move |mut connection: Connection| {
        while let Some(request) = connection.request() {
            let instance = request.header("x-instance").unwrap().to_owned();
            let payloads: Vec<Value> = serde_json::from_str(&request.body).unwrap();
            let mut books = books.lock();
            payloads.iter().for_each(|payload| books.accept(&instance, payload));
            drop(books);
            if !connection.send(NO_CONTENT) {
                break;
            }
        }
    })
}

fn workspace(instance: &str, queue: &TestQueue<'_>, dead: &TestQueue<'_>, partner: &Partner) -> Workspace {
    let text = format!(
        r#"
        [engine]
        delivery_threads = 32
        max_in_flight = 200
        [admin]
        listen = ""
        [queues.updates]
        name = "{}"
        endpoint = "{}"
        dead_letter = "{}"
        handler = "as_it_is"
        wait_time = "1s"
        visibility_timeout = "15s"
        [handlers.as_it_is]
        jq = "."
        [partners.default]
        deliver = "http"
        url = "http://{}/{{account}}"
        [partners.default.headers]
        x-instance = "{instance}"
        "#,
        queue.name,
        SqsServer::shared().endpoint(),
        dead.name,
        partner.address,
    );
    Workspace::new("octoconf.toml", &text).with_environment(&aws_environment())
}

#[test]
fn a_kill_and_a_stop_lose_nothing_and_keep_order() {
    let server = SqsServer::shared();
    let (queue, dead) = (server.queue("updates.fifo", &[]), server.queue("updates-dead.fifo", &[]));
    let books = Arc::new(Mutex::new(Books::default()));
    let partner = partner(&books);
    let rooms = ["0", KILLED, STOPPED, "3"].map(|instance| workspace(instance, &queue, &dead, &partner));
    let [zero, killed, stopped, three] = rooms.each_ref().map(|workspace| workspace.start(&["run"]));
    rooms.iter().for_each(|workspace| workspace.said(&["starting: "]));
    let logs = || rooms.iter().map(Workspace::log).collect::<String>();
    let at_work = || books.lock().first.values().cloned().collect::<BTreeSet<_>>();
    let delivered = |share: f64| {
        let enough = share * (GROUPS * EACH) as f64;
        until(
            || books.lock().first.len() as f64 >= enough,
            || format!("{} were delivered\n{}", books.lock().first.len(), logs()),
        );
    };
    let send = |numbers: std::ops::Range<usize>| {
        until(|| remaining(&queue) <= LOW, || format!("{} are left\n{}", remaining(&queue), logs()));
        for number in numbers {
            let body = |group: &String| json!({ "account": group, "n": number }).to_string();
            let groups = (0..GROUPS).map(|group| format!("shop-{group}"));
            queue.send_to_groups(&groups.map(|group| (group.clone(), body(&group))).collect::<Vec<_>>());
        }
    };

    send(0..TOGETHER);
    delivered(0.2);
    until(|| at_work().len() == rooms.len(), || format!("only {:?} had something to do\n{}", at_work(), logs()));
    killed.kill();
    send(TOGETHER..2 * TOGETHER);
    delivered(0.5);
    stopped.signal("TERM");
    assert_eq!(stopped.end(), Some(0), "{}", logs());
    send(2 * TOGETHER..EACH);
    delivered(1.0);
    until(|| remaining(&queue) == 0, || format!("{:?} stay on the queue\n{}", queue.counts(), logs()));
    for running in [zero, three] {
        running.signal("TERM");
        assert_eq!(running.end(), Some(0), "{}", logs());
    }

    let books = books.lock();
    assert_eq!((books.groups.len(), remaining(&dead)), (GROUPS, 0));
    for (group, numbers) in &books.groups {
        assert_eq!(*numbers, (0..EACH).collect::<Vec<_>>(), "{group}\n{}", logs());
    }
    for again in &books.again {
        assert_eq!(books.first[again], KILLED, "{again:?} came twice, and who delivered it first was not killed\n{}", logs());
    }
}

fn remaining(queue: &TestQueue<'_>) -> u64 {
    let (visible, hidden, delayed) = queue.counts();
    visible + hidden + delayed
}
