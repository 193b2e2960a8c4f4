//! Tests of the books of the chaos run: they must find losses, duplicates and disorder.

use crate::books::Books;
use crate::traffic::Number;

fn number(queue: usize, number: usize) -> Number {
    Number { queue, number }
}

/// Numbers 5 and 11 of each queue are never accepted: one is rejected and one refused.
#[test]
fn messages_neither_accepted_nor_dead_are_missing() {
    let books = Books::new(&[false]);
    books.send(0, 7, |numbers| books.accept(&numbers[..3]));
    let closing = books.close(&[number(0, 5)]);
    assert_eq!(closing.missing, [number(0, 3), number(0, 4), number(0, 6)]);
    assert_eq!((closing.sent, closing.delivered, closing.dead), (7, 3, 1));
}

#[test]
fn a_death_without_fault_is_told_from_one_that_has_to_be() {
    let books = Books::new(&[false]);
    books.send(0, 7, |numbers| books.accept(&numbers[..4]));
    let closing = books.close(&[number(0, 4), number(0, 5), number(0, 6), number(0, 6)]);
    assert_eq!(closing.dead_without_fault, [number(0, 4), number(0, 6)]);
    assert_eq!((closing.dead, closing.dead_again, closing.missing.len()), (3, 1, 0));
}

#[test]
fn messages_that_partners_refuse_must_not_be_accepted() {
    let books = Books::new(&[false]);
    books.send(0, 6, |numbers| books.accept(numbers));
    assert_eq!(books.close(&[]).accepted_by_mistake, [number(0, 5)]);
}

#[test]
fn a_repetition_is_counted_and_is_no_disorder() {
    let books = Books::new(&[true]);
    books.accept(&[number(0, 0), number(0, 12)]);
    books.accept(&[number(0, 0), number(0, 12), number(0, 24)]);
    let closing = books.close(&[]);
    assert_eq!((closing.delivered, closing.delivered_again, closing.disorder.len()), (3, 2, 0));
}

#[test]
fn a_late_first_delivery_is_disorder_in_its_group_only() {
    let books = Books::new(&[true, false]);
    books.accept(&[number(0, 12), number(0, 1), number(1, 12), number(1, 0)]);
    assert!(books.close(&[]).disorder.is_empty());
    books.accept(&[number(0, 0)]);
    assert_eq!(books.close(&[]).disorder, ["0-0 of shop-0 came after 0-12"]);
}
