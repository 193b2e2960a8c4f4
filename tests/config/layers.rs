//! Defaults, partner files, the configuration file and the environment: which layer wins, and what survives the merge.

use std::time::Duration;

use octoconf::config::{self, Context, Environment, FileFormat, Loaded};
use octoconf::handler::Registry;
use octoconf::settings::{Deliver, Rate, Settings, Source};
use proptest::prelude::*;

const QUEUE: &str = "[queues.stock]\nsource = 'memory'\nhandler = 'order'\n[partners.default]\ndeliver = 'discard'\n";

fn loaded(text: &str, kind: FileFormat, environment: &Environment) -> Loaded {
    let context = Context { environment, handlers: &Registry::new() };
    config::parse(text, kind, "octoconf", &context).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn toml(text: &str) -> Settings {
    loaded(text, FileFormat::Toml, &Environment::default()).settings
}

fn ini(text: &str) -> Settings {
    loaded(text, FileFormat::Ini, &Environment::default()).settings
}

#[test]
fn keys_left_out_have_their_defaults() {
    let settings = toml(QUEUE);
    let (queue, partner) = (&settings.queues["stock"], &settings.partners.default);
    assert_eq!(settings.engine.handler_threads, 10, "the sum of the queues' concurrency");
    assert_eq!(settings.engine.max_in_flight_bytes, 256 << 20);
    assert_eq!(settings.admin.listen, "127.0.0.1:9464");
    assert_eq!((queue.concurrency, queue.pollers, queue.max_receives), (10, 0, 100));
    assert_eq!(queue.visibility_timeout, Duration::from_secs(60));
    assert_eq!((partner.max_batch, partner.parallel, partner.rate), (100, 1, None));
    assert_eq!((partner.min_backoff, partner.max_backoff), (Duration::from_secs(1), Duration::from_secs(300)));
    assert_eq!(
        settings.queues.len() + settings.handlers.len() + settings.partners.by_account.len(),
        1,
        "the defaults create nothing"
    );
}

#[test]
fn the_environment_wins_over_the_file() {
    let environment = Environment::from_iter([
        ("OCTOCONF_QUEUES__STOCK__CONCURRENCY", "20"),
        ("OCTOCONF_PARTNERS__DEFAULT__RATE", "50/s"),
        ("OCTOCONF_PARTNERS__ACME.COM__ALLOW_PRIVATE_ADDRESSES", "true"),
        ("OCTOCONF_PARTNERS__ACME.COM__DELIVER", "http"),
        ("OCTOCONF_PARTNERS__ACME.COM__URL", "https://acme.com/in"),
        ("OCTOCONF_ADMIN__LISTEN", ""),
        ("OCTOCONF_CONFIG", "elsewhere.toml"),
    ]);
    let settings = loaded(&format!("{QUEUE}[partners.'acme.com']\nburst = 3"), FileFormat::Toml, &environment).settings;
    assert_eq!(settings.queues["stock"].concurrency, 20);
    assert_eq!(settings.engine.handler_threads, 20);
    assert_eq!(settings.admin.listen, "");
    let acme = settings.partners.of("acme.com");
    assert_eq!(
        acme.rate,
        Some(Rate { requests: 50, per: Duration::from_secs(1) }),
        "from the default, as the environment has it"
    );
    assert_eq!(acme.burst, 3, "from the file");
    let Deliver::Http(http) = &acme.deliver else { panic!("{acme:?}") };
    assert!(http.allow_private_addresses);
}

#[test]
fn a_partner_starts_from_the_default_and_says_what_differs() {
    let text = "
        [queues.stock]
        source = 'memory'
        handler = 'order'
        [partners.default]
        url = 'https://h/{account}'
        rate = '5/s'
        headers = { X-Key = 'one', x-other = 'two' }
        [partners.acme]
        rate = ''
        headers = { x-key = 'three', X-Other = '' }
        [partners.single]
        format = 'single'
        [partners.queue]
        deliver = 'sqs'
        url = 'https://sqs.eu-west-1.amazonaws.com/1/out'
    ";
    let settings = toml(text);
    let acme = settings.partners.of("acme");
    assert_eq!(acme.rate, None);
    let Deliver::Http(http) = &acme.deliver else { panic!("{acme:?}") };
    let headers: Vec<_> = http.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(headers, [("x-key", "three")]);
    assert_eq!(http.url, "https://h/{account}");
    assert_eq!(settings.partners.of("single").max_batch, 1);
    assert_eq!(settings.partners.of("queue").max_batch, 10, "the limit of SQS");
    assert_eq!(settings.partners.of("nobody"), &settings.partners.default);
}

#[test]
fn ini_says_what_toml_says() {
    let from_toml = toml(
        "
        [engine]
        max_in_flight = 500
        [queues.stock]
        source = 'sqlite'
        path = 'C:\\new\\x.db'
        handler = 'pricing'
        [handlers.pricing]
        jq = '{sku: .sku, note: \"a;b # c\"}'
        [partners.default]
        url = 'https://h/?a=b;c#d'
        [partners.'acme.co.uk']
        rate = '5/s'
        allow_private_addresses = true
        headers = { x-key = ' v ' }
        [partners.'Ünï cødé [x]']
        idle_timeout = '1h 30m'
    ",
    );
    let from_ini = ini(
        "\u{feff}[engine]\r\nmax_in_flight = 500\r\n[queues.stock]\r\nsource = sqlite\r\npath = C:\\new\\x.db\r\nhandler = pricing\r\n\
         [handlers.pricing]\r\njq = {sku: .sku, note: \"a;b # c\"}\r\n[partners.default]\r\nurl = https://h/?a=b;c#d\r\n\
         [partners.acme.co.uk]\r\nrate = 5/s\r\nallow_private_addresses = true\r\nheaders.X-Key = \" v \"\r\n\
         [partners.Ünï cødé [x]]\r\nidle_timeout = 1h 30m\r\n[admin]\r\ntoken =\r\n",
    );
    assert_eq!(from_toml, from_ini);
}

#[test]
fn a_byte_order_mark_and_carriage_returns_do_no_harm() {
    let windows = format!("\u{feff}{}", QUEUE.replace('\n', "\r\n"));
    assert_eq!(toml(&windows), toml(QUEUE));
}

#[test]
fn sources_have_their_keys() {
    let settings = toml(
        "
        [queues.s]
        url = 'https://sqs.eu-west-1.amazonaws.com/1/s.fifo'
        handler = 'order'
        dead_letter = 'none'
        [queues.m]
        source = 'memory'
        handler = 'order'
        preload = 'm.jsonl'
        repeat = 5
        group = '.account'
        [partners.default]
        deliver = 'stdout'
    ",
    );
    let Source::Sqs(sqs) = &settings.queues["s"].source else { panic!("{:?}", settings.queues["s"]) };
    assert_eq!((sqs.region.as_deref(), sqs.dead_letter.as_str()), (None, "none"));
    let expected = Source::Memory { preload: Some("m.jsonl".into()), repeat: 5, group: Some(".account".to_owned()) };
    assert_eq!(settings.queues["m"].source, expected);
}

proptest! {
    /// Accounts as a producer may write them: with dots, spaces, quotes, line breaks, NUL, in any script.
    #[test]
    fn any_account_survives_toml_and_check(account in "\\PC{1,40}|[\\x00-\\x7f]{1,20}|[a-z.]{1,9}") {
        prop_assume!(account != "default");
        let quoted = serde_json::Value::from(account.as_str()).to_string().replace('\u{7f}', "\\u007f");
        let settings = toml(&format!("{QUEUE}[partners.{quoted}]\nburst = 7\n"));
        prop_assert_eq!(settings.partners.by_account.len(), 1);
        prop_assert_eq!(settings.partners.of(&account).burst, 7);
        prop_assert_eq!(toml(&settings.show_text()), settings);
    }

    #[test]
    fn no_text_makes_it_panic(text in "(\\[|\\]|=|\\.|queues|partners|default|\"|'|\n|\\PC){0,40}", is_ini: bool) {
        let environment = Environment::default();
        let context = Context { environment: &environment, handlers: &Registry::new() };
        let kind = if is_ini { FileFormat::Ini } else { FileFormat::Toml };
        prop_assert!(config::parse(&text, kind, "x", &context).is_err(), "without a way to deliver it cannot be right");
    }
}
