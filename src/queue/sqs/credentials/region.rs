//! The region and the server to use, from variables and the profile, as the AWS SDKs read them.

use super::profiles::{Profiles, Section};
use super::{CredentialsError, Surroundings};

/// Returns the region in `AWS_REGION`, `AWS_DEFAULT_REGION` or the profile, in this order;
/// `None` if none of them names one. Blocks for the files of profiles, if it has to read them.
pub fn region(surroundings: &Surroundings) -> Result<Option<String>, CredentialsError> {
    if let Some(region) = variable(surroundings) {
        return Ok(Some(region.to_owned()));
    }
    let profiles = surroundings.profiles()?;
    Ok(ProfileEnv::new(surroundings, &profiles).region().map(str::to_owned))
}

/// Returns the URL of another server for a service (`sqs`, `sts`), from `AWS_ENDPOINT_URL_SQS`,
/// `AWS_ENDPOINT_URL`, the `[services]` section of the profile or the profile itself, in this
/// order; `None` if the service of AWS is to be used. Blocks for the files of profiles.
pub fn endpoint(surroundings: &Surroundings, service: &str) -> Result<Option<String>, CredentialsError> {
    let profiles = surroundings.profiles()?;
    Ok(ProfileEnv::new(surroundings, &profiles).endpoint(service).map(str::to_owned))
}

/// Returns the domain under which AWS has the services of a region: `sqs.REGION.SUFFIX`.
pub fn dns_suffix(region: &str) -> &'static str {
    const PARTITIONS: [(&str, &str); 6] = [
        ("cn-", "amazonaws.com.cn"),
        ("eusc-", "amazonaws.eu"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("us-isof-", "csp.hci.ic.gov"),
        ("us-iso-", "c2s.ic.gov"),
        ("eu-isoe-", "cloud.adc-e.uk"),
    ];
    PARTITIONS.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or("amazonaws.com", |(_, suffix)| suffix)
}

/// The variables and the profile in use, together.
pub struct ProfileEnv<'a> {
    surroundings: &'a Surroundings,
    profiles: &'a Profiles,
    profile: Option<&'a Section>,
}

impl<'a> ProfileEnv<'a> {
    pub fn new(surroundings: &'a Surroundings, profiles: &'a Profiles) -> Self {
        Self { surroundings, profiles, profile: profiles.get(surroundings.profile_name()) }
    }

    /// Returns the region of a variable or of the profile.
    pub fn region(&self) -> Option<&'a str> {
        variable(self.surroundings).or_else(|| self.profile?.get("region"))
    }

    /// Returns the URL of another server for a service, as the module's [`endpoint`] does.
    pub fn endpoint(&self, service: &str) -> Option<&'a str> {
        let of_profile = |name: &str| self.profile.and_then(|profile| profile.get(name));
        if self.surroundings.is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
            || of_profile("ignore_configured_endpoint_urls").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        {
            return None;
        }
        let upper = service.to_ascii_uppercase();
        let of_services = || self.profiles.services(of_profile("services")?)?.get(&format!("{service}.endpoint_url"));
        self.surroundings
            .variable(&format!("AWS_ENDPOINT_URL_{upper}"))
            .or_else(|| self.surroundings.variable("AWS_ENDPOINT_URL"))
            .or_else(of_services)
            .or_else(|| of_profile("endpoint_url"))
    }
}

fn variable(surroundings: &Surroundings) -> Option<&str> {
    surroundings.variable("AWS_REGION").or_else(|| surroundings.variable("AWS_DEFAULT_REGION"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::surroundings;
    use super::*;

    const CONFIG: &str = "[default]\nregion = from-default\n[profile p]\nregion = from-p\nendpoint_url = http://p\n\
                          [profile s]\nservices = local\nendpoint_url = http://s\n[services local]\nsqs =\n  endpoint_url = http://local\n";

    fn in_env<T>(variables: &[(&str, &str)], ask: impl Fn(&ProfileEnv<'_>) -> T) -> T {
        let world = surroundings(variables);
        let profiles = Profiles::parse(("c", CONFIG), ("", "")).unwrap();
        ask(&ProfileEnv::new(&world, &profiles))
    }

    #[test]
    fn the_region_is_that_of_the_first_who_says() {
        for (variables, region) in [
            (&[("AWS_REGION", "a"), ("AWS_DEFAULT_REGION", "b"), ("AWS_PROFILE", "p")][..], Some("a")),
            (&[("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "b"), ("AWS_PROFILE", "p")], Some("b")),
            (&[("AWS_PROFILE", "p")], Some("from-p")),
            (&[("AWS_PROFILE", "nobody")], None),
            (&[], Some("from-default")),
        ] {
            assert_eq!(in_env(variables, |env| env.region().map(str::to_owned)).as_deref(), region, "{variables:?}");
        }
    }

    #[test]
    fn the_endpoint_is_that_of_the_first_who_says() {
        let ignore = ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
        for (variables, sqs, sts) in [
            (&[("AWS_ENDPOINT_URL_SQS", "http://a"), ("AWS_ENDPOINT_URL", "http://b")][..], Some("http://a"), Some("http://b")),
            (&[("AWS_PROFILE", "p")], Some("http://p"), Some("http://p")),
            (&[("AWS_PROFILE", "s")], Some("http://local"), Some("http://s")),
            (&[("AWS_ENDPOINT_URL", "http://b"), ignore], None, None),
            (&[], None, None),
        ] {
            let found = in_env(variables, |env| ["sqs", "sts"].map(|service| env.endpoint(service).map(str::to_owned)));
            assert_eq!([found[0].as_deref(), found[1].as_deref()], [sqs, sts], "{variables:?}");
        }
    }

    #[test]
    fn files_are_read_where_variables_say() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, CONFIG).unwrap();
        let world = surroundings(&[("AWS_CONFIG_FILE", path.to_str().unwrap()), ("AWS_PROFILE", "p")]);
        assert_eq!(region(&world).unwrap().as_deref(), Some("from-p"));
        assert_eq!(endpoint(&world, "sqs").unwrap().as_deref(), Some("http://p"));
        assert_eq!(region(&Surroundings { profile: Some("default".into()), ..world }).unwrap().as_deref(), Some("from-default"));
    }

    #[test]
    fn each_partition_has_its_domain() {
        for (region, suffix) in [
            ("eu-west-1", "amazonaws.com"),
            ("us-gov-west-1", "amazonaws.com"),
            ("cn-north-1", "amazonaws.com.cn"),
            ("us-iso-east-1", "c2s.ic.gov"),
            ("us-isob-east-1", "sc2s.sgov.gov"),
            ("eusc-de-east-1", "amazonaws.eu"),
        ] {
            assert_eq!(dns_suffix(region), suffix, "{region}");
        }
    }
}
