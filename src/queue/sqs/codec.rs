//! Requests of SQS's query protocol, built and signed by rusoto on the calling thread. Sends and parses nothing.
//!
//! This is the only file that knows rusoto. It is no longer maintained (RUSTSEC-2022-0071),
//! so it only writes parameters and signs them (SigV4): no connection, no runtime, no
//! parsing. Its futures are ready at their first poll, because the dispatcher that it is
//! given only keeps the request, and returns an empty answer that stands for an empty result.

use std::collections::HashMap;
use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use parking_lot::Mutex;
use rusoto_core::request::{DispatchSignedRequestFuture, HttpResponse};
use rusoto_core::signature::{SignedRequest, SignedRequestPayload};
use rusoto_core::{ByteStream, Client, DispatchSignedRequest, Region};
use rusoto_credential::StaticProvider;
use rusoto_sqs::{
    ChangeMessageVisibilityBatchRequest, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequest,
    DeleteMessageBatchRequestEntry, GetQueueAttributesRequest, GetQueueUrlRequest, MessageAttributeValue, ReceiveMessageRequest,
    SendMessageBatchRequest, SendMessageBatchRequestEntry, Sqs as _, SqsClient,
};

use super::call::{Call, Entry};
use super::content::data_type;
use super::credentials::Keys;
use crate::message::{Attribute, AttributeValue};

/// Builds requests for one server and region.
pub struct Codec {
    region: Region,
}

/// A request that is ready to be sent. It holds a signature and perhaps a session token, so it must never be shown.
pub struct Signed {
    pub url: String,
    /// The headers, with names in lower case; `host` is among them, since it is signed.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Bytes,
}

impl Codec {
    /// Creates a codec. `endpoint` is scheme and host, with a port if it is not the scheme's own.
    pub fn new(region: &str, endpoint: &str) -> Self {
        // Always a custom region: rusoto's list of regions ends in 2021.
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        Self { region: Region::Custom { name: region.to_owned(), endpoint } }
    }

    /// Builds a request and signs it with the time of the machine's clock. `None`
    /// only if rusoto makes no request of a call, which its code never does.
    pub fn sign(&self, call: &Call<'_>, keys: &Keys) -> Option<Signed> {
        let caught = Catch::default();
        let keys =
            StaticProvider::new(keys.access_key_id.clone(), keys.secret_access_key.clone(), keys.session_token.clone(), None);
        let client = SqsClient::new_with_client(Client::new_with(keys, caught.clone()), self.region.clone());
        build(&client, call);
        caught.0.lock().take().map(signed)
    }
}

fn build(client: &SqsClient, call: &Call<'_>) {
    match *call {
        Call::Url { name, owner } => drive(client.get_queue_url(GetQueueUrlRequest {
            queue_name: name.to_owned(),
            queue_owner_aws_account_id: owner.map(str::to_owned),
        })),
        Call::Attributes { url, names } => drive(client.get_queue_attributes(GetQueueAttributesRequest {
            attribute_names: Some(names.iter().map(|name| (*name).to_owned()).collect()),
            queue_url: url.to_owned(),
        })),
        Call::Receive { url, max, wait, lease } => drive(client.receive_message(ReceiveMessageRequest {
            attribute_names: Some(vec!["All".to_owned()]),
            max_number_of_messages: i64::try_from(max).ok(),
            message_attribute_names: Some(vec!["All".to_owned()]),
            queue_url: url.to_owned(),
            receive_request_attempt_id: None,
            visibility_timeout: i64::try_from(lease).ok(),
            wait_time_seconds: i64::try_from(wait).ok(),
        })),
        Call::Delete { url, handles } => {
            let entry = |(at, handle): (usize, &&str)| DeleteMessageBatchRequestEntry {
                id: at.to_string(),
                receipt_handle: (*handle).to_owned(),
            };
            let entries = handles.iter().enumerate().map(entry).collect();
            drive(client.delete_message_batch(DeleteMessageBatchRequest { entries, queue_url: url.to_owned() }));
        }
        Call::Hide { url, changes } => {
            let entry = |(at, (handle, hidden)): (usize, &(&str, u64))| ChangeMessageVisibilityBatchRequestEntry {
                id: at.to_string(),
                receipt_handle: (*handle).to_owned(),
                visibility_timeout: i64::try_from(*hidden).ok(),
            };
            let entries = changes.iter().enumerate().map(entry).collect();
            let request = ChangeMessageVisibilityBatchRequest { entries, queue_url: url.to_owned() };
            drive(client.change_message_visibility_batch(request));
        }
        Call::Send { url, entries } => {
            let entries = entries.iter().enumerate().map(|(at, entry)| to_send(at, entry)).collect();
            drive(client.send_message_batch(SendMessageBatchRequest { entries, queue_url: url.to_owned() }));
        }
    }
}

fn to_send(at: usize, entry: &Entry<'_>) -> SendMessageBatchRequestEntry {
    let attributes: HashMap<_, _> = entry.attributes.iter().map(attribute).collect();
    SendMessageBatchRequestEntry {
        delay_seconds: i64::try_from(entry.delay).ok().filter(|delay| *delay > 0),
        // Ids are positions, so two copies of one message in a batch never collide.
        id: at.to_string(),
        message_attributes: (!attributes.is_empty()).then_some(attributes),
        message_body: entry.body.to_owned(),
        message_deduplication_id: entry.deduplication.as_ref().map(ToString::to_string),
        message_group_id: entry.group.as_ref().map(ToString::to_string),
        message_system_attributes: None,
    }
}

