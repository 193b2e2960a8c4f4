//! What is wrong with a configuration is reported in full: all problems at once, each with its key and what to do. Sections
//! that do not fit each other: [`crate::misfits`].

use octoconf::config::{self, Context, Environment, FileFormat};
use octoconf::handler::Registry;

const GOOD: &str = "[partners.default]\ndeliver = 'discard'\n[queues.q]\nsource = 'memory'\nhandler = 'order'\n";

pub fn problems_in(text: &str, kind: FileFormat, environment: &Environment) -> Vec<String> {
    let context = Context { environment, handlers: &Registry::new() };
    match config::parse(text, kind, "octoconf.toml", &context) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.problems.iter().map(ToString::to_string).collect(),
    }
}

/// Returns the problems of a valid file with `text` appended.
pub fn problems(text: &str) -> Vec<String> {
    problems_in(&format!("{GOOD}{text}"), FileFormat::Toml, &Environment::default())
}

#[track_caller]
pub fn expect(text: &str, expected: &[&str]) {
    assert_eq!(problems(text), expected, "\n{text}");
}

#[test]
fn a_good_file_has_none() {
    expect("", &[]);
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_keys() {
    let text = "
        [queues.invoice]
        source = 'sqlite'
        handler = 'ordr'
        concurency = 5
        visibility_timeout = '13h'
        [engine]
        max_in_flight = 'many'
        [partners.acme]
        rate = '50'
        min_backoff = '10m'
        linger = '10s'
        give_up_after = '5s'
        [admn]
        token = 'hush'
    ";
    expect(
        text,
        &[
            "admn: unknown section; did you mean admin?",
            "engine.max_in_flight: found \"many\"; write a whole number",
            "partners.acme.linger: 10s is not shorter than give_up_after, 5s: deliveries would be given up before they are tried; shorten linger",
            "partners.acme.min_backoff: 10m is longer than max_backoff, 5m; swap or change them",
            "partners.acme.rate: found \"50\"; write a rate such as \"50/s\", \"300/m\" or \"10/h\", or \"\" for none",
            "queues.invoice.concurency: unknown key; did you mean concurrency?",
            "queues.invoice.handler: there is no handler \"ordr\"; did you mean order?",
            "queues.invoice.visibility_timeout: 13h is out of range; set it to 1ms to 12h",
        ],
    );
}

#[test]
fn an_empty_file_lacks_a_queue_and_a_way_to_deliver() {
    let expected = [
        "partners.default.url: deliver is http and there is no url; set url = \"https://…\", or deliver to a file, stdout or discard",
        "queues: there is none; add a [queues.NAME] with its source and handler",
    ];
    for kind in [FileFormat::Toml, FileFormat::Ini] {
        assert_eq!(problems_in("", kind, &Environment::default()), expected);
    }
}

#[test]
fn unknown_names_get_the_nearest_known_one() {
    expect("[queue.x]", &["queue: unknown section; did you mean queues?"]);
    expect("[engine]\nmax_inflight = 1", &["engine.max_inflight: unknown key; did you mean max_in_flight?"]);
    expect("[admin]\ncolour = 1", &["admin.colour: unknown key; known are listen, token"]);
    expect("[partners.default.header]\nx = 'y'", &["partners.default.header: unknown key; did you mean headers?"]);
    expect(
        "[partners.acme.com]\nrate = '1/s'",
        &["partners.acme.com: unknown section; a name with a dot is quoted: [partners.\"acme.com\"]"],
    );
}

/// Which is how TOML has it. In INI it is another account.
#[test]
fn a_section_for_headers_in_ini() {
    let text = "[queues.q]\nsource = memory\nhandler = order\n[partners.default]\ndeliver = discard\n[partners.acme.com.headers]\nrate = 1/s\n";
    assert!(problems_in(text, FileFormat::Ini, &Environment::default()).is_empty(), "an account may have that name");
    let found = problems_in(&format!("{text}X-Key = 1\n"), FileFormat::Ini, &Environment::default());
    let expected = "partners.\"acme.com.headers\": an account of this name; if these are headers of partners.\"acme.com\", write headers.NAME = VALUE below [partners.acme.com]";
    assert_eq!((found.len(), found[0].as_str()), (2, expected), "{found:#?}");
}

#[test]
fn a_value_where_a_section_must_be_and_the_other_way_round() {
    expect("[partners]\nacme = 5", &["partners.acme: a value where a section must be; write [partners.acme] and its keys below"]);
    expect("[engine.log]\nx = 1", &["engine.log: found a section; write text in quotes"]);
    expect("[engine]\nlog = ['info']", &["engine.log: found a list; write text in quotes"]);
    expect(
        "[partners.x]\nheaders = 'a: b'",
        &["partners.x.headers: a value where headers must be; write headers.NAME = VALUE for each in the partner's section"],
    );
    expect(
        "[partners]\nburst = 5",
        &["partners.burst: a key outside of a partner's section; write it below [partners.default] or [partners.ACCOUNT]"],
    );
    expect(
        "[queues]\nheaders = 5",
        &["queues.headers: a value where a section must be; write [queues.headers] and its keys below"],
    );
    for (text, found) in [("= 5", "a value"), ("= []", "a list"), ("", "a list")] {
        for (section, name) in [("queues", "NAME"), ("handlers", "NAME"), ("partners", "ACCOUNT")] {
            let text = if text.is_empty() { format!("[[{section}]]\nx = 1") } else { format!("{section} {text}") };
            let said =
                format!("{section}: {found} where sections must be; write [{section}.{name}] for each, and its keys below");
            let problems = problems_in(&text, FileFormat::Toml, &Environment::default());
            let of_section: Vec<_> = problems.iter().filter(|problem| problem.starts_with(section)).collect();
            assert_eq!(of_section.first(), Some(&&said), "{problems:?}");
            assert!(section == "partners" || of_section.len() == 1, "{problems:?}");
        }
    }
}

#[test]
fn a_handler_that_is_no_text_is_reported_once() {
    for (wrong, found) in [("5", "5"), ("['order']", "a list"), ("{}", "a section")] {
        expect(
            &format!("[queues.s]\nsource = 'memory'\nhandler = {wrong}"),
            &[&format!("queues.s.handler: found {found}; write text in quotes")],
        );
    }
}

#[test]
fn names_must_fit_where_they_are_used() {
    let text = "not a name; use at most 80 letters, digits, \"-\", \"_\" and \".\", with a letter or digit first";
    let queue = "source = 'memory'\nhandler = 'order'";
    expect(&format!("[queues.'a/b']\n{queue}"), &[&format!("queues.\"a/b\": {text}")]);
    expect(&format!("[queues.'..']\n{queue}"), &[&format!("queues.\"..\": {text}")]);
    expect(&format!("[queues.'orders.fifo']\n{queue}"), &[]);
    expect("[partners.'']\nburst = 2", &["partners.\"\": an account is never empty; name it"]);
}

#[test]
fn numbers_and_times_have_ranges() {
    for (text, expected) in [
        ("[partners.x]\nmax_batch = 101", "partners.x.max_batch: 101 is out of range; set it to 1 to 100"),
        ("[partners.x]\nmax_batch = 0", "partners.x.max_batch: 0 is out of range; set it to 1 to 100"),
        ("[partners.x]\nburst = 0", "partners.x.burst: 0 is out of range; set it to 1 to 1000000"),
        ("[partners.x]\nparallel = -1", "partners.x.parallel: -1 is out of range; set it to 1 to 10000"),
        ("[partners.x]\nburst = 99999999999", "partners.x.burst: 99999999999 is out of range; set it to 1 to 1000000"),
        (
            "[queues.x]\nhandler = 'order'\nmax_receives = -1",
            "queues.x.max_receives: -1 is out of range; set it to 0 to 4294967295",
        ),
        (
            "[engine]\nmax_in_flight = 18446744073709551616",
            "engine.max_in_flight: 18446744073709551616 is out of range; set it to 1 to 100000000",
        ),
        ("[partners.x]\ntimeout = '0s'", "partners.x.timeout: 0s is out of range; set it to 1ms to 1h"),
        ("[partners.x]\ntimeout = 10", "partners.x.timeout: found 10; write a duration such as \"250ms\", \"30s\" or \"10m\""),
        (
            "[partners.x]\nmax_batch_bytes = 'big'",
            "partners.x.max_batch_bytes: found \"big\"; write a size such as \"256KiB\" or \"1GiB\"",
        ),
        (
            "[partners.x]\ngive_up_after = '500000000000y'",
            "partners.x.give_up_after: it is too long; set it to at most 10years, or \"\" for never",
        ),
        (
            "[partners.x]\ngive_up_after = '0s'",
            "partners.x.give_up_after: 0s would give up at once; set it to more, or \"\" for never",
        ),
        ("[partners.x]\ndeliver = 'ftp'", "partners.x.deliver: found \"ftp\"; write one of http, file, sqs, stdout, discard"),
        ("[partners.x]\nformat = 'xml'", "partners.x.format: found \"xml\"; write one of json, ndjson, single, cloudevents"),
        ("[engine]\nflush_interval = '0s'", "engine.flush_interval: 0s is out of range; set it to 1ms to 1m"),
        (
            "[engine]\nlog = 'loud=very'",
            "engine.log: found \"loud=very\"; write off, error, warn, info, debug or trace, or MODULE=LEVEL, with commas between",
        ),
        (
            "[engine]\nlog = 'info,warning'",
            "engine.log: found \"info,warning\"; write off, error, warn, info, debug or trace, or MODULE=LEVEL, with commas between",
        ),
        (
            "[queues.s]\nsource = 'memory'\nhandler = 'order'\nconcurrency = 0",
            "queues.s.concurrency: 0 is out of range; set it to 1 to 10000",
        ),
        ("[queues.s]\nsource = 'kafka'\nhandler = 'order'", "queues.s.source: found \"kafka\"; write one of sqs, sqlite, memory"),
        (
            "[queues.s]\nhandler = 'order'\nwait_time = '21s'",
            "queues.s.wait_time: 21s is longer than SQS allows; set it to at most 20s",
        ),
        (
            "[queues.s]\nhandler = 'order'\nwait_time = '1500ms'",
            "queues.s.wait_time: 1s 500ms is not in whole seconds, as SQS requires; round it",
        ),
        ("[queues.s]\nhandler = 'order'\nreceive_batch = 11", "queues.s.receive_batch: 11 is out of range; set it to 0 to 10"),
        (
            "[admin]\nlisten = 'here'",
            "admin.listen: found \"here\"; write an address and port such as \"127.0.0.1:9464\" or \"[::1]:9464\", or \"\" for none",
        ),
    ] {
        expect(text, &[expected]);
    }
}

#[test]
fn a_source_has_only_its_own_keys() {
    expect(
        "[queues.s]\nhandler = 'order'\npath = 'x.db'\ngroup = '.g'",
        &[
            "queues.s.group: only sqlite and memory queues have it, and this one is sqs; leave it out or change source",
            "queues.s.path: only sqlite queues have it, and this one is sqs; leave it out or change source",
        ],
    );
    expect(
        "[queues.s]\nsource = 'sqlite'\nhandler = 'order'\nregion = 'eu-west-1'\nrepeat = 2",
        &[
            "queues.s.region: only sqs queues have it, and this one is sqlite; leave it out or change source",
            "queues.s.repeat: only memory queues have it, and this one is sqlite; leave it out or change source",
        ],
    );
    // An empty value is the same as no value.
    expect("[queues.s]\nsource = 'sqlite'\nhandler = 'order'\nregion = ''\npreload = ''", &[]);
}

#[test]
fn sqs_names_and_urls_are_checked() {
    expect(
        "[queues.s]\nhandler = 'order'\nname = 'a b'",
        &["queues.s.name: \"a b\" is no name of an SQS queue; use at most 80 letters, digits, \"-\" and \"_\", or set url"],
    );
    expect(
        "[queues.'a.b']\nhandler = 'order'",
        &["queues.\"a.b\".name: a.b cannot be the name of an SQS queue; set name or url"],
    );
    expect(
        "[queues.s]\nhandler = 'order'\nname = 's'\nurl = 'https://sqs/1/s'",
        &["queues.s.url: the queue has a name too; keep one of them"],
    );
    expect(
        "[queues.s]\nhandler = 'order'\nendpoint = 'localhost:9324'",
        &["queues.s.endpoint: no URL; start it with https:// or http://"],
    );
    expect(
        "[queues.s]\nhandler = 'order'\ndead_letter = 's'",
        &["queues.s.dead_letter: is the queue itself, so dead letters would come back; name another queue, or \"none\""],
    );
    expect("[queues.s]\nhandler = 'order'\ndead_letter = 'none'", &[]);
    // No queue is meant, not even one of that name.
    expect("[queues.s]\nhandler = 'order'\nname = 'none'\ndead_letter = 'none'", &[]);
    let three = |last: &str| {
        let queue = |name: &str, dead: &str| format!("[queues.{name}]\nhandler = 'order'\ndead_letter = '{dead}'\n");
        [
            queue("s", "t"),
            queue("t", "u"),
            queue("r", "s"),
            format!("[queues.v]\nhandler = 'order'\nname = 'u'\ndead_letter = '{last}'"),
        ]
        .concat()
    };
    expect(
        &three("s"),
        &[
            "queues.s.dead_letter: leads back to the queue by way of queues.t, queues.v, so dead letters would come back; have those \
           of one go elsewhere",
        ],
    );
    expect(&three("w"), &[]);
    expect(&(three("s") + "\nregion = 'eu-west-1'"), &[]);
}

#[test]
fn missing_required_keys_are_reported() {
    expect(
        "[queues.s]\nsource = 'memory'",
        &["queues.s.handler: there is none; name a handler in code (order, product) or a [handlers.NAME]"],
    );
    expect(
        "[partners.x]\ndeliver = 'file'",
        &["partners.x.path: deliver is file and there is no path; set path = \"out/{queue}/{account}.jsonl\" or the like"],
    );
    expect("[partners.x]\ndeliver = 'sqs'", &["partners.x.url: deliver is sqs and there is no url; set it to the queue's URL"]);
    expect(
        "[handlers.h]\nbucket = ''",
        &[
            "handlers.h.bucket: there is none; write the jq path of the account, for example \".account\"",
            "handlers.h.jq: there is none; write the jq program that makes the payloads, for example \".\"",
        ],
    );
    expect(
        "[queues.s]\nsource = 'memory'\nhandler = 'order'\nrepeat = 3",
        &["queues.s.repeat: there is nothing to repeat; set preload to a JSONL file, or leave it out"],
    );
}

#[test]
fn handlers_are_known_by_name() {
    expect("[handlers.order]\njq = '.'", &["handlers.order: a handler in code has this name; choose another"]);
    expect(
        "[queues.s]\nsource = 'memory'\nhandler = 'pricing'",
        &["queues.s.handler: there is no handler \"pricing\"; known are order, product"],
    );
    expect("[handlers.pricing]\njq = '.'\n[queues.s]\nsource = 'memory'\nhandler = 'pricing'", &[]);
}

#[test]
fn jq_programs_are_checked_with_their_key() {
    expect(
        "[handlers.h]\njq = 'oops'\nbucket = 'oops'\n[queues.s]\nsource = 'memory'\nhandler = 'h'\ngroup = 'oops'",
        &[
            "handlers.h.bucket: not a jq program: `oops` is not defined at line 1 column 1; a path begins with a dot: \".oops\"",
            "handlers.h.jq: not a jq program: `oops` is not defined at line 1 column 1",
            "queues.s.group: not a jq program: `oops` is not defined at line 1 column 1; a path begins with a dot: \".oops\"",
        ],
    );
}

#[test]
fn placeholders_and_urls_are_checked() {
    let of_another = "deliver is sqs and the url holds userinfo, a query or a placeholder; write the plain URL, and give credentials by the usual AWS variables or profile";
    let text = "[partners.default]\nurl = 'https://h/{account}'\n[partners.x]\ndeliver = 'sqs'\n[queues.q]\nsource = 'memory'\nhandler = 'order'";
    assert_eq!(problems_in(text, FileFormat::Toml, &Environment::default()), [format!("partners.x.url: {of_another}")]);
    for (url, text) in [
        ("https://h/{acount}", "unknown placeholder {acount}; did you mean account?"),
        ("partners.example.com/{account}", "no URL; start it with https:// or http://"),
        ("https://h/{account", "an unmatched brace; placeholders are {account} and {queue}"),
    ] {
        expect(&format!("[partners.x]\ndeliver = 'http'\nurl = '{url}'"), &[&format!("partners.x.url: {text}")]);
    }
    expect(
        "[partners.x]\ndeliver = 'file'\npath = 'out/{partner}'",
        &["partners.x.path: unknown placeholder {partner}; known are account, queue"],
    );
}

#[test]
fn a_bad_default_is_reported_once_and_not_by_each_partner() {
    let mut text = "[partners.default]\nurl = 'nowhere'\ntimeout = 'long'\nmin_backoff = '1h'\n".to_owned();
    for partner in 0..50 {
        text += &format!("[partners.p{partner}]\nburst = 2\n");
    }
    text += "[partners.own]\nmax_backoff = '2m'\n[queues.q]\nsource = 'memory'\nhandler = 'order'\n";
    assert_eq!(
        problems_in(&text, FileFormat::Toml, &Environment::default()),
        [
            "partners.default.min_backoff: 1h is longer than max_backoff, 5m; swap or change them",
            "partners.default.timeout: found \"long\"; write a duration such as \"250ms\", \"30s\" or \"10m\"",
            "partners.default.url: no URL; start it with https:// or http://",
            "partners.own.min_backoff: 1h is longer than max_backoff, 2m; swap or change them",
        ]
    );
}

#[test]
fn a_section_from_the_environment_is_reported_by_its_variable() {
    let missing = "queues.z.handler: there is none; name a handler in code (order, product) or a [handlers.NAME]";
    let environment = Environment::from_iter([("OCTOCONF_QUEUES__Z__CONCURRENCY", "5")]);
    assert_eq!(problems_in(GOOD, FileFormat::Toml, &environment), [format!("{missing} (from OCTOCONF_QUEUES__Z__CONCURRENCY)")]);
    // The environment extends a section of the file, which lacks a handler.
    let text = format!("{GOOD}[queues.z]\nsource = 'memory'\n");
    assert_eq!(problems_in(&text, FileFormat::Toml, &environment), [missing]);
}

#[test]
fn problems_from_the_environment_name_the_variable() {
    let environment = Environment::from_iter([
        ("OCTOCONF_QUEUES__Q__CONCURRENCY", "lots"),
        ("OCTOCONF_ENGINE__LOGG", "info"),
        ("OCTOCONF_QUEUES__R__HANDLER", "nobody"),
    ]);
    let found = problems_in(GOOD, FileFormat::Toml, &environment);
    assert_eq!(
        found,
        [
            "engine.logg: unknown key; did you mean log? (from OCTOCONF_ENGINE__LOGG)",
            "queues.q.concurrency: found \"lots\"; write a whole number (from OCTOCONF_QUEUES__Q__CONCURRENCY)",
            "queues.r.handler: there is no handler \"nobody\"; known are order, product",
        ]
    );
}

#[test]
fn headers_are_checked() {
    expect(
        "[partners.x.headers]\nHost = 'h'\n'a b' = 'c'\nx-n = 5\nx-line = \"a\\nb\"",
        &[
            "partners.x.headers.\"a b\": no name of a header; use letters, digits and \"-\"",
            "partners.x.headers.host: set by octoconf in each request; leave it out",
            "partners.x.headers.x-line: holds a line break or another control character; write it on one line",
            "partners.x.headers.x-n: found *** (not shown); write text in quotes, env:NAME or file:PATH",
        ],
    );
}

#[test]
fn problems_of_sinks_are_reported_with_all_others() {
    let environment = Environment::from_iter([("BAD", "whsec_!!!"), ("SHORT", "whsec_"), ("GOOD", "whsec_MDEyMzQ1Njc4OQ==")]);
    let text = "
        [partners.a]
        url = 'http://{account}:x@h/'
        signing_secret = 'env:BAD'
        path = 'out/'
        [partners.a.headers]
        expect = 'x'
        [partners.b]
        url = 'http://h/../x'
        path = '..'
        [partners.c]
        url = 'http://ü.com/'
        signing_secret = 'env:SHORT'
        path = '/'
        [partners.d]
        url = 'http://[::1/'
        path = '.'
        [partners.e]
        url = 'http://h/<x>'
        rate = 'x'
        [partners.f]
        deliver = 'sqs'
        url = 'http://127.0.0.1:9324/1/x.fifo'
        [partners.good]
        url = 'http://h/%2e/{account}'
        signing_secret = 'env:GOOD'
        path = '/out/{account}'
    ";
    let told = problems_in(&format!("{GOOD}{text}"), FileFormat::Toml, &environment);
    let expected = [
        "partners.a.headers.expect: set by octoconf in each request",
        "partners.a.path: path \"out/\" names no file: end it",
        "partners.a.signing_secret: not base64 of a key",
        "partners.a.url: has a placeholder before the @",
        "partners.b.path: path \"..\" has \".\" or \"..\"",
        "partners.b.url: has \".\" or \"..\" in its path",
        "partners.c.path: path \"/\" names no file",
        "partners.c.signing_secret: not base64 of a key",
        "partners.c.url: names no valid host",
        "partners.d.path: path \".\" has",
        "partners.d.url: names no valid host",
        "partners.e.rate: found \"x\"",
        "partners.e.url: names no valid host",
        "partners.f.url: deliver is sqs and its region is not known: its URL is not one of AWS; set AWS_REGION",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}\n{expected}");
    }
    let somewhere = Environment::from_iter([("AWS_REGION", "eu-west-1")]);
    let sqs = "[partners.f]\ndeliver = 'sqs'\nurl = 'http://127.0.0.1:9324/1/x.fifo'";
    assert_eq!(problems_in(&format!("{GOOD}{sqs}"), FileFormat::Toml, &somewhere), [""; 0]);
    for (long, what) in [("url = 'http://h/LONG'", "url: names no valid host"), ("path = 'LONG'", "path: the name \"xxx")] {
        let told = problems(&format!("[partners.x]\n{}", long.replace("LONG", &"x".repeat(70_000))));
        assert!(told.len() == 1 && told[0].starts_with(&format!("partners.x.{what}")) && told[0].len() < 500, "{told:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem() {
    let environment = Environment::default();
    let context = Context { environment: &environment, handlers: &Registry::new() };
    let folder = tempfile::tempdir().unwrap();
    let told = |name: &str, bytes: Option<&[u8]>| {
        let path = folder.path().join(name);
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes).unwrap();
        }
        let errors = config::load(&path, &context).unwrap_err();
        assert_eq!(errors.problems.len(), 1, "{errors}");
        errors.to_string()
    };
    assert!(told("octoconf.yaml", Some(b"")).contains("is neither .toml nor .ini"));
    assert!(told("octoconf", Some(b"")).contains("is neither .toml nor .ini"));
    assert!(told("missing.toml", None).contains("check that it exists"));
    assert!(told("bytes.toml", Some(b"\xff")).contains("is not UTF-8"));
    assert!(told("syntax.toml", Some(b"[a\n")).contains("syntax.toml:1:"));
    assert!(told("syntax.ini", Some(b"what\n")).contains("syntax.ini:1: neither"));
}

#[test]
fn depth_without_end_is_refused_and_no_stack_overflows() {
    const DEEP: usize = 200_000;
    for text in [
        format!("x = {}", "[".repeat(DEEP)),
        format!("x = {}", "{a=".repeat(DEEP)),
        format!("{}x = 1", "a.".repeat(DEEP)),
        format!("[{}x]", "a.".repeat(DEEP)),
        format!("[queues.q]\n{}x = 1", "a.".repeat(DEEP)),
    ] {
        assert!(!problems_in(&text, FileFormat::Toml, &Environment::default()).is_empty());
    }
    let deep = format!("OCTOCONF_{}X", "A__".repeat(DEEP));
    assert!(!problems_in(GOOD, FileFormat::Toml, &Environment::from_iter([(deep, "1")])).is_empty());
}
