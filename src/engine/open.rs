//! Opens a queue as its settings say.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use ureq::http::Uri;

use crate::config::settings::{QueueSettings, Source, SqsSettings};
use crate::handler::jq;
use crate::queue::embedded::Grouping;
use crate::queue::memory::{MemoryOptions, MemoryQueue};
use crate::queue::sqlite::{SqliteOptions, SqliteQueue};
use crate::queue::sqs::credentials::{self, Cached, Chain, Credentials, CredentialsError, Surroundings};
use crate::queue::sqs::{DeadLetterQueue, Named, Service, SqsOptions, SqsQueue};
use crate::queue::{Queue, QueueError};

/// Opens the queue of the section `queues.NAME`. Blocks for as long as its store takes; a queue of SQS is not asked yet.
///
/// # Errors
///
/// [`QueueError::Refused`] where a person has to act, [`QueueError::Unavailable`] where a store is locked or its disk full.
pub fn open_queue(name: &str, settings: &QueueSettings) -> Result<Arc<dyn Queue>, QueueError> {
    let refused = |why: String| QueueError::Refused { queue: name.to_owned(), what: "open", why };
    match &settings.source {
        Source::Sqlite { path, name: in_file, group } => {
            let options =
                SqliteOptions { grouping: grouping(group.as_deref()).map_err(refused)?, ..SqliteOptions::new(path, in_file) };
            Ok(Arc::new(SqliteQueue::open(options)?))
        }
        Source::Memory { preload, repeat, group } => {
            let preload = preload.as_deref().map(lines).transpose().map_err(refused)?.unwrap_or_default();
            let grouping = grouping(group.as_deref()).map_err(refused)?;
            Ok(Arc::new(MemoryQueue::new(MemoryOptions { preload, repeat: *repeat, grouping, ..MemoryOptions::new(name) })))
        }
        Source::Sqs(settings) => Ok(Arc::new(SqsQueue::new(sqs(name, settings).map_err(refused)?))),
    }
}

/// What the settings leave open, the usual variables and the profile say. Reads files, and asks nobody.
fn sqs(name: &str, settings: &SqsSettings) -> Result<SqsOptions, String> {
    let surroundings = Surroundings::of_process();
    let queue = settings.url.as_deref().map_or_else(|| Named::of(&settings.name), Named::of);
    let url: Option<Uri> = settings.url.as_deref().and_then(|url| url.parse().ok());
    let said = |error: CredentialsError| error.to_string();
    let region = match settings.region.clone().or_else(|| region_of(url.as_ref()?.host()?)) {
        Some(region) => region,
        None => credentials::region(&surroundings).map_err(said)?.ok_or_else(|| {
            format!(
                "its region is not known: set queues.{name}.region or AWS_REGION, or name a profile that has one in AWS_PROFILE"
            )
        })?,
    };
    let endpoint = match &settings.endpoint {
        Some(endpoint) => endpoint.clone(),
        None => credentials::endpoint(&surroundings, "sqs")
            .map_err(said)?
            .or_else(|| url.and_then(|url| Some(format!("{}://{}", url.scheme_str()?, url.authority()?))))
            .unwrap_or_else(|| format!("https://sqs.{region}.{}", credentials::dns_suffix(&region))),
    };
    let dead_letter = match settings.dead_letter.as_str() {
        "" => DeadLetterQueue::OfPolicy,
        "none" => DeadLetterQueue::Nowhere,
        named => DeadLetterQueue::To(Named::of(named)),
    };
    let service = Arc::new(Service::new(&region, &endpoint, keys(surroundings)));
    Ok(SqsOptions { name: name.to_owned(), service, queue, dead_letter, grouping: None })
}

/// The keys of this process, which all of its queues share: a hundred queues ask an instance or a role for them once.
fn keys(surroundings: Surroundings) -> Arc<dyn Credentials> {
    static KEYS: OnceLock<Arc<Cached<Chain>>> = OnceLock::new();
    Arc::clone(KEYS.get_or_init(|| Arc::new(Cached::chain(surroundings)))) as Arc<dyn Credentials>
}

/// The region in the name of one of AWS's hosts: `sqs.REGION.amazonaws.com`.
fn region_of(host: &str) -> Option<String> {
    let (region, suffix) = host.strip_prefix("sqs.")?.split_once('.')?;
    (suffix == credentials::dns_suffix(region)).then(|| region.to_owned())
}

fn grouping(group: Option<&str>) -> Result<Option<Grouping>, String> {
    let path = group.map(jq::group_path).transpose().map_err(|error| format!("group: {error}"))?;
    Ok(path.map(|path| -> Grouping { path }))
}

/// The lines of a file, blank ones left out.
fn lines(path: &Path) -> Result<Vec<Bytes>, String> {
    let cannot = |error: std::io::Error| format!("preload: cannot read {}: {error}", path.display());
    let mut lines = Vec::new();
    for line in BufReader::new(File::open(path).map_err(cannot)?).split(b'\n') {
        let mut line = line.map_err(cannot)?;
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if !line.iter().all(u8::is_ascii_whitespace) {
            lines.push(line.into());
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_aws_says_its_region() {
        assert_eq!(region_of("sqs.eu-west-1.amazonaws.com").as_deref(), Some("eu-west-1"));
        assert_eq!(region_of("sqs.cn-north-1.amazonaws.com.cn").as_deref(), Some("cn-north-1"));
        for host in ["localhost", "sqs.example.com", "queue.amazonaws.com", "sqs.cn-north-1.amazonaws.com"] {
            assert_eq!(region_of(host), None, "{host}");
        }
    }
}
