//! What is sent is received unchanged, to the byte.

use bytes::Bytes;
use octoconf::message::{Attribute, AttributeValue};
use octoconf::queue::NewMessage;

use crate::driver::Driver;
use crate::tools::*;

/// Returns an attribute of each type, in an order that no sorting produces.
pub fn attributes() -> Vec<Attribute> {
    vec![
        Attribute::new("traceparent".into(), AttributeValue::String("00-4bf9-00f0-01 \"ä\" \u{1F419}".into())),
        Attribute::new("attempt".into(), AttributeValue::Number("-12345678901234567890123456789.012345678".into())),
        Attribute {
            label: Some("sha.1".into()),
            ..Attribute::new("digest".into(), AttributeValue::Binary(Bytes::from_static(&[0, 255, 10, 34])))
        },
    ]
}

pub fn bodies_come_back_to_the_byte(driver: &dyn Driver) {
    for fifo in [false, true] {
        let queue = driver.queue(fifo);
        let bodies: [Bytes; 4] = [
            Bytes::new(),
            Bytes::from((0..=255).collect::<Vec<u8>>()),
            Bytes::from("{\"ä\": \"\u{0}\u{1F419}\"}\r\n"),
            Bytes::from((0..1024 * 1024_u32).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect::<Vec<u8>>()),
        ];
        queue.send(&bodies.clone().map(message)).unwrap();
        let taken = take(&*queue, 10);
        assert_eq!(taken.len(), bodies.len());
        for (received, body) in taken.iter().zip(&bodies) {
            assert!(received.message.body == body, "a body of {} bytes came back changed", body.len());
        }
    }
}

pub fn attributes_come_back_in_their_order(driver: &dyn Driver) {
    let queue = driver.queue(false);
    queue.send(&[NewMessage { attributes: attributes(), ..message("a") }]).unwrap();
    assert_eq!(take_one(&*queue).message.attributes, attributes());
}

pub fn attributes_of_all_types_come_back(driver: &dyn Driver) {
    let queue = driver.queue(false);
    queue.send(&[NewMessage { attributes: attributes(), ..message("a") }, message("b")]).unwrap();
    let first = take(&*queue, 2);
    assert_eq!(by_name(&first[0].message.attributes), by_name(&attributes()));
    assert!(first[1].message.attributes.is_empty());
    driver.pass(LEASE);
    assert_eq!(by_name(&take_one(&*queue).message.attributes), by_name(&attributes()));
}
