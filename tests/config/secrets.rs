//! A secret is used but never shown: not in printed settings, not by `check`, and not in problems.

use octoconf::commands::check;
use octoconf::config::{self, ConfigErrors, Context, Environment, FileFormat, Loaded};
use octoconf::handler::Registry;
use octoconf::settings::Deliver;

/// The text that stands in every place that may hold a secret.
const SECRET: &str = "hush-hush";

fn parse(text: &str, kind: FileFormat, environment: &Environment) -> Result<Loaded, ConfigErrors> {
    let context = Context { environment, handlers: &Registry::new() };
    config::parse(text, kind, "octoconf", &context)
}

/// Returns everything that a person or a program could see.
fn shown(outcome: &Result<Loaded, ConfigErrors>) -> String {
    let debug = match outcome {
        Ok(loaded) => format!("{loaded:?}{loaded:#?}"),
        Err(errors) => format!("{errors}{errors:?}"),
    };
    format!("{debug}\n{}\n{}", check::text(outcome), check::json(outcome))
}

#[test]
fn good_secrets_are_there_and_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    const SIGNING: &str = "whsec_c2VjcmV0LXNpZ25pbmc=";
    std::fs::write(folder.path().join("key"), format!("{SIGNING}\n")).unwrap();
    let environment = Environment::from_iter([
        ("KEY", SECRET),
        ("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap()),
        ("OCTOCONF_PARTNERS__DEFAULT__HEADERS__FROM", SECRET),
    ]);
    let text = format!(
        "
        [admin]
        token = 'env:KEY'
        [queues.q]
        source = 'memory'
        handler = 'order'
        [partners.default]
        url = 'https://user:{SECRET}@h/{{account}}?key={SECRET}#{SECRET}'
        signing_secret = 'file:key'
        headers = {{ authorization = 'Bearer {SECRET}', x-key = 'env:KEY' }}
        [partners.acme]
        url = 'https://{SECRET}@acme.com'
        headers = {{ authorization = 'Basic {SECRET}' }}
    "
    );
    let outcome = parse(&text, FileFormat::Toml, &environment);
    let shown = shown(&outcome);
    assert!(!shown.contains(SECRET) && !shown.contains(SIGNING), "{shown}");
    assert!(!format!("{environment:?}").contains(SECRET));
    assert!(shown.contains("https://***@h/{account}?***"), "{shown}");

    let settings = outcome.unwrap().settings;
    assert_eq!(settings.admin.token.unwrap().expose(), SECRET);
    let Deliver::Http(http) = &settings.partners.of("acme").deliver else { panic!("acme is served by http") };
    assert_eq!(http.signing_secret.as_ref().unwrap().expose(), SIGNING);
    assert_eq!(http.headers["authorization"].expose(), format!("Basic {SECRET}"));
    assert_eq!(http.headers["x-key"].expose(), SECRET);
    assert_eq!(http.headers["from"].expose(), SECRET);
    assert_eq!(http.url, format!("https://{SECRET}@acme.com"));
}

#[test]
fn a_partner_with_only_masked_differences_is_shown() {
    let text = format!(
        "[queues.q]\nsource = 'memory'\nhandler = 'order'\n[partners.default]\nurl = 'https://h/?a'\n[partners.x]\nurl = 'https://h/?{SECRET}'\n"
    );
    let outcome = parse(&text, FileFormat::Toml, &Environment::default());
    assert!(check::text(&outcome).ends_with("[partners.x]\nurl = \"https://h/?***\"\n"), "{}", check::text(&outcome));
}

#[test]
fn problems_with_secrets_do_not_show_them() {
    let environment = Environment::from_iter([("ODD", format!("{SECRET}\n")), ("OCTOCONF_ADMIN__TOKN", SECRET.to_owned())]);
    for (text, key) in [
        (format!("[admin]\ntoken = '{SECRET}'"), "admin.token: a secret does not stand in the configuration itself"),
        ("[admin]\ntoken = 'env:ODD'".to_owned(), "admin.token: holds more than visible ASCII"),
        ("[admin]\ntoken = 'env:NONE'".to_owned(), "admin.token: the environment variable NONE is not set"),
        ("[admin]\ntoken = 'file:/none/such'".to_owned(), "admin.token: /none/such cannot be read"),
        (format!("[admin]\ntoken = ['{SECRET}']"), "admin.token: found a list"),
        (format!("[partners.x]\nsigning_secret = '{SECRET}'"), "partners.x.signing_secret: a secret does not stand"),
        ("[partners.x]\nsigning_secret = 'env:ODD'".to_owned(), "partners.x.signing_secret: not base64 of a key"),
        ("[partners.x.headers]\nx-a = 'env:ODD'".to_owned(), "partners.x.headers.x-a: holds a line break"),
        (format!("[partners.x.headers]\nx-a = ['{SECRET}']"), "partners.x.headers.x-a: found a list"),
        (format!("[partners.x]\nurl = 'https://u:{SECRET}@:80?{SECRET}'"), "partners.x.url: the URL has no host"),
        (format!("[partners.x]\nurl = ['https://u:{SECRET}@h']"), "partners.x.url: found a list"),
        (format!("[partners.x]\ndeliver = 'https://u:{SECRET}@h'"), "partners.x.deliver: found"),
        (format!("[queues.q]\nendpoint = 'https://u:{SECRET}@h'"), "queues.q.endpoint: holds userinfo"),
        (format!("[partners.x]\nsecret = '{SECRET}'"), "partners.x.secret: unknown key"),
        (format!("[admin]\ntoken = \"{SECRET}"), "octoconf:2:"),
        (format!("[admin]\ntoken = {SECRET}"), "octoconf:2:"),
        (format!("[admin]\ntoken = 'x'\ntoken = '{SECRET}'"), "octoconf:3:"),
    ] {
        let outcome = parse(&text, FileFormat::Toml, &environment);
        assert!(outcome.is_err(), "{text}");
        let shown = shown(&outcome);
        assert!(!shown.contains(SECRET), "{text}\n{shown}");
        assert!(shown.contains(key), "{text}\n{shown}");
    }
}

#[test]
fn an_ini_line_that_cannot_be_read_is_not_quoted() {
    let text = format!("[admin]\ntoken\n{SECRET}\ntoken = {SECRET}\ntoken = {SECRET}\n[{SECRET}\n");
    let outcome = parse(&text, FileFormat::Ini, &Environment::default());
    let shown = shown(&outcome);
    assert!(outcome.is_err() && !shown.contains(SECRET), "{shown}");
}
