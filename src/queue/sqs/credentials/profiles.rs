//! The shared config and credentials files, as the AWS SDKs and Tools Reference Guide describes them.
//!
//! Pure functions. Errors name the file and the line and quote nothing, because the files hold keys.

use std::collections::BTreeMap;
use std::fmt;

/// All profiles of both files, by name, and the settings of the `[services]` sections.
#[derive(Debug, Default)]
pub struct Profiles {
    profiles: BTreeMap<String, Section>,
    services: BTreeMap<String, Section>,
}

/// The settings of one section. A setting nested below another is named `OUTER.INNER`.
#[derive(Default)]
pub struct Section(BTreeMap<String, String>);

impl Section {
    /// Returns the value of a setting; an empty one counts as not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns the name of the first setting that begins with `prefix`.
    pub fn starting_with(&self, prefix: &str) -> Option<&str> {
        self.0.keys().map(String::as_str).find(|name| name.starts_with(prefix))
    }
}

impl fmt::Debug for Section {
    /// Shows the names of settings, never their values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Which of the two files it is; they name profiles differently.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ProfileFile {
    Config,
    Credentials,
}

impl Profiles {
    /// Parses both files; each is given as its path, for errors, and its
    /// text. If both have the same setting, the credentials file wins.
    pub fn parse(config: (&str, &str), credentials: (&str, &str)) -> Result<Self, String> {
        let mut all = Self::default();
        all.add(ProfileFile::Config, config)?;
        all.add(ProfileFile::Credentials, credentials)?;
        Ok(all)
    }

    pub fn get(&self, profile: &str) -> Option<&Section> {
        self.profiles.get(profile)
    }

    /// Returns the section `[services NAME]`.
    pub fn services(&self, name: &str) -> Option<&Section> {
        self.services.get(name)
    }

    fn add(&mut self, kind: ProfileFile, (path, text): (&str, &str)) -> Result<(), String> {
        // In the config file `[profile default]` hides `[default]`, whichever comes first.
        let hides_default =
            kind == ProfileFile::Config && text.lines().any(|line| header(line) == Some(Ok("profile default".into())));
        let mut scan = Scan::default();
        for (at, line) in text.lines().enumerate() {
            let wrong = |what: &str| format!("{path}, line {}: {what}", at + 1);
            if let Some(name) = header(line) {
                let name = name.map_err(wrong)?;
                scan = Scan { section: self.section(kind, &name, hides_default), ..Scan::default() };
                continue;
            }
            let content = line.trim();
            if content.is_empty() || content.starts_with(['#', ';']) {
                continue;
            }
            let indent = line.len() - line.trim_start().len();
            let section = scan.section.as_ref().and_then(|name| self.at(name));
            scan.setting(section, indent, content).map_err(wrong)?;
        }
        Ok(())
    }

    /// Creates the section of a header; `None` if it is of a kind that is not used here.
    fn section(&mut self, kind: ProfileFile, header: &str, hides_default: bool) -> Option<SectionName> {
        let (word, rest) = header.split_once([' ', '\t']).map_or((header, None), |(word, rest)| (word, Some(rest)));
        let name = rest.map(|rest| rest.trim().trim_matches(['"', '\'']));
        let section = match (kind, word, name) {
            (ProfileFile::Config, "default", None) if hides_default => return None,
            (ProfileFile::Config, "default", None) => SectionName::Profile("default".to_owned()),
            (ProfileFile::Config, "profile", Some(name)) => SectionName::Profile(name.to_owned()),
            (ProfileFile::Config, "services", Some(name)) => SectionName::Services(name.to_owned()),
            (ProfileFile::Config, ..) => return None,
            (ProfileFile::Credentials, ..) => SectionName::Profile(header.to_owned()),
        };
        match &section {
            SectionName::Profile(name) => self.profiles.entry(name.clone()).or_default(),
            SectionName::Services(name) => self.services.entry(name.clone()).or_default(),
        };
        Some(section)
    }

    fn at(&mut self, name: &SectionName) -> Option<&mut Section> {
        match name {
            SectionName::Profile(name) => self.profiles.get_mut(name),
            SectionName::Services(name) => self.services.get_mut(name),
        }
    }
}

/// A section that is used here.
enum SectionName {
    Profile(String),
    Services(String),
}

/// The reader's position within a section.
#[derive(Default)]
struct Scan {
    /// The section; `None` for one of a kind that is not used here, whose settings are skipped.
    section: Option<SectionName>,
    /// The last setting that was not indented below another, and its indentation.
    outer: Option<(String, usize)>,
}

