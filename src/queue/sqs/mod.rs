//! Queues of AWS SQS.

pub mod credentials;
