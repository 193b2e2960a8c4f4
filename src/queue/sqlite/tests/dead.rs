//! Dead letters whose rows are damaged.

use super::*;

const LETTERS: &str = "
    INSERT INTO dead (queue, message_id, kind, reason, body, attributes, open, receives, redrives, sent_at, dead_at) VALUES
        (1, 'a', 'rejected', 'no total', x'61', '{', NULL, 1, 0, 1000, 1000),
        (1, 'b', 'rejected', 'no total', x'62', NULL, NULL, 1, 0, 1000, 1000),
        (1, 'c', x'00ff', 7, x'63', NULL, 'every one', -1, 0, 1000, 1000)";

#[test]
fn a_damaged_letter_hides_no_other_and_can_be_purged() {
    let scene = Scene::new();
    scene.queue.store.with_writers(|connection| _ = connection.execute_batch(LETTERS));
    let mut seen = Vec::new();
    let mut note = |letter: DeadLetter| {
        seen.push((letter.message_id.to_string(), letter.reason));
        true
    };
    scene.queue.list(&DeadFilter::default(), &mut note).unwrap();
    assert_eq!(seen.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(seen[0].1.starts_with("no total (the row of this letter is damaged: its attributes"), "{}", seen[0].1);
    assert_eq!((seen[1].1.as_str(), seen[2].1.as_str()), ("no total", "7"));

    for id in ["1", "3"] {
        let error = scene.queue.redrive(&["2".into(), id.into()]).unwrap_err().to_string();
        assert!(error.contains(&format!("dead letter {id} is damaged")) && error.contains("nothing was redriven"), "{error}");
        assert!(scene.queue.find(id).unwrap().is_some());
    }
    assert_eq!(scene.queue.purge(&["1".into(), "3".into()]).unwrap(), 2);
    assert_eq!(scene.queue.redrive(&["2".into()]).unwrap(), 1);
}
