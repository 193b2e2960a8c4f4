//! The meaning of SQS's errors for the engine: wait, look the queue up again, or report to a person.
//!
//! This file has what a caller gets; `answer` reads it from the server's answers, and `code` knows the codes. No text in
//! these modules quotes more than a line of an answer, because SQS answers to a refused signature with all that was signed,
//! tokens included.

use self::answer::quote;
use self::code::{CodeClass, bare, class_of};
use super::credentials::Keys;
use crate::queue::{EntryError, QueueError};

mod answer;
mod code;
#[cfg(test)]
mod tests;

pub use self::answer::{blames_keys, document};

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Waiting may help.
    Transient(String),
    /// The queue does not exist, or no longer exists.
    Missing(String),
    /// The request holds more than the service accepts at once.
    TooLarge(String),
    /// The service does not accept the content of the message.
    Content(String),
    /// A person has to act.
    Refused(String),
}

impl Fault {
    /// Converts the fault to the error type of all queues.
    pub fn of(self, queue: &str, what: &'static str) -> QueueError {
        let queue = queue.to_owned();
        match self {
            Self::Transient(why) => QueueError::Unavailable { queue, what, why },
            Self::Missing(why) => QueueError::Missing { queue, why },
            Self::TooLarge(why) | Self::Content(why) | Self::Refused(why) => QueueError::Refused { queue, what, why },
        }
    }

    /// Returns the reason, as a sentence for the operator.
    pub fn why(&self) -> &str {
        match self {
            Self::Transient(why) | Self::Missing(why) | Self::TooLarge(why) | Self::Content(why) | Self::Refused(why) => why,
        }
    }

    /// Returns the same fault with its text changed.
    pub fn map(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Transient(why) => Self::Transient(change(why)),
            Self::Missing(why) => Self::Missing(change(why)),
            Self::TooLarge(why) => Self::TooLarge(change(why)),
            Self::Content(why) => Self::Content(change(why)),
            Self::Refused(why) => Self::Refused(change(why)),
        }
    }
}

/// Why one entry of a batch failed, while others may have gone well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryFault {
    /// The receipt is no longer valid, or the message is gone.
    Gone,
    /// The entry may succeed when it is tried again.
    Transient(String),
    /// The queue does not exist; the entry itself may be right.
    Missing(String),
    /// A person has to act, on keys, a policy or a key of KMS for example; the entry itself may be right.
    Denied(String),
    /// SQS will never accept the entry as it is.
    Refused(String),
}

impl EntryFault {
    /// Classifies the failure of an entry. `sender` is whether SQS says that
    /// the fault is ours; `keys` are those that the request was signed with.
    pub fn of(code: &str, message: &str, sender: bool, keys: &Keys) -> Self {
        let handle = message.contains("ReceiptHandle") || message.to_ascii_lowercase().contains("receipt handle");
        match bare(code) {
            "ReceiptHandleIsInvalid" | "MessageNotInflight" => Self::Gone,
            // "The receipt handle has expired", on FIFO queues.
            "InvalidParameterValue" if handle => Self::Gone,
            _ if sender => match class_of(code) {
                CodeClass::Transient => Self::Transient(quote(code, message, keys)),
                CodeClass::Missing => Self::Missing(quote(code, message, keys)),
                CodeClass::Signature => Self::Denied(quote(code, message, keys)),
                CodeClass::Refused(advice) => Self::Denied(format!("{}{advice}", quote(code, message, keys))),
                CodeClass::TooLarge | CodeClass::Content | CodeClass::Unknown => Self::Refused(quote(code, message, keys)),
            },
            _ => Self::Transient(quote(code, message, keys)),
        }
    }
}

impl EntryFault {
    /// Returns why, if waiting alone does not help: the queue does not exist, a person has to act, or SQS never accepts the
    /// entry. Otherwise returns the fault.
    pub fn lasting(self) -> Result<String, Self> {
        match self {
            Self::Missing(why) | Self::Denied(why) | Self::Refused(why) => Ok(why),
            Self::Gone | Self::Transient(_) => Err(self),
        }
    }
}

impl From<Fault> for EntryFault {
    /// Converts the failure of a request that had only this entry.
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Transient(why) => Self::Transient(why),
            Fault::Missing(why) => Self::Missing(why),
            Fault::TooLarge(why) | Fault::Content(why) | Fault::Refused(why) => Self::Refused(why),
        }
    }
}

impl From<EntryFault> for EntryError {
    fn from(fault: EntryFault) -> Self {
        match fault {
            EntryFault::Gone => Self::Gone,
            // Tried again until the lease ends, which costs little, since SQS may allow by then what it refuses now.
            EntryFault::Transient(why) | EntryFault::Missing(why) | EntryFault::Denied(why) | EntryFault::Refused(why) => {
                Self::Failed(why)
            }
        }
    }
}
