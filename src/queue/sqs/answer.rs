//! Reads the short answers: a URL, attributes of a queue, and the result of each
//! entry of a batch. Messages are read by [`super::receive`]. Pure functions.

use std::collections::HashMap;

use super::credentials::Keys;
use super::error::{EntryFault, Fault};
use super::xml::{Element, Elements, Malformed};

impl From<Malformed> for Fault {
    /// The connection broke, or something in between interfered: the next answer may be whole.
    fn from(malformed: Malformed) -> Self {
        Self::Transient(format!("the answer cannot be read: {malformed}"))
    }
}

/// Returns the elements in `<ACTIONResponse><ACTIONResult>`.
pub fn result<'a>(document: &'a [u8], action: &str) -> Result<Elements<'a>, Fault> {
    let strange = || Fault::Transient(format!("the answer is not one to {action}; if this persists, check endpoint and proxies"));
    let response = Elements::of(document).next().ok_or_else(strange)??;
    if response.name.strip_suffix(b"Response") != Some(action.as_bytes()) {
        return Err(strange());
    }
    match response.children().next() {
        Some(Ok(element)) if element.name.strip_suffix(b"Result") == Some(action.as_bytes()) => Ok(element.children()),
        Some(Err(malformed)) => Err(malformed.into()),
        // Some servers leave out an empty result.
        Some(Ok(_)) => Ok(Elements::of(b"")),
        None => Err(strange()),
    }
}

/// Reads the answer to GetQueueUrl.
pub fn url(document: &[u8]) -> Result<String, Fault> {
    let url =
        result(document, "GetQueueUrl")?.find("QueueUrl").ok_or_else(|| Fault::Transient("the answer has no URL".to_owned()))?;
    Ok(url.text()?.into_owned())
}

/// Reads the answer to GetQueueAttributes.
pub fn attributes(document: &[u8]) -> Result<HashMap<String, String>, Fault> {
    let mut attributes = HashMap::new();
    for element in result(document, "GetQueueAttributes")? {
        let element = element?;
        if let Some((name, value)) = pair(element) {
            attributes.insert(name?.text()?.into_owned(), value?.text()?.into_owned());
        }
    }
    Ok(attributes)
}

/// Returns `<Name>` and `<Value>` of an attribute, which SQS writes in this order.
fn pair(element: Element<'_>) -> Option<(Result<Element<'_>, Malformed>, Result<Element<'_>, Malformed>)> {
    let mut children = element.children();
    let name = children.next()?;
    Some((name, children.next().unwrap_or(Ok(Element { name: b"Value", inner: b"" }))))
}