fn attribute(attribute: &Attribute) -> (String, MessageAttributeValue) {
    let (string_value, binary_value) = match &attribute.value {
        AttributeValue::String(text) | AttributeValue::Number(text) => (Some(text.clone()), None),
        // The protocol requires base64. rusoto writes the bytes as they are, and panics if they are not UTF-8.
        AttributeValue::Binary(bytes) => (None, Some(STANDARD.encode(bytes).into())),
    };
    let data_type = data_type(attribute).into_owned();
    let value = MessageAttributeValue { data_type, string_value, binary_value, ..MessageAttributeValue::default() };
    (attribute.name.to_string(), value)
}

/// Polls the future once, which makes the request and hands it to
/// the dispatcher. The result for the empty answer does not matter.
fn drive<F: Future>(future: F) {
    let _ = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
}

fn signed(request: SignedRequest) -> Signed {
    let url = format!("{}://{}{}", request.scheme(), request.hostname(), request.canonical_path());
    let headers = request.headers.into_iter().filter_map(|(name, mut values)| Some((name.to_ascii_lowercase(), values.pop()?)));
    // The HTTP client counts the bytes itself.
    let headers = headers.filter(|(name, _)| name != "content-length").collect();
    let body = match request.payload {
        Some(SignedRequestPayload::Buffer(body)) => body,
        _ => Bytes::new(),
    };
    Signed { url, headers, body }
}

/// A dispatcher that keeps the request instead of sending it.
#[derive(Clone, Default)]
struct Catch(Arc<Mutex<Option<SignedRequest>>>);

impl DispatchSignedRequest for Catch {
    fn dispatch(&self, request: SignedRequest, _: Option<Duration>) -> DispatchSignedRequestFuture {
        *self.0.lock() = Some(request);
        let nothing =
            HttpResponse { status: Default::default(), body: ByteStream::from(Vec::new()), headers: Default::default() };
        Box::pin(ready(Ok(nothing)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::sqs::testing::keys;

    fn sign(call: &Call<'_>) -> (Signed, HashMap<String, String>) {
        let signed = Codec::new("eu-west-1", "http://127.0.0.1:9324/").sign(call, &keys()).unwrap();
        let text = String::from_utf8(signed.body.to_vec()).unwrap();
        let decode =
            |part: &str| percent_encoding::percent_decode_str(&part.replace('+', " ")).decode_utf8().unwrap().into_owned();
        let parameters = text.split('&').map(|pair| pair.split_once('=').unwrap());
        let parameters = parameters.map(|(name, value)| (decode(name), decode(value))).collect();
        (signed, parameters)
    }

    #[test]
    fn a_request_is_signed_for_its_region_host_and_token() {
        let (signed, parameters) = sign(&Call::Url { name: "stock", owner: None });
        assert_eq!(signed.url, "http://127.0.0.1:9324/");
        assert_eq!((parameters["Action"].as_str(), parameters["QueueName"].as_str()), ("GetQueueUrl", "stock"));
        let header = |name: &str| {
            let (_, value) = signed.headers.iter().find(|(header, _)| header == name).unwrap();
            String::from_utf8(value.clone()).unwrap()
        };
        assert_eq!((header("host").as_str(), header("x-amz-security-token").as_str()), ("127.0.0.1:9324", "hush-token"));
        assert!(header("authorization").contains("/eu-west-1/sqs/aws4_request"));
        assert!(!signed.headers.iter().any(|(name, _)| name == "content-length"));
    }

    #[test]
    fn entries_are_known_by_their_place_so_that_copies_never_collide() {
        let (_, parameters) = sign(&Call::Delete { url: "q", handles: &["same", "same"] });
        let ids = [1, 2].map(|at| parameters[&format!("DeleteMessageBatchRequestEntry.{at}.Id")].clone());
        assert_eq!(ids, ["0", "1"]);
    }

    #[test]
    fn bytes_travel_as_base64_and_a_body_of_spaces_as_it_is() {
        let digest = Attribute::new("digest".into(), AttributeValue::Binary(Bytes::from_static(&[0, 255, 10])));
        let attributes = [Attribute { label: Some("sha.1".into()), ..digest }];
        let entry = Entry {
            body: " \n",
            attributes: attributes[..].into(),
            delay: 0,
            group: Some("g".into()),
            deduplication: Some("d".into()),
        };
        let (_, parameters) = sign(&Call::Send { url: "q", entries: &[entry] });
        let of = |name: &str| parameters.get(&format!("SendMessageBatchRequestEntry.1.{name}")).map(String::as_str);
        assert_eq!(of("MessageBody"), Some(" \n"));
        assert_eq!(of("MessageAttribute.1.Value.BinaryValue"), Some("AP8K"));
        assert_eq!(of("MessageAttribute.1.Value.DataType"), Some("Binary.sha.1"));
        assert_eq!((of("MessageGroupId"), of("MessageDeduplicationId"), of("DelaySeconds")), (Some("g"), Some("d"), None));
    }
}
