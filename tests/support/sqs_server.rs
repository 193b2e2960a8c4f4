//! A real server that speaks SQS, for this test process: it is started on a free loopback
//! port, and ends with the process.
//!
//! `scripts/test` installs it into `target/sqs-server`. A test that needs it fails without it, and is never skipped.
//! It differs from AWS in two ways: deleting twice with one receipt fails, and a long poll whose caller has gone
//! still takes the next message.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};
use ureq::Agent;

/// The server. It ends when this value is dropped. If that never happens (a static, a panic, `kill -9`), it ends with
/// the process, since it watches a pipe.
pub struct SqsServer {
    process: Child,
    output: Mutex<BufReader<ChildStdout>>,
    port: u16,
    agent: Agent,
}

/// The service's answer to a call that it refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub body: String,
}

impl SqsServer {
    /// Returns the server that the tests of this process share. Only the names of their queues keep the tests apart.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<SqsServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Starts a server for one test, which may freeze it.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server whose clock stands still until [`SqsServer::pass`] moves it. Only a long
    /// poll sees its own wait pass.
    pub fn start_with_manual_clock() -> Self {
        Self::start_with(&["--manual-clock"])
    }

    fn start_with(arguments: &[&str]) -> Self {
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = top.join("target/sqs-server/bin/python");
        assert!(python.exists(), "{} is missing: scripts/test installs the SQS server that this test needs", python.display());
        let mut process = Command::new(python)
            .arg(top.join("tests/support/sqs_server.py"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the SQS server starts");
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let port = line
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("the SQS server did not start ({:?}): see its errors above", process.wait()));
        let config =
            Agent::config_builder().proxy(None).http_status_as_error(false).timeout_global(Some(Duration::from_secs(60)));
        Self { process, output: Mutex::new(output), port, agent: Agent::new_with_config(config.build()) }
    }

    /// Returns the `endpoint` for the configuration. The URLs of queues contain the host through which the server was
    /// asked, so that a client that comes through a proxy keeps using it.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Creates a queue whose name starts with `name`. If `name` ends in `.fifo`, it is a FIFO queue.
    pub fn queue(&self, name: &str, attributes: &[(&str, &str)]) -> TestQueue<'_> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let (stem, fifo) = name.strip_suffix(".fifo").map_or((name, ""), |stem| (stem, ".fifo"));
        let name = format!("{stem}-{number}{fifo}");
        let mut attributes: Map<String, Value> =
            attributes.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        if !fifo.is_empty() {
            attributes.insert("FifoQueue".into(), json!("true"));
        }
        let made = self.call("CreateQueue", &json!({ "QueueName": name, "Attributes": attributes }));
        TestQueue { server: self, url: made["QueueUrl"].as_str().unwrap().to_owned(), name }
    }

    /// Returns a queue that exists already.
    pub fn existing(&self, name: &str, url: &str) -> TestQueue<'_> {
        TestQueue { server: self, url: url.to_owned(), name: name.to_owned() }
    }

    /// Makes a call that must succeed, in the JSON protocol and unsigned. It does not use the code under
    /// test, which it is there to check.
    pub fn call(&self, action: &str, arguments: &Value) -> Value {
        self.try_call(action, arguments).unwrap_or_else(|refusal| panic!("{action} {arguments}: {refusal:?}"))
    }

    pub fn try_call(&self, action: &str, arguments: &Value) -> Result<Value, Refusal> {
        let request = self
            .agent
            .post(self.endpoint())
            .header("x-amz-target", format!("AmazonSQS.{action}"))
            .header("content-type", "application/x-amz-json-1.0");
        let mut answer = request.send(arguments.to_string()).expect("the SQS server answers");
        let body = answer.body_mut().read_to_string().unwrap();
        match answer.status().as_u16() {
            200 if body.is_empty() => Ok(Value::Null),
            200 => Ok(serde_json::from_str(&body).unwrap()),
            status => Err(Refusal { status, body }),
        }
    }

    /// Moves the clock of a server with a manual clock, without waiting.
    pub fn pass(&self, time: Duration) {
        let mut output = self.output.lock().unwrap();
        writeln!(self.process.stdin.as_ref().unwrap(), "{}", time.as_secs_f64()).unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "passed\n");
    }

    /// Freezes the server: connections stay open and are accepted, but nothing is answered.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes after [`SqsServer::freeze`].
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

