//! The facts that SQS reports about a queue, and whether the service may start
//! on it. Called before the first receive; each function makes requests.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::call::LONGEST_LEASE;
use super::error::Fault;
use super::remote::{ATTR_ARN, ATTR_MAX_MESSAGE_SIZE, Named, RemoteQueue};
use super::{Count, Facts, QueueError, SqsQueue};

/// The largest number of messages in flight, on standard and FIFO queues (AWS).
const IN_FLIGHT: u64 = 120_000;

const COUNTS: [&str; 3] =
    ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"];

/// The redrive policy of a queue: JSON in one of its attributes.
#[derive(Debug, PartialEq, Eq)]
pub struct RedrivePolicy {
    /// The queue to which SQS moves messages.
    pub target: Option<Named>,
    /// The number of receives after which SQS moves a message there (`maxReceiveCount`).
    pub after: Option<u32>,
}

impl RedrivePolicy {
    /// Reads the policy of a queue; `None` if the queue has none.
    pub fn of(queue: &RemoteQueue) -> Result<Option<Self>, Fault> {
        Ok(Self::read(&queue.attributes(&["RedrivePolicy"])?))
    }

    /// Reads the policy of a queue with these attributes; `None` if there is none among them.
    pub fn read(attributes: &HashMap<String, String>) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Policy {
            dead_letter_target_arn: Option<String>,
            max_receive_count: Option<Value>,
        }
        let policy: Policy = serde_json::from_str(attributes.get("RedrivePolicy")?).ok()?;
        // AWS accepts and returns both a number and the same number in quotes.
        let after = policy.max_receive_count.and_then(|count| match count {
            Value::String(text) => text.parse().ok(),
            count => count.as_u64().and_then(|count| count.try_into().ok()),
        });
        Some(Self { target: policy.dead_letter_target_arn.as_deref().and_then(Named::of_arn), after })
    }
}

/// Returns how many messages the queue holds, as far as SQS knows.
pub fn count(queue: &RemoteQueue) -> Result<Count, Fault> {
    let attributes = queue.attributes(&COUNTS)?;
    let [visible, hidden, delayed] = COUNTS.map(|name| {
        let text = attributes.get(name).ok_or_else(|| Fault::Transient(format!("the answer has no {name}")))?;
        text.parse().map_err(|_| Fault::Transient(format!("{name} is no number")))
    });
    Ok(Count { visible: visible?, hidden: hidden?, delayed: delayed? })
}

impl SqsQueue {
    pub(super) fn read_facts(&self) -> Result<Facts, QueueError> {
        let failed = self.failed("read its attributes");
        let attributes = self
            .queue
            .attributes(&["RedrivePolicy", "MessageRetentionPeriod", ATTR_MAX_MESSAGE_SIZE, ATTR_ARN])
            .map_err(&failed)?;
        let policy = RedrivePolicy::read(&attributes);
        let longest_letter = self.dead.check(&self.name, attributes.get(ATTR_ARN), policy.as_ref())?;
        let seconds = |name| attributes.get(name).and_then(|text: &String| text.parse().ok()).map(Duration::from_secs);
        Ok(Facts {
            redrive_after: policy.and_then(|policy| policy.after),
            retention: seconds("MessageRetentionPeriod"),
            hidden_limit: Some(IN_FLIGHT),
            longest_lease: Some(LONGEST_LEASE),
            longest_message: Some(self.queue.most()),
            longest_letter,
            circulates: self.dead.is_nowhere(),
            forgets_parts: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redrive_policy_is_read_with_its_count_as_number_or_text() {
        let read = |policy: &str| RedrivePolicy::read(&HashMap::from([("RedrivePolicy".to_owned(), policy.to_owned())]));
        let target = Named::of_arn("arn:aws:sqs:eu-west-1:1:dead");
        for count in ["5", "\"5\""] {
            let policy = format!("{{\"deadLetterTargetArn\":\"arn:aws:sqs:eu-west-1:1:dead\",\"maxReceiveCount\":{count}}}");
            assert_eq!(read(&policy), Some(RedrivePolicy { target: target.clone(), after: Some(5) }));
        }
        assert_eq!(read("{}"), Some(RedrivePolicy { target: None, after: None }));
        assert_eq!(read("nonsense"), None);
        assert_eq!(RedrivePolicy::read(&HashMap::new()), None);
    }
}
