//! Receives and deletes in tens with AWS's own client until the given number of messages is
//! deleted. Called by `scripts/bench`.
//!
//! `octoconf-bench-aws-sdk ENDPOINT QUEUE_URL MESSAGES` prints as JSON the CPU time of the process in microseconds, and
//! the number of messages to which it belongs. It uses one task on one thread, the cheapest way to use the client.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Builder, Credentials, Region};
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, url, messages] = arguments.as_slice() else { panic!("ENDPOINT QUEUE_URL MESSAGES") };
    let messages: usize = messages.parse().expect("a number of messages");
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new("test", "test", None, None, "bench"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let client = Client::from_conf(config);

    // A service makes its connections once in its life, so the first third of the messages is not counted.
    let mut start = None;
    let mut deleted = 0;
    while deleted < messages {
        if start.is_none() && deleted >= messages / 3 {
            start = Some((deleted, cpu_micros()));
        }
        let received = client
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(10)
            .wait_time_seconds(1)
            .message_attribute_names("All")
            .message_system_attribute_names("All".into())
            .send()
            .await
            .expect("a receive");
        let entries = received.messages().iter().enumerate().map(|(at, message)| {
            let handle = message.receipt_handle().expect("a handle");
            DeleteMessageBatchRequestEntry::builder().id(at.to_string()).receipt_handle(handle).build().expect("all is there")
        });
        let entries: Vec<_> = entries.collect();
        if !entries.is_empty() {
            let count = entries.len();
            let ended = client.delete_message_batch().queue_url(url).set_entries(Some(entries)).send().await.expect("a delete");
            assert_eq!(ended.successful().len(), count, "{:?}", ended.failed());
            deleted += count;
        }
    }
    let (before, start) = start.expect("more than the warm-up");
    println!("{{\"cpu_us\":{},\"counted\":{}}}", cpu_micros() - start, deleted - before);
}

fn cpu_micros() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}