impl Drop for SqsServer {
    fn drop(&mut self) {
        // SIGKILL, which ends a frozen server too. The server keeps everything in memory.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the environment in which the program finds keys and a region for the server, and nothing else.
pub fn aws_environment() -> [(&'static str, &'static str); 6] {
    [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ]
}

/// A queue as its producers and the test's checks see it.
pub struct TestQueue<'server> {
    server: &'server SqsServer,
    pub name: String,
    pub url: String,
}

impl TestQueue<'_> {
    pub fn is_fifo(&self) -> bool {
        self.name.ends_with(".fifo")
    }

    pub fn arn(&self) -> String {
        self.attribute("QueueArn").as_str().unwrap().to_owned()
    }

    /// Sends bodies, in order, in tens; returns the ids of the messages.
    pub fn send(&self, bodies: &[impl AsRef<str>]) -> Vec<String> {
        self.send_entries(bodies.iter().map(|body| json!({ "MessageBody": body.as_ref() })).collect())
    }

    /// Sends pairs of group and body, in order, in tens, each as a message of its own whatever it contains;
    /// returns the ids of the messages.
    pub fn send_to_groups(&self, messages: &[(impl AsRef<str>, impl AsRef<str>)]) -> Vec<String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let entries = messages.iter().map(|(group, body)| {
            let unique = COUNT.fetch_add(1, Ordering::Relaxed).to_string();
            json!({ "MessageBody": body.as_ref(), "MessageGroupId": group.as_ref(), "MessageDeduplicationId": unique })
        });
        self.send_entries(entries.collect())
    }

    /// Sends entries of SendMessageBatch, in tens, unchanged except for their `Id`; returns the ids of the messages.
    pub fn send_entries(&self, mut entries: Vec<Value>) -> Vec<String> {
        let mut ids = Vec::with_capacity(entries.len());
        for batch in entries.chunks_mut(10) {
            for (at, entry) in batch.iter_mut().enumerate() {
                entry["Id"] = json!(at.to_string());
            }
            let sent = self.call("SendMessageBatch", json!({ "Entries": batch }));
            assert_eq!(sent["Failed"].as_array().map_or(0, Vec::len), 0, "{sent}");
            ids.extend(
                sent["Successful"].as_array().unwrap().iter().map(|entry| entry["MessageId"].as_str().unwrap().to_owned()),
            );
        }
        ids
    }

    /// Receives up to ten messages with all their attributes, as the service's JSON shows them.
    pub fn receive(&self, arguments: Value) -> Vec<Value> {
        let mut asked = json!({ "MaxNumberOfMessages": 10, "AttributeNames": ["All"], "MessageAttributeNames": ["All"] });
        asked.as_object_mut().unwrap().extend(arguments.as_object().unwrap().clone());
        self.call("ReceiveMessage", asked)["Messages"].as_array().cloned().unwrap_or_default()
    }

    /// Receives and deletes everything visible.
    pub fn drain(&self) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let some = self.receive(json!({}));
            if some.is_empty() {
                return all;
            }
            for message in &some {
                self.call("DeleteMessage", json!({ "ReceiptHandle": message["ReceiptHandle"] }));
            }
            all.extend(some);
        }
    }

    /// Returns the numbers of visible, hidden and delayed messages.
    pub fn counts(&self) -> (u64, u64, u64) {
        let of = |name: &str| self.attribute(name).as_str().unwrap().parse().unwrap();
        (of("ApproximateNumberOfMessages"), of("ApproximateNumberOfMessagesNotVisible"), of("ApproximateNumberOfMessagesDelayed"))
    }

    pub fn set_attributes(&self, attributes: Value) {
        self.call("SetQueueAttributes", json!({ "Attributes": attributes }));
    }

    pub fn delete(&self) {
        self.call("DeleteQueue", json!({}));
    }

    /// Makes a call about this queue that must succeed.
    pub fn call(&self, action: &str, mut arguments: Value) -> Value {
        arguments["QueueUrl"] = json!(self.url);
        self.server.call(action, &arguments)
    }

    fn attribute(&self, name: &str) -> Value {
        self.call("GetQueueAttributes", json!({ "AttributeNames": [name] }))["Attributes"][name].take()
    }
}
