//! The places of a line: what is older goes before what is parked, and none is used twice.

use super::*;

#[test]
fn what_is_older_goes_before_what_is_parked_and_behind_what_is_in_memory() {
    let scene = Scene::new();
    let parking = scene.parking();
    let places = parking.park(&behind("x", &["a", "b"])).unwrap();
    let after = place(&places[0]);
    // They are given up newest first, so each goes before the one given up earlier.
    parking.park(&[older("x", "m2", after), older("x", "m1", after)]).unwrap();
    assert_eq!(ids(&take(&parking, "x", after, 9)), ["m1", "m2", "b"]);
    assert_eq!(ids(&take(&parking, "x", START, 9)), ["a", "m1", "m2", "b"]);
    let last = take(&parking, "x", START, 9).rows[3].place;
    parking.park(&[older("x", "m3", last)]).unwrap();
    assert_eq!(ids(&take(&parking, "x", last, 9)), ["m3"], "there is nothing to be before");
}

#[test]
fn what_is_older_than_a_row_that_left_memory_goes_right_before_it() {
    let scene = Scene::new();
    let parking = scene.parking();
    let places = parking.park(&behind("x", &["a", "b"])).unwrap();
    // Both were unparked, and b left memory again: no row behind the place before b's own is in memory.
    let after = place(&places[1]) - 1;
    parking.park(&[older("x", "m", after)]).unwrap();
    assert_eq!(ids(&take(&parking, "x", START, 9)), ["a", "m", "b"]);
}

#[test]
fn a_place_is_not_used_again_while_it_is_known_in_memory() {
    let scene = Scene::new();
    let parking = scene.parking();
    let after = place(&parking.park(&behind("x", &["a", "b"])).unwrap()[1]);
    parking.purge(None, 9).unwrap();
    parking.park(&[older("x", "m2", after), older("x", "m1", after)]).unwrap();
    assert_eq!(ids(&take(&parking, "x", after, 9)), ["m1", "m2"]);
}

#[test]
fn thousands_go_one_before_the_other_and_others_between_any_two_of_them() {
    let scene = Scene::new();
    let parking = scene.parking();
    let after = place(&parking.park(&behind("x", &["a", "z"])).unwrap()[0]);
    let names: Vec<String> = (0..3000).map(|n| format!("m{n:04}")).collect();
    let newest_first: Vec<_> = names.iter().rev().map(|name| older("x", name, after)).collect();
    let places = parking.park(&newest_first).unwrap();
    assert!(places.is_sorted_by_key(|parked| -place(parked)));
    // m1000 was unparked, and deliveries older than m1001 leave memory.
    let back = place(&places[1999]);
    parking.park(&[older("x", "n2", back), older("x", "n1", back)]).unwrap();
    assert_eq!(ids(&take(&parking, "x", back, 3)), ["n1", "n2", "m1001"]);
}

#[test]
fn where_there_is_no_place_between_two_those_behind_move_on() {
    let scene = Scene::new();
    let parking = scene.parking();
    let after = place(&parking.park(&behind("x", &["a", "b", "c", "d"])).unwrap()[0]);
    let rows = Connection::open(scene.path()).unwrap();
    for (id, place) in [("b", after + 1), ("c", after + 2)] {
        rows.execute("UPDATE parked SET place = ?2 WHERE message_id = ?1", rusqlite::params![id, place]).unwrap();
    }
    parking.park(&[older("x", "m2", after), older("x", "m1", after)]).unwrap();
    assert_eq!(ids(&take(&parking, "x", START, 9)), ["a", "m1", "m2", "b", "c", "d"]);
    assert_eq!(ids(&take(&parking, "x", after, 9)), ["m1", "m2", "b", "c", "d"]);
}

#[test]
fn parking_twice_is_one_row_of_each_queue() {
    let scene = Scene::new();
    let parking = scene.parking();
    parking.park(&behind("x", &["a", "d-1"])).unwrap();
    let again = parking.park(&behind("x", &["a", "d-1", "d-2"])).unwrap();
    assert!(matches!(again[..], [Parked::Already, Parked::Already, Parked::At(_)]), "{again:?}");
    assert_eq!(ids(&take(&parking, "x", START, 9)), ["a", "d-1", "d-2"]);
    // Another handler made the deliveries in another order: this one is not on the disk, and has to go elsewhere.
    let answers = parking.park(&behind("y", &["d-1", "e"])).unwrap();
    assert!(matches!(answers[..], [Parked::ForAnother, Parked::Full]), "{answers:?}");
    let other = scene.open("invoice", 1000, MIB).unwrap();
    assert!(matches!(other.park(&behind("x", &["a"])).unwrap()[..], [Parked::At(_)]));
    assert_eq!((parking.count_of(None).unwrap(), other.count_of(None).unwrap()), (3, 1));
}
