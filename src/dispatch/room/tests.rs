use super::largest::FIRST_WINDOW;
use super::*;

#[test]
fn half_is_guaranteed_in_equal_parts_and_half_is_shared() {
    let mut room = Room::new(100, u64::MAX, 2);
    assert_eq!((room.free(0), room.free(1)), (75, 75));
    assert_eq!(room.half_of(0), 38);
    room.reserve(0, 75);
    assert_eq!((room.free(0), room.free(1)), (0, 25), "the other queue's guarantee is untouched");
    room.release(0, 75);
    for _ in 0..30 {
        room.hold(1, 1);
    }
    assert_eq!((room.free(0), room.free(1)), (70, 45));
    for _ in 0..30 {
        room.leave(1, 1);
    }
    assert_eq!((room.free(0), room.held()), (75, 0));
}

#[test]
fn one_more_is_none_of_the_places_that_are_another_queues_own() {
    let mut room = Room::new(4, 2 * LARGEST_BODY, 2);
    room.reserve(1, 1);
    room.hold(0, 1);
    assert_eq!((room.free(0), room.one_more(0)), (0, 1), "the bytes are reserved, and may turn out to be enough");
    (0..2).for_each(|_| room.hold(0, 1));
    room.release(1, 1);
    assert_eq!((room.one_more(0), room.one_more(1)), (0, 1));
}

#[test]
fn parts_change_with_the_queues_and_the_whole_stays() {
    let mut room = Room::new(100, u64::MAX, 1);
    (0..100).for_each(|_| room.hold(0, 1));
    room.share_among([true, true].into_iter());
    assert_eq!((room.free(0), room.free(1)), (0, 0), "it is full");
    (0..10).for_each(|_| room.leave(0, 1));
    assert_eq!((room.free(0), room.free(1)), (0, 10), "the new one comes to its part first");
    room.share_among([false, true].into_iter());
    assert_eq!((room.free(0), room.free(1)), (0, 10));
    (0..90).for_each(|_| room.leave(0, 1));
    assert_eq!((room.free(0), room.free(1)), (50, 100), "who is out has nothing that is its own");
}

#[test]
fn bytes_bound_what_is_asked_for_by_the_largest_body_seen_lately() {
    let mut room = Room::new(1000, 4 * LARGEST_BODY, 1);
    assert_eq!(room.free(0), 4, "before anything was seen a body may have 1 MiB");
    for _ in 0..FIRST_WINDOW {
        room.hold(0, 1024);
        room.leave(0, 1024);
    }
    assert_eq!(room.free(0), 1000);
    room.hold(0, 3 * LARGEST_BODY as usize);
    assert_eq!(room.free(0), 0, "a large one was seen: the next may be as large");
}

#[test]
fn empty_bodies_are_asked_for() {
    let mut room = Room::new(1000, 4 * LARGEST_BODY, 1);
    (0..FIRST_WINDOW).for_each(|_| room.hold(0, 0));
    assert_eq!(room.bytes_for(0, 10), 10, "a receive of no bytes would bring nothing");
}

#[test]
fn a_queue_whose_polls_reserve_all_shared_bytes_leaves_the_others_theirs() {
    let mut room = Room::new(1000, 8 * LARGEST_BODY, 2);
    assert_eq!((room.free(0), room.free(1)), (6, 6), "two are each one's own, four are shared");
    room.reserve(0, 6);
    assert_eq!((room.free(0), room.free(1)), (0, 2));
    room.release(0, 6);
    (0..2).for_each(|_| room.hold(0, 3 * LARGEST_BODY as usize));
    assert_eq!((room.free(0), room.free(1)), (0, 2));
    room.share_among([false, true].into_iter());
    assert_eq!((room.free(0), room.free(1)), (0, 2), "what is left of all");
    (0..2).for_each(|_| room.leave(0, 3 * LARGEST_BODY as usize));
    assert_eq!((room.free(0), room.free(1)), (1, 8), "it knows that one may be 3 MiB, and has only what is shared");
}

#[test]
fn what_is_asked_for_without_bytes_for_it_takes_none_that_are_another_queues_own() {
    let mut room = Room::new(100_000, 4 * LARGEST_BODY, 8);
    for _ in 0..FIRST_WINDOW {
        room.hold(7, 1024);
        room.leave(7, 1024);
    }
    // Idle queues, of whose messages nothing is known.
    let asked: Vec<usize> = (0..7)
        .map(|queue| {
            let may = room.free(queue).min(1).max(room.one_more(queue));
            room.reserve(queue, may);
            may
        })
        .collect();
    assert_eq!(asked, [1; 7], "though there are bytes for two of them");
    assert_eq!(room.free(7), 512 + 256, "what is left of the shared bytes, and its own");
    (0..7).for_each(|queue| room.release(queue, 1));
    assert_eq!(room.free(7), 2048 + 256);
    assert!(room.adds_up());
}