/// Reads the answer to a batch of `entries` entries whose ids are their indices. Returns for each
/// entry what `read` makes of it, or how it failed. `keys` are those that the request was signed with.
///
/// An entry that the answer does not mention counts as failed, and so does one that it names as failed
/// and as done. It may have been done, which costs a duplicate and never a message.
pub fn batch<T>(
    document: &[u8],
    action: &str,
    entries: usize,
    keys: &Keys,
    read: impl Fn(Element<'_>) -> Result<T, EntryFault>,
) -> Result<Vec<Result<T, EntryFault>>, Fault> {
    let mut results: Vec<Option<Result<T, EntryFault>>> = std::iter::repeat_with(|| None).take(entries).collect();
    for element in result(document, action)? {
        let Ok(element) = element else { break };
        let Some(slot) = place(element).and_then(|at| results.get_mut(at)) else { continue };
        if element.name == b"BatchResultErrorEntry" {
            *slot = Some(Err(failure(element, keys)));
        } else if element.name.strip_suffix(b"ResultEntry") == Some(action.as_bytes()) && !matches!(slot, Some(Err(_))) {
            *slot = Some(read(element));
        }
    }
    let silent = || Err(EntryFault::Transient("the answer does not mention this entry".to_owned()));
    Ok(results.into_iter().map(|result| result.unwrap_or_else(silent)).collect())
}

fn place(element: Element<'_>) -> Option<usize> {
    element.children().find("Id")?.text().ok()?.parse().ok()
}

fn failure(element: Element<'_>, keys: &Keys) -> EntryFault {
    let text = |name| element.children().find(name).and_then(|element| element.text().ok()).unwrap_or_default();
    EntryFault::of(&text("Code"), &text("Message"), text("SenderFault") == "true", keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::sqs::testing::keys;

    #[test]
    fn a_url_and_attributes_are_read() {
        let document = b"<?xml version=\"1.0\"?><GetQueueUrlResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\">
            <GetQueueUrlResult><QueueUrl>http://localhost/1/a&amp;b</QueueUrl></GetQueueUrlResult>
            <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetQueueUrlResponse>";
        assert_eq!(url(document).unwrap(), "http://localhost/1/a&b");
        let document = b"<GetQueueAttributesResponse><GetQueueAttributesResult><Attribute><Name>RedrivePolicy</Name>
            <Value>{&quot;maxReceiveCount&quot;:5}</Value></Attribute><Attribute><Name>Policy</Name><Value/></Attribute>
            </GetQueueAttributesResult></GetQueueAttributesResponse>";
        let attributes = attributes(document).unwrap();
        assert_eq!(attributes["RedrivePolicy"], "{\"maxReceiveCount\":5}");
        assert_eq!(attributes["Policy"], "");
    }

    #[test]
    fn each_entry_of_a_batch_ends_as_the_answer_says() {
        let document = b"<DeleteMessageBatchResponse><DeleteMessageBatchResult>
            <DeleteMessageBatchResultEntry><Id>2</Id></DeleteMessageBatchResultEntry>
            <BatchResultErrorEntry><Id>0</Id><Code>ReceiptHandleIsInvalid</Code><Message/><SenderFault>true</SenderFault></BatchResultErrorEntry>
            <BatchResultErrorEntry><Id>1</Id><Code>InternalError</Code><SenderFault>false</SenderFault></BatchResultErrorEntry>
            <DeleteMessageBatchResultEntry><Id>17</Id></DeleteMessageBatchResultEntry>
            </DeleteMessageBatchResult></DeleteMessageBatchResponse>";
        let results = batch(document, "DeleteMessageBatch", 4, &keys(), |_| Ok(())).unwrap();
        let failed = |why: &str| Err(EntryFault::Transient(why.into()));
        let silent = failed("the answer does not mention this entry");
        assert_eq!(results, [Err(EntryFault::Gone), failed("InternalError"), Ok(()), silent]);
    }

    #[test]
    fn an_entry_has_gone_well_only_if_nothing_in_the_answer_says_otherwise() {
        let sent = |id: usize| format!("<SendMessageBatchResultEntry><Id>{id}</Id></SendMessageBatchResultEntry>");
        let failed = |id: usize| {
            format!(
                "<BatchResultErrorEntry><Id>{id}</Id><Code>InternalError</Code><SenderFault>false</SenderFault></BatchResultErrorEntry>"
            )
        };
        let other = "<DeleteMessageBatchResultEntry><Id>3</Id></DeleteMessageBatchResultEntry>";
        let entries = [failed(0), sent(0), sent(1), failed(1), sent(2), sent(2), other.to_owned()].concat();
        let document = format!(
            "<SendMessageBatchResponse><SendMessageBatchResult>{entries}</SendMessageBatchResult></SendMessageBatchResponse>"
        );
        let results = batch(document.as_bytes(), "SendMessageBatch", 4, &keys(), |_| Ok(())).unwrap();
        let failed = |why: &str| Err(EntryFault::Transient(why.into()));
        let silent = failed("the answer does not mention this entry");
        assert_eq!(results, [failed("InternalError"), failed("InternalError"), Ok(()), silent]);
    }

    #[test]
    fn half_an_answer_tells_of_the_entries_that_are_whole() {
        let document = b"<DeleteMessageBatchResponse><DeleteMessageBatchResult><DeleteMessageBatchResultEntry><Id>0</Id>";
        assert!(matches!(batch(document, "DeleteMessageBatch", 1, &keys(), |_| Ok(())), Err(Fault::Transient(_))));
        for strange in ["", "<a/>", "<SendMessageBatchResponse/>", "text"] {
            assert!(matches!(url(strange.as_bytes()), Err(Fault::Transient(_))), "{strange}");
        }
    }
}
