//! Tests that nothing outgrows SQS's limits, and of what is given up first.

use super::*;
use crate::queue::sqs::call::MAX_CALL_BYTES;

/// The room beside a body of a hundred bytes.
const ROOM: usize = MAX_CALL_BYTES - 100;

fn text(name: &str, value: &str) -> Attribute {
    Attribute::new(name.into(), AttributeValue::String(value.into()))
}

fn labelled(name: &str, value: &str) -> Attribute {
    Attribute { label: Some("json".into()), ..text(name, value) }
}

fn facts() -> LetterFacts {
    LetterFacts {
        kind: "refused".into(),
        reason: "status 422: \"ä\" \u{FFFE}\u{1b}".into(),
        source: "stock".into(),
        id: "1b9d".into(),
        account: Some("acme".into()),
        index: Some(3),
        group: Some("g".into()),
        open: Open::of(Some(&[name(3, Some("acme"))])),
        sent_at: 1_720_000_000_123,
        receives: 2,
        redrives: 1,
    }
}

fn name(index: u16, account: Option<&str>) -> DeliveryName {
    DeliveryName { index, account: account.map(Into::into) }
}

fn total(attributes: &[Attribute]) -> usize {
    attributes.iter().map(attribute_bytes).sum()
}

fn note(attributes: &[Attribute]) -> &str {
    let note = attributes.iter().find(|attribute| attribute.name == ATTR_FACTS).unwrap();
    match &note.value {
        AttributeValue::String(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_letter_comes_back_as_it_was_packed() {
    let own = vec![text("a", "1"), Attribute::new("b".into(), AttributeValue::Binary(Bytes::from_static(&[0, 255])))];
    let packed = facts().pack(&own, Some(&"payload".into()), ROOM);
    assert!(note(&packed).chars().all(is_allowed));
    let unpacked = LetterFacts::unpack(packed);
    assert_eq!(unpacked.facts, Some(facts()));
    assert_eq!((unpacked.attributes, unpacked.dropped, unpacked.payload), (own, 0, Some("payload".into())));
}

#[test]
fn the_tenth_attribute_moves_into_ours_and_comes_back() {
    let own: Vec<_> = (0..10).map(|n| text(&format!("name-{n}"), "value")).collect();
    let packed = facts().pack(&own, Some(&"payload".into()), ROOM);
    assert_eq!(packed.len(), MAX_ATTRIBUTES);
    let unpacked = LetterFacts::unpack(packed);
    assert_eq!((unpacked.attributes, unpacked.dropped), (own, 0));
    // There was no room for the payload.
    assert_eq!(unpacked.payload, None);
}

#[test]
fn attributes_that_have_our_names_move_into_ours_and_come_back() {
    let own = vec![labelled("a", "1"), labelled(ATTR_FACTS, "theirs"), text(ATTR_PAYLOAD, "theirs too")];
    let names = |packed: &[Attribute]| packed.iter().map(|attribute| attribute.name.to_string()).collect::<Vec<_>>();
    let packed = facts().pack(&own, Some(&"payload".into()), ROOM);
    assert_eq!(names(&packed), ["a", ATTR_FACTS, ATTR_PAYLOAD]);
    let unpacked = LetterFacts::unpack(packed);
    assert_eq!((unpacked.facts, unpacked.payload, unpacked.dropped), (Some(facts()), Some("payload".into()), 0));
    assert_eq!(unpacked.attributes, own);

    let redriven = Redriven { redrives: 1, open: Open::default() };
    let packed = redriven.clone().pack(&own, ROOM).unwrap();
    assert_eq!(names(&packed), ["a", ATTR_FACTS]);
    assert_eq!(Redriven::unpack(packed), (own.clone(), Some(redriven)));

    let long = [text(ATTR_FACTS, &"x".repeat(MAX_JSON_BYTES))];
    let unpacked = LetterFacts::unpack(facts().pack(&long, None, ROOM));
    assert_eq!((unpacked.facts, unpacked.attributes.len(), unpacked.dropped), (Some(facts()), 0, 1));
}

#[test]
fn what_fits_nowhere_is_dropped_and_counted() {
    let mut own: Vec<_> = (0..9).map(|n| text(&format!("name-{n}"), "value")).collect();
    own.push(text("long", &"x".repeat(MAX_JSON_BYTES)));
    let packed = facts().pack(&own, None, ROOM);
    assert!(note(&packed).len() <= MAX_JSON_BYTES);
    let unpacked = LetterFacts::unpack(packed);
    assert_eq!((unpacked.attributes, unpacked.dropped), (own[..9].to_vec(), 1));
    assert_eq!(unpacked.facts, Some(facts()));
}

#[test]
fn what_is_open_is_said_by_its_places_where_the_accounts_leave_no_room() {
    let names: Vec<_> = (0..200).map(|index| name(index, Some("an-account-with-a-long-name"))).collect();
    let unpacked = LetterFacts::unpack(LetterFacts { open: Open::of(Some(&names)), ..facts() }.pack(&[], None, ROOM));
    let open = unpacked.facts.unwrap().open.names().unwrap();
    assert_eq!(*open, *(0..200).map(|index| name(index, None)).collect::<Vec<_>>());
}

#[test]
fn attributes_that_fit_alone_and_not_together_are_folded_or_dropped() {
    let own = ["a", "b", "c"].map(|letter| text(letter, &letter.repeat(1000)));
    for room in [1000, 2000, 3000, 4000] {
        let packed = facts().pack(&own, None, room);
        assert!(total(&packed) <= room, "{room}: {}", total(&packed));
        let unpacked = LetterFacts::unpack(packed);
        assert_eq!(unpacked.attributes.len() + unpacked.dropped as usize, 3, "{room}");
    }
}

#[test]
fn a_long_reason_is_cut_and_a_large_body_leaves_less() {
    let long = LetterFacts { reason: "ä\"".repeat(2000), ..facts() };
    let own = [text("a", &"x".repeat(3000))];
    for left in [0, 10, 100, 300, 1000, 2000, 3000, 4000, 6000, MAX_CALL_BYTES] {
        let packed = long.clone().pack(&own, Some(&vec![b'p'; 100].into()), left);
        assert!(total(&packed) <= left, "{left}: {}", total(&packed));
        let unpacked = LetterFacts::unpack(packed);
        // Our facts without a reason need about 250 bytes.
        assert_eq!(unpacked.facts.is_some(), left >= 300, "{left}");
        if let Some(facts) = unpacked.facts {
            assert_eq!(
                (facts.id.as_str(), facts.open.names().unwrap()[0].index, unpacked.attributes.len() as u32 + unpacked.dropped),
                ("1b9d", 3, 1)
            );
        }
    }
}

#[test]
fn facts_that_fill_their_room_are_read_with_the_number_of_what_is_dropped() {
    let short = LetterFacts { reason: String::new(), ..facts() };
    let full = LetterFacts { reason: "x".repeat(MAX_JSON_BYTES - json(&short).len()), ..short };
    let packed = full.clone().pack(&vec![text(ATTR_FACTS, &"y".repeat(3000)); 9], None, ROOM);
    assert!(note(&packed).len() > MAX_JSON_BYTES, "{}", note(&packed).len());
    let unpacked = LetterFacts::unpack(packed);
    assert_eq!((unpacked.facts, unpacked.dropped), (Some(full), 9));
}

#[test]
fn an_account_longer_than_ours_may_be_is_cut_at_last() {
    let long = LetterFacts { account: Some("ä".repeat(3000)), ..facts() };
    let packed = long.pack(&[], None, ROOM);
    assert!(note(&packed).len() <= MAX_JSON_BYTES);
    assert!(LetterFacts::unpack(packed).facts.unwrap().account.unwrap().starts_with("ää"));
}

#[test]
fn a_redriven_message_says_what_is_open_or_is_not_sent() {
    let redriven = Redriven { redrives: 2, open: Open::of(Some(&[name(0, None), name(999, Some("ä"))])) };
    let own: Vec<_> = (0..10).map(|n| text(&format!("name-{n}"), "value")).collect();
    let packed = redriven.clone().pack(&own, ROOM).unwrap();
    assert_eq!(packed.len(), MAX_ATTRIBUTES);
    assert_eq!(Redriven::unpack(packed), (own, Some(redriven.clone())));
    assert_eq!(redriven.pack(&[], 20), None);
}

#[test]
fn an_attribute_of_a_producer_that_has_our_name_is_left_alone() {
    for strange in ["", "hello", "{}", "[1]", "{\"redrives\":\"x\"}"] {
        let own = vec![text("a", "1"), text(ATTR_FACTS, strange)];
        assert_eq!(Redriven::unpack(own.clone()), (own.clone(), None));
        let unpacked = LetterFacts::unpack(own.clone());
        assert_eq!((unpacked.attributes, unpacked.facts), (own, None));
    }
    // A producer may write what looks like ours, but is larger than ours ever is.
    let open = |count: usize| format!("{{\"redrives\":1,\"open\":[{}]}}", vec!["9"; count].join(","));
    let long = LetterFacts { reason: "x".repeat(MAX_READ_BYTES), ..facts() };
    for large in [open(MAX_DELIVERIES + 1), open(500_000), serde_json::to_string(&long).unwrap()] {
        let own = vec![text(ATTR_FACTS, &large)];
        assert_eq!(Redriven::unpack(own.clone()), (own.clone(), None));
        assert_eq!(LetterFacts::unpack(own).facts, None);
    }
    let (_, redriven) = Redriven::unpack(vec![text(ATTR_FACTS, &open(MAX_DELIVERIES))]);
    assert_eq!(redriven.unwrap().open.names().unwrap().len(), MAX_DELIVERIES);
    // The facts of a letter do not make it a redriven message.
    let letter = facts().pack(&[], None, ROOM);
    assert_eq!(Redriven::unpack(letter.clone()), (letter, None));
}
