//! The table of the rows that move messages.

use serde_json::{Value, json};

/// The contenders, in the order of their figures.
const NAMES: [&str; 4] = [
    "sqs -> order -> discard -> delete",
    "our queue, receive and delete",
    "rusoto, receive and delete",
    "limit: aws-sdk-sqs on tokio",
];

/// The maximum number of requests per message.
const AIM_REQUESTS: f64 = 0.21;

/// The medians for one size of message.
pub struct Figures {
    pub size: String,
    pub runs: usize,
    /// The CPU time of each contender per message, in microseconds.
    pub cpu_us: [f64; 4],
    /// The CPU times of all contenders but the limit, as multiples of the limit's.
    pub of_limit: [f64; 3],
    pub requests_a_message: f64,
    /// The share of receives that returned no message.
    pub empty_polls: f64,
}

impl Figures {
    pub fn json(&self) -> Value {
        json!({
            "size": self.size, "runs": self.runs,
            "engine_cpu_us": self.cpu_us[0], "queue_cpu_us": self.cpu_us[1], "rusoto_cpu_us": self.cpu_us[2],
            "aws_sdk_cpu_us": self.cpu_us[3], "engine_of_aws_sdk": self.of_limit[0], "queue_of_aws_sdk": self.of_limit[1],
            "requests_a_message": self.requests_a_message, "empty_polls": self.empty_polls,
        })
    }
}

pub fn print(sizes: &[Figures]) {
    println!("{:41} {:>14} {:>10} {:>5}", "\nsqs: CPU of a message", "us", "of limit", "runs");
    for figures in sizes {
        for (who, name) in NAMES.iter().enumerate() {
            let of_limit = figures.of_limit.get(who).copied().unwrap_or(1.0);
            println!(
                "{:40} {:>14.1} {:>10.3} {:>5}",
                format!("{name}, {}", figures.size),
                figures.cpu_us[who],
                of_limit,
                figures.runs
            );
        }
        println!(
            "{:40} {:>14.3} {:>10.3}",
            format!("requests a message, {}", figures.size),
            figures.requests_a_message,
            figures.requests_a_message / AIM_REQUESTS
        );
        println!("{:40} {:>14.3}", format!("empty share of its polls, {}", figures.size), figures.empty_polls);
    }
}
