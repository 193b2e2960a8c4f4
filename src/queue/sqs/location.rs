//! The location of a queue: its region and endpoint, found in its
//! settings, its URL, the usual AWS variables and the profile.
//!
//! Called when queues are opened and sinks are set up. It reads files, and makes no request.

use std::sync::{Arc, OnceLock};

use ureq::http::Uri;

use super::Service;
use super::credentials::{self, Cached, Chain, Credentials, CredentialsError, Surroundings};
use crate::environment::Environment;

/// The settings of a queue that bear on its location.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hints<'a> {
    /// The URL of the queue.
    pub url: Option<&'a str>,
    /// The region, as the settings name it.
    pub region: Option<&'a str>,
    /// The endpoint, as the settings name it.
    pub endpoint: Option<&'a str>,
}

/// A region and the URL of the server for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    region: String,
    endpoint: String,
}

/// Why the location of a queue cannot be found. The service does not start, since a person has to act.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    /// Nothing names a region.
    #[error("its region is not known: {0}set AWS_REGION, or name a profile that has one in AWS_PROFILE")]
    NoRegion(&'static str),
    /// A variable or the profile names another server by a URL that holds more than a
    /// scheme and a host. The error does not repeat it, since a password may be in it.
    #[error(
        "the endpoint that AWS_ENDPOINT_URL_SQS, AWS_ENDPOINT_URL or endpoint_url of the profile names holds userinfo, a query or a \
         fragment; write the plain URL, and give credentials by the usual AWS variables or profile"
    )]
    Endpoint,
    /// The files of profiles cannot be read.
    #[error(transparent)]
    Profile(#[from] CredentialsError),
}

impl Location {
    /// Finds the location of a queue, with the variables and profiles of the process.
    pub fn find(hints: &Hints<'_>) -> Result<Self, LocationError> {
        Self::find_in(&Surroundings::of_process(), hints)
    }

    /// Checks whether [`Location::find`] would find a location for this URL
    /// alone, with variables of the caller's choice. The error is one line.
    pub fn check(environment: &Environment, url: &str) -> Result<(), String> {
        let found = Self::find_in(&Surroundings::new(environment.clone()), &Hints { url: Some(url), ..Hints::default() });
        found.map(drop).map_err(|error| error.to_string())
    }

    fn find_in(surroundings: &Surroundings, hints: &Hints<'_>) -> Result<Self, LocationError> {
        let url: Option<Uri> = hints.url.and_then(|url| url.parse().ok());
        let of_url = || region_of(url.as_ref()?.host()?);
        let region = match hints.region.map(str::to_owned).or_else(of_url) {
            Some(region) => region,
            None => credentials::region(surroundings)?.ok_or(LocationError::NoRegion(match hints.url {
                Some(_) => "its URL is not one of AWS; ",
                None => "",
            }))?,
        };
        let endpoint = match hints.endpoint {
            Some(endpoint) => endpoint.to_owned(),
            None => named_endpoint(surroundings)?
                .or_else(|| url.and_then(|url| Some(format!("{}://{}", url.scheme_str()?, url.authority()?))))
                .unwrap_or_else(|| format!("https://sqs.{region}.{}", credentials::dns_suffix(&region))),
        };
        Ok(Self { region, endpoint })
    }

    /// Returns the service at this location, with the keys of the process and connections of its own.
    pub fn service(&self) -> Service {
        Service::new(&self.region, &self.endpoint, keys())
    }
}

/// Returns the server that variables or the profile name. Errors of
/// requests to it show its URL, so nothing secret may be in that.
fn named_endpoint(surroundings: &Surroundings) -> Result<Option<String>, LocationError> {
    let endpoint = credentials::endpoint(surroundings, "sqs")?;
    if endpoint.as_ref().is_some_and(|url| url.contains(['@', '?', '#'])) { Err(LocationError::Endpoint) } else { Ok(endpoint) }
}

/// The keys of the process. All of its queues share them, so that
/// a hundred queues ask an instance or a role for them only once.
static KEYS: OnceLock<Arc<Cached<Chain>>> = OnceLock::new();

