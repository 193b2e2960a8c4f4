//! Which partner is delivered to by which sink, and how settings that lead nowhere are reported.

use std::collections::BTreeMap;

use crate::support::partner::{Partner, batch, everyone, http, partner, sinks, unreachable};
use octoconf::message::Answer;
use octoconf::settings::{Deliver, PartnersSettings};
use octoconf::sink::{Limits, Sink, Sinks};

#[test]
fn an_account_has_its_own_settings_or_the_default() {
    let answering = Partner::answering("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n");
    let by_account = BTreeMap::from([("acme.com".into(), partner(Deliver::Http(http(answering.url()))))]);
    let sinks = Sinks::new(&PartnersSettings { by_account, ..everyone(Deliver::Discard) }, Limits::of(16), "1").unwrap();
    assert_eq!(sinks.deliver(&batch("acme.com", &["1"])), Answer::Status { code: 503, retry_after: None, excerpt: "".into() });
    assert_eq!(sinks.deliver(&batch("other", &["1"])), Answer::Accepted);
}

#[test]
fn new_settings_replace_the_old_and_wrong_ones_do_not() {
    let sinks = sinks(Deliver::Discard);
    assert_eq!(sinks.deliver(&batch("acme", &["1"])), Answer::Accepted);
    sinks.install(sinks.prepare(&everyone(Deliver::Http(http("http://127.0.0.1:1/")))).unwrap());
    unreachable(sinks.deliver(&batch("acme", &["1"])));
    assert!(sinks.prepare(&everyone(Deliver::File { path: "out/".into() })).is_err());
    unreachable(sinks.deliver(&batch("acme", &["1"])));
}

#[test]
fn all_problems_are_reported_at_once_by_partner() {
    let by_account = BTreeMap::from([
        ("a".into(), partner(Deliver::File { path: "out/{acount}".into() })),
        ("b".into(), partner(Deliver::Http(http("http://user:secret@h/{x}?key=secret")))),
        ("c".into(), partner(Deliver::Discard)),
    ]);
    let settings = PartnersSettings { by_account, ..everyone(Deliver::Http(http("h"))) };
    let errors = Sinks::new(&settings, Limits::of(16), "1").err().unwrap();
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 3);
    assert!(errors[0].starts_with("partners.default: url"), "{errors:?}");
    assert!(errors[1].starts_with("partners.a: path") && errors[1].contains("{acount}"), "{errors:?}");
    assert!(errors[2].starts_with("partners.b: url") && !errors[2].contains("secret"), "{errors:?}");
}

#[test]
fn files_of_replaced_settings_are_free_for_other_processes() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().file_name().unwrap().display();
    let path = |spelling: &str| format!("{}/{spelling}{{account}}.jsonl", folder.path().display());
    let file = |path: String| everyone(Deliver::File { path });
    let (ours, theirs) = (sinks(Deliver::File { path: path("") }), sinks(Deliver::File { path: path("") }));
    assert_eq!(ours.deliver(&batch("acme", &["1"])), Answer::Accepted);
    assert!(unreachable(theirs.deliver(&batch("acme", &["2"]))).contains("another process"));
    // First the same file by another path, then no file at all.
    let before = ours.install(ours.prepare(&file(path(&format!("../{name}/")))).unwrap());
    assert_eq!(ours.deliver(&batch("acme", &["2"])), Answer::Accepted, "while the settings of before are there");
    drop(before);
    assert_eq!(ours.deliver(&batch("acme", &["3"])), Answer::Accepted);
    drop(ours.install(ours.prepare(&everyone(Deliver::Discard)).unwrap()));
    assert_eq!(theirs.deliver(&batch("acme", &["4"])), Answer::Accepted);
    assert_eq!(std::fs::read_to_string(folder.path().join("acme.jsonl")).unwrap(), "1\n2\n3\n4\n");
}