impl Scan {
    /// Reads one line that is neither blank nor a comment nor a header.
    fn setting(&mut self, section: Option<&mut Section>, indent: usize, content: &str) -> Result<(), &'static str> {
        let Some(section) = section else { return Ok(()) };
        if let Some((outer, at)) = &self.outer
            && indent > *at
        {
            // Indented deeper than the setting before it: nested below it if that is empty, else the rest of its value.
            let value = section.0.entry(outer.clone()).or_default();
            if !value.is_empty() {
                value.push('\n');
                value.push_str(content);
            } else if let Some((name, inner)) = pair(content) {
                section.0.insert(format!("{outer}.{name}"), inner);
            }
            return Ok(());
        }
        let (name, value) = pair(content).ok_or("neither [a section] nor name = value; correct or remove it")?;
        section.0.insert(name.clone(), value);
        self.outer = Some((name, indent));
        Ok(())
    }
}

/// Returns the text in a section's header; `None` if the line is not a header.
fn header(line: &str) -> Option<Result<String, &'static str>> {
    let inside = line.trim_start().strip_prefix('[')?;
    let name = inside.split_once(']').map(|(name, _)| name.trim().to_owned());
    Some(name.filter(|name| !name.is_empty()).ok_or("a section's name is missing or lacks its ]; write [profile NAME]"))
}

/// Returns a name, in lower case, and its value. A comment may follow the value after white space.
fn pair(content: &str) -> Option<(String, String)> {
    let (name, value) = content.split_once('=')?;
    let name = name.trim().to_ascii_lowercase();
    let comment = [" #", " ;", "\t#", "\t;"].iter().filter_map(|mark| value.find(mark)).min();
    let value = value.get(..comment.unwrap_or(value.len())).unwrap_or_default().trim();
    (!name.is_empty()).then(|| (name, value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(config: &str, credentials: &str) -> Profiles {
        Profiles::parse(("config", config), ("credentials", credentials)).unwrap()
    }

    #[test]
    fn both_files_are_one_and_the_credentials_file_wins() {
        let profiles = parse(
            "[default]\nregion = eu-west-1\n[profile a b]\nREGION=x\naws_access_key_id = from-config\n[profile \"q\"]\nregion = y",
            "[default]\naws_access_key_id=K\n[a b]\naws_access_key_id = from-credentials\n",
        );
        let get = |profile: &str, name: &str| profiles.get(profile).and_then(|section| section.get(name)).map(str::to_owned);
        assert_eq!(get("default", "region").unwrap(), "eu-west-1");
        assert_eq!(get("default", "aws_access_key_id").unwrap(), "K");
        assert_eq!(get("a b", "region").unwrap(), "x");
        assert_eq!(get("a b", "aws_access_key_id").unwrap(), "from-credentials");
        assert_eq!(get("q", "region").unwrap(), "y");
        assert!(profiles.get("nobody").is_none());
    }

    #[test]
    fn what_is_no_profile_is_skipped() {
        let profiles = parse("a = 1\n[sso-session s]\nsso_region = x\n[bare]\nregion = x\nnonsense\n[plugins]\nx = y", "");
        assert!(profiles.get("s").is_none() && profiles.get("bare").is_none() && profiles.get("plugins").is_none());
    }

    #[test]
    fn a_default_profile_with_its_prefix_hides_the_one_without() {
        let config = "[default]\nregion = short\noutput = json\n[profile default]\nregion = long";
        let profiles = parse(config, "");
        let default = profiles.get("default").unwrap();
        assert_eq!((default.get("region"), default.get("output")), (Some("long"), None));
    }

    #[test]
    fn comments_blank_lines_and_line_ends_do_not_matter() {
        let profiles = parse(
            "# c\r\n; c\r\n\r\n [default] # c\r\n  region = eu-west-1 ; c\r\n  output = a#b;c\r\n\tcredential_process =\t/bin/x \"a b\"\r\n",
            "",
        );
        let default = profiles.get("default").unwrap();
        assert_eq!(default.get("region"), Some("eu-west-1"));
        assert_eq!(default.get("output"), Some("a#b;c"));
        assert_eq!(default.get("credential_process"), Some("/bin/x \"a b\""));
    }

    #[test]
    fn nested_settings_have_their_outer_name_and_values_may_go_on() {
        let config = "[services s]\nsqs =\n  endpoint_url = http://q\nsts =\n  endpoint_url = http://t\n[default]\nservices = s\nca_bundle = a\n  b";
        let profiles = parse(config, "");
        let services = profiles.services("s").unwrap();
        assert_eq!(services.get("sqs.endpoint_url"), Some("http://q"));
        assert_eq!(services.get("sts.endpoint_url"), Some("http://t"));
        assert_eq!(profiles.get("default").unwrap().get("ca_bundle"), Some("a\nb"));
    }

    #[test]
    fn a_line_that_is_nothing_is_named_and_not_quoted() {
        for (config, line) in [("[default]\nhush", 2), ("[default", 1), ("[]", 1), ("[default]\n= hush", 2)] {
            let error = Profiles::parse(("/c", config), ("", "")).unwrap_err();
            assert!(error.starts_with(&format!("/c, line {line}: ")) && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn values_are_never_shown() {
        assert!(!format!("{:?}", parse("", "[default]\naws_secret_access_key = hush")).contains("hush"));
    }
}