/// Makes the source of the keys be asked again when keys are needed next, since an operator may have replaced them.
pub fn look_for_other_keys() {
    if let Some(keys) = KEYS.get() {
        keys.look_again();
    }
}

fn keys() -> Arc<dyn Credentials> {
    Arc::clone(KEYS.get_or_init(|| Arc::new(Cached::chain(Surroundings::of_process())))) as Arc<dyn Credentials>
}

/// Returns the region in the name of a host of AWS, `sqs.REGION.amazonaws.com`; `None` for any other host.
fn region_of(host: &str) -> Option<String> {
    let (region, suffix) = host.strip_prefix("sqs.")?.split_once('.')?;
    (suffix == credentials::dns_suffix(region)).then(|| region.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(variables: &[(&str, &str)], hints: Hints<'_>) -> Result<(String, String), String> {
        let found = Location::find_in(&Surroundings::new(variables.iter().copied().collect()), &hints);
        found.map(|location| (location.region, location.endpoint)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_url_of_aws_says_its_region() {
        assert_eq!(region_of("sqs.eu-west-1.amazonaws.com").as_deref(), Some("eu-west-1"));
        assert_eq!(region_of("sqs.cn-north-1.amazonaws.com.cn").as_deref(), Some("cn-north-1"));
        for host in ["localhost", "sqs.example.com", "queue.amazonaws.com", "sqs.cn-north-1.amazonaws.com"] {
            assert_eq!(region_of(host), None, "{host}");
        }
    }

    #[test]
    fn what_is_said_of_the_queue_goes_before_the_url_and_that_before_the_variables() {
        let variables = [("AWS_REGION", "us-east-1")];
        let aws = Hints { url: Some("https://sqs.eu-west-1.amazonaws.com/1/stock"), ..Hints::default() };
        let own = Hints { url: Some("http://127.0.0.1:9324/1/stock"), ..Hints::default() };
        let both = |region: &str, endpoint: &str| Ok((region.to_owned(), endpoint.to_owned()));
        assert_eq!(find(&variables, Hints::default()), both("us-east-1", "https://sqs.us-east-1.amazonaws.com"));
        assert_eq!(find(&variables, aws), both("eu-west-1", "https://sqs.eu-west-1.amazonaws.com"));
        assert_eq!(find(&variables, own), both("us-east-1", "http://127.0.0.1:9324"));
        let said = Hints { region: Some("cn-north-1"), endpoint: Some("http://proxy"), ..aws };
        assert_eq!(find(&variables, said), both("cn-north-1", "http://proxy"));
        let elsewhere = [("AWS_ENDPOINT_URL_SQS", "http://vpce")];
        assert_eq!(find(&elsewhere, aws), both("eu-west-1", "http://vpce"));
    }

    #[test]
    fn an_endpoint_with_a_password_is_refused_and_not_repeated() {
        let queue = Hints { region: Some("eu-west-1"), ..Hints::default() };
        for url in ["http://user:hush@127.0.0.1:9324", "http://hush@h/", "http://h/?key=hush", "http://h#hush"] {
            for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS"] {
                let why = find(&[(name, url)], queue).unwrap_err();
                assert!(why.contains(name) && why.contains("userinfo") && !why.contains("hush"), "{why}");
            }
            // The URL in the queue's own settings is checked with those settings.
            assert!(find(&[("AWS_ENDPOINT_URL", url)], Hints { endpoint: Some("http://h"), ..queue }).is_ok());
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        std::fs::write(&file, "[default]\nendpoint_url = http://user:hush@h\n").unwrap();
        let why = find(&[("AWS_CONFIG_FILE", file.to_str().unwrap())], queue).unwrap_err();
        assert!(why.contains("endpoint_url of the profile") && !why.contains("hush"), "{why}");
    }

    #[test]
    fn a_region_that_nobody_names_is_asked_for() {
        let why = find(&[], Hints { url: Some("http://127.0.0.1/1/stock"), ..Hints::default() }).unwrap_err();
        assert!(why.contains("not one of AWS") && why.contains("AWS_REGION"), "{why}");
        assert!(find(&[], Hints::default()).unwrap_err().contains("AWS_REGION"));
    }
}
