//! The bare calls of rusoto in a loop, including its own parser, over the HTTP client of the service.

use std::future::ready;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rusoto_core::request::{DispatchSignedRequestFuture, HttpDispatchError, HttpResponse};
use rusoto_core::signature::{SignedRequest, SignedRequestPayload};
use rusoto_core::{ByteStream, Client, DispatchSignedRequest, Region};
use rusoto_credential::StaticProvider;
use rusoto_sqs::{DeleteMessageBatchRequest, DeleteMessageBatchRequestEntry, ReceiveMessageRequest, Sqs as _, SqsClient};
use serde_json::Value;
use ureq::Agent;

use super::contend::Watch;

/// Receives and deletes until the given number of messages is deleted.
pub fn empty(endpoint: &str, url: &str, messages: u64) -> Value {
    let keys = StaticProvider::new_minimal("test".to_owned(), "test".to_owned());
    let region = Region::Custom { name: "eu-west-1".to_owned(), endpoint: endpoint.to_owned() };
    let agent = Agent::config_builder().http_status_as_error(false).proxy(None).build().new_agent();
    let client = SqsClient::new_with_client(Client::new_with(keys, Blocking(agent)), region);
    let receive = || ReceiveMessageRequest {
        attribute_names: Some(vec!["All".to_owned()]),
        max_number_of_messages: Some(10),
        message_attribute_names: Some(vec!["All".to_owned()]),
        queue_url: url.to_owned(),
        wait_time_seconds: Some(1),
        ..ReceiveMessageRequest::default()
    };
    let mut watch = Watch::new(messages);
    let mut deleted = 0;
    while deleted < messages {
        watch.at(deleted);
        let received = at_once(client.receive_message(receive())).expect("a receive").messages.unwrap_or_default();
        let entry = |(at, message): (usize, rusoto_sqs::Message)| DeleteMessageBatchRequestEntry {
            id: at.to_string(),
            receipt_handle: message.receipt_handle.expect("a handle"),
        };
        let entries: Vec<_> = received.into_iter().enumerate().map(entry).collect();
        if !entries.is_empty() {
            let request = DeleteMessageBatchRequest { entries, queue_url: url.to_owned() };
            let ended = at_once(client.delete_message_batch(request)).expect("a delete");
            assert!(ended.failed.is_empty(), "{:?}", ended.failed);
            deleted += ended.successful.len() as u64;
        }
    }
    watch.end(deleted)
}

/// Polls a future that is ready at its first poll, as all of them are here.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("rusoto waits for something"),
    }
}

struct Blocking(Agent);

impl DispatchSignedRequest for Blocking {
    fn dispatch(&self, request: SignedRequest, _: Option<Duration>) -> DispatchSignedRequestFuture {
        Box::pin(ready(send(&self.0, request).map_err(|error| HttpDispatchError::new(error.to_string()))))
    }
}

fn send(agent: &Agent, request: SignedRequest) -> Result<HttpResponse, ureq::Error> {
    let mut post = agent.post(format!("{}://{}{}", request.scheme(), request.hostname(), request.canonical_path()));
    for (name, values) in request.headers.iter().filter(|(name, _)| *name != "content-length") {
        for value in values {
            post = post.header(name, value.as_slice());
        }
    }
    let mut answer = match &request.payload {
        Some(SignedRequestPayload::Buffer(body)) => post.send(&**body)?,
        _ => post.send_empty()?,
    };
    let body = answer.body_mut().with_config().limit(u64::MAX).read_to_vec()?;
    Ok(HttpResponse {
        status: answer.status().as_u16().try_into().expect("a status"),
        body: ByteStream::from(body),
        headers: Default::default(),
    })
}
