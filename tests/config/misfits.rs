//! Sections that are good by themselves and do not fit each other.

use octoconf::config::{Environment, FileFormat};

use crate::problems::{expect, problems, problems_in};

#[test]
fn sections_must_fit_each_other() {
    expect(
        "[engine]\nhandler_threads = 9",
        &["engine.handler_threads: 9 is below the sum of the queues' concurrency, 10; set it to 10 or more, or to 0 for the sum"],
    );
    expect(
        "[admin]\nlisten = '0.0.0.0:9464'",
        &["admin.listen: 0.0.0.0:9464 is not loopback and there is no admin.token; set one, or listen on 127.0.0.1"],
    );
    expect(
        "[queues.s]\nsource = 'sqlite'\nhandler = 'order'\ngroup = '.g'\nparking = 'p.db'",
        &["queues.s.parking: a FIFO queue has no parking, its locked groups are the store; leave it out"],
    );
    expect(
        "[queues.s]\nhandler = 'order'\nname = 's.fifo'\nparking = 'p.db'",
        &["queues.s.parking: a FIFO queue has no parking, its locked groups are the store; leave it out"],
    );
    for url in ["https://sqs.eu-west-1.amazonaws.com/1/s.fifo", "https://sqs.eu-west-1.amazonaws.com/1/s.fifo/"] {
        expect(
            &format!("[queues.s]\nhandler = 'order'\nurl = '{url}'\nparking = 'p.db'"),
            &["queues.s.parking: a FIFO queue has no parking, its locked groups are the store; leave it out"],
        );
    }
    expect(
        "[queues.a]\nsource = 'sqlite'\nhandler = 'order'\nname = 'n'\n[queues.b]\nsource = 'sqlite'\nhandler = 'order'\nname = 'n'\npath = './octoconf.db'",
        &["queues.b: has the same path and name as queues.a; change one, or keep one of the two"],
    );
    expect(
        "[queues.a]\nhandler = 'order'\nname = 'n'\n[queues.b]\nhandler = 'order'\nname = 'n'",
        &["queues.b: has the same name, region and endpoint as queues.a; change one, or keep one of the two"],
    );
}

#[test]
fn the_parking_needs_a_file_and_a_name_of_its_own() {
    let text = "[queues.s]\nsource = 'sqlite'\npath = './a.db'\nhandler = 'order'\nparking = 'a.db'";
    expect(text, &["queues.s.parking: is the file of queues.s; give what is parked a file of its own"]);
    let text = "[queues.s]\nhandler = 'order'\nparking = 'p.db'\ndead_letter = 'none'";
    expect(
        text,
        &[
            "queues.s.parking: needs a place for dead letters: what a partner refuses after it was parked cannot circulate; set dead_letter, or leave parking out",
        ],
    );
    let text = "[queues.s]\nsource = 'memory'\nhandler = 'order'\nparking = 'p.db'\n[queues.'s.parking']\nsource = 'memory'\nhandler = 'order'";
    expect(text, &["queues.\"s.parking\": is the name under which queues.s shows what it has parked; choose another"]);
}

#[test]
fn a_queue_must_fit_the_urls_of_which_its_name_is_a_part() {
    let queue = "[queues.my_queue]\nsource = 'memory'\nhandler = 'order'\n";
    for (url, fits) in [("http://{queue}.example.com", false), ("http://h/{queue}", true), ("http://{account}.h/", true)] {
        let found = problems(&format!("{queue}[partners.a]\ndeliver = 'http'\nurl = '{url}'"));
        assert_eq!(found.is_empty(), fits, "{url}: {found:?}");
        let named = |problem: &String| problem.starts_with("partners.a.url: with ") && problem.contains("my_queue");
        assert!(found.iter().all(named), "{url}: {found:?}");
    }
}

#[test]
fn deliveries_must_not_go_into_the_file_of_a_queue() {
    let queue = "[queues.s]\nsource = 'sqlite'\npath = './a.db'\nhandler = 'order'\nparking = 'p.db'\n";
    let of_queue = "leads to the file of queues.s; give what is delivered a file of its own";
    let of_parking = "leads to the file of what queues.s has parked; give what is delivered a file of its own";
    for (path, text) in [
        ("a.db", Some(of_queue)),
        ("./a.db-wal", Some(of_queue)),
        ("a.db-shm", Some(of_queue)),
        ("{account}.db-wal", Some(of_queue)),
        ("p.db", Some(of_parking)),
        ("b.db", None),
        ("a.db/{account}", None),
    ] {
        let expected: Vec<_> = text.iter().map(|text| format!("partners.a.path: {text}")).collect();
        assert_eq!(problems(&format!("{queue}[partners.a]\ndeliver = 'file'\npath = '{path}'")), expected, "{path}");
    }
    let preload = "[queues.s]\nsource = 'memory'\npreload = 'a.jsonl'\nhandler = 'order'\n[partners.a]\ndeliver = 'file'\npath = '{account}.jsonl'";
    expect(preload, &["partners.a.path: leads to the file that fills queues.s; give what is delivered a file of its own"]);
    let default = "[partners.default]\ndeliver = 'file'\npath = 'a.db'\n[partners.b]\nburst = 2\n";
    let found = problems_in(&format!("{default}{queue}"), FileFormat::Toml, &Environment::default());
    assert_eq!(found, [format!("partners.default.path: {of_queue}")]);
}