#[test]
fn a_queue_that_waits_leaves_half_of_what_is_shared_to_the_others() {
    let mut room = Room::new(100, 16 * LARGEST_BODY, 2);
    assert_eq!((room.free(0), room.free_to_wait(0)), (12, 8), "four are its own, eight are shared");
    room.reserve(0, 8);
    assert_eq!((room.free_to_wait(1), room.free(1)), (6, 8));
    room.reserve(1, 6);
    assert_eq!((room.free_to_wait(0), room.free(0)), (1, 2));
    room.reserve(0, 1);
    assert_eq!((room.free_to_wait(1), room.free(1)), (1, 1), "one always may");
    room.share_among([true, false].into_iter());
    assert_eq!(room.free_to_wait(0), room.free(0), "there are no others");
}

#[test]
fn handlers_that_make_much_of_little_get_as_much_as_their_queue_has_bytes_for() {
    let mut room = Room::new(100, 800, 2);
    (0..6).for_each(|queue| room.hold(queue % 2, 0));
    assert_eq!(room.fit_at_handler(0, 64), 64, "nobody knows what they make");
    room.begin_handling(0, 2);
    room.end_handling(0, 2);
    (0..2).for_each(|_| room.add_payloads(0, 100));
    assert_eq!((room.fit_at_handler(0, 64), room.fit_at_handler(1, 64)), (4, 64), "600 of 800 bytes may be its own");
    room.begin_handling(0, 3);
    assert_eq!(room.fit_at_handler(0, 64), 1, "the three may make 300");
    room.begin_handling(0, 1);
    assert_eq!((room.fit_at_handler(0, 64), room.fit_at_handler(1, 64)), (0, 64), "the other queue's bytes are left to it");
    room.leave(0, 100);
    assert_eq!(room.fit_at_handler(0, 64), 1);
}

#[test]
fn handlers_that_hang_once_a_large_result_was_seen_leave_the_other_queues_their_own_bytes() {
    let mut room = Room::new(100, 800, 2);
    (0..6).for_each(|queue| room.hold(queue % 2, 0));
    room.begin_handling(0, 20);
    room.end_handling(0, 1);
    room.add_payloads(0, 100);
    room.add_payloads(1, 10);
    assert_eq!(room.fit_at_handler(0, 64), 0, "the others may make 1,900");
    assert_eq!(room.fit_at_handler(1, 64), 19, "what is left of the 200 that are its own");
    room.add_payloads(0, 650);
    assert_eq!(room.fit_at_handler(1, 64), 4, "no more than the 40 that are there");
}

#[test]
fn is_tight_where_less_than_half_is_free_of_either() {
    let mut room = Room::new(10, 1000, 1);
    let none = Leaving::default();
    (0..5).for_each(|_| room.hold(0, 10));
    assert!(!room.is_tight(none));
    room.hold(0, 10);
    assert!(room.is_tight(none));
    assert!(!room.is_tight(Leaving { messages: 1, bytes: 10 }), "one of them is leaving");
    room.leave(0, 10);
    room.add_payloads(0, 551);
    assert!(room.is_tight(none), "601 of 1,000 bytes");
    assert_eq!(room.places(), 8, "120 bytes each");
    assert_eq!((room.part(10), room.part(500)), (WHOLE / 10, WHOLE / 2));
}

#[test]
fn one_message_always_proceeds() {
    let mut room = Room::new(10, 10, 1);
    assert_eq!(room.free(0), 1);
    room.reserve(0, 1);
    assert_eq!(room.free(0), 0);
    room.release(0, 1);
    room.hold(0, 5000);
    assert_eq!(room.fit_at_handler(0, 64), 64, "the only one held must get to its handler");
    assert_eq!(room.free(0), 0);
    room.leave(0, 5000);
    assert_eq!((room.free(0), room.bytes()), (1, 0));
}

#[test]
fn what_was_asked_for_without_bytes_for_it_is_forgotten_once_it_came() {
    let mut room = Room::new(100, 2 * LARGEST_BODY, 1);
    room.reserve(0, 3);
    room.release(0, 3);
    room.reserve(0, 1);
    assert_eq!(room.free(0), 1, "one of two bodies is on its way");
}

#[test]
fn the_part_that_a_message_takes_is_of_the_places_or_of_the_bytes_whichever_is_more() {
    let room = Room::new(100, 1000, 1);
    assert_eq!([room.part(0), room.part(10), room.part(500)], [WHOLE / 100, WHOLE / 100, WHOLE / 2]);
    assert_eq!([room.part(2000), room.part(usize::MAX)], [WHOLE, WHOLE]);
}
