//! URLs and paths with placeholders: what is checked when a configuration is loaded.
//!
//! The checks here catch typing errors and say what was probably meant. Whatever else makes a URL unusable is reported
//! by the parsers of the sinks.

use super::problem::suggest;

const PLACEHOLDERS: [&str; 2] = ["account", "queue"];
/// The maximum length of a name that is taken for a mistyped placeholder: twice the longest placeholder.
const LONGEST_NAME: usize = 14;

/// Checks an http(s) URL, which may hold placeholders.
pub(super) fn check_url(url: &str) -> Result<(), String> {
    check_placeholders(url)?;
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    let Some("http" | "https") = scheme.as_deref() else {
        return Err("no URL; start it with https:// or http://".to_owned());
    };
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(
            "a URL holds neither spaces nor control characters; write a space as %20, and leave the others out".to_owned()
        );
    }
    let authority = url.split("://").nth(1).and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (name, port) = match host.rsplit_once(':') {
        // A colon within the brackets of an IPv6 address does not start a port.
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    if name.is_empty() {
        return Err("the URL has no host; write https://HOST/…".to_owned());
    }
    if port.is_some_and(|port| !port.contains('{') && port.parse::<u16>().is_err()) {
        return Err("the port of the URL is no number up to 65535".to_owned());
    }
    Ok(())
}

/// Checks the URL of a queue service, which may hold neither placeholders nor credentials (credentials come from the
/// usual AWS variables or profile).
pub(super) fn check_service_url(url: &str) -> Result<(), String> {
    check_url(url)?;
    if url.contains(['@', '?', '#', '{']) {
        return Err(
            "holds userinfo, a query or a placeholder; write the plain URL, and give credentials by the usual AWS variables or profile".to_owned()
        );
    }
    Ok(())
}

/// Checks that every `{…}` in the text is a known placeholder.
pub(super) fn check_placeholders(text: &str) -> Result<(), String> {
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (_, from) = rest.split_at(at);
        let name = from.strip_prefix('{').and_then(|from| from.split_once('}'));
        let Some((name, after)) = name else {
            return Err("an unmatched brace; placeholders are {account} and {queue}".to_owned());
        };
        if PLACEHOLDERS.contains(&name) {
            rest = after;
        } else if name.len() <= LONGEST_NAME && name.chars().all(|c| c.is_ascii_alphabetic() || c == '_') {
            return Err(format!("unknown placeholder {{{name}}}; {}", suggest(name, PLACEHOLDERS.into_iter())));
        } else {
            // The text is not quoted: a query may hold JSON, and the JSON a key.
            return Err(
                "braces around something other than {account} or {queue}; write %7B and %7D for braces that stay".to_owned()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_cannot_work_are_told() {
        for good in
            ["https://h", "http://127.0.0.1:80/x", "https://[::1]:9/", "https://[::1]/", "https://{account}.example.com/{queue}"]
        {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("ftp://h", "start it with"),
            ("h/p", "start it with"),
            ("https://", "no host"),
            ("https:///p", "no host"),
            ("https://u@:1/", "no host"),
            ("https://h:x/", "port"),
            ("https://h:70000/", "port"),
            ("https://h/a b", "%20"),
            ("https://h/a\u{1}b", "control characters"),
            ("https://h/{acount}", "did you mean account?"),
            ("https://h/{account", "brace"),
            ("https://h/}", "brace"),
            ("https://h/?q={\"key\":\"hush\"}", "%7B"),
        ] {
            let error = check_url(bad).unwrap_err();
            assert!(error.contains(why) && !error.contains("hush"), "{bad}: {error}");
        }
        assert!(check_service_url("https://k:s@sqs.eu-west-1.amazonaws.com").is_err());
        assert!(check_service_url("https://sqs.eu-west-1.amazonaws.com/1/stock").is_ok());
    }
}
