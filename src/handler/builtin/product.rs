//! The handler `product`: turns a stock level into an "updated" event, for the account that it names.

use serde::Deserialize;
use serde_json::Number;

use super::{Text, field, payload, read};
use crate::handler::Handler;
use crate::message::{Message, Outcome};

/// Reads `{"account","sku","name","quantity","unit_price"}` and delivers
/// `{"type","sku","name","quantity","unit_price"}` to the bucket of the account. `quantity` is an integer (64 bits, may
/// be negative), `unit_price` any number (an integer stays an integer); the other fields are strings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Product;

#[derive(Deserialize)]
struct Stock<'a> {
    #[serde(borrow, deserialize_with = "field::account")]
    account: Text<'a>,
    #[serde(borrow, deserialize_with = "field::sku")]
    sku: Text<'a>,
    #[serde(borrow, deserialize_with = "field::name")]
    name: Text<'a>,
    #[serde(deserialize_with = "field::quantity")]
    quantity: i64,
    #[serde(deserialize_with = "field::unit_price")]
    unit_price: Number,
}

impl Handler for Product {
    fn handle(&self, message: &Message) -> Outcome {
        match convert(&message.body) {
            Ok(outcome) => outcome,
            Err(reason) => Outcome::Reject { reason },
        }
    }
}

fn convert(body: &[u8]) -> Result<Outcome, String> {
    let stock: Stock<'_> = read(body)?;
    if stock.account.0.is_empty() {
        return Err("field `account` is empty".to_owned());
    }
    let payload = payload(|out| {
        out.field(r#"{"type":"stock.updated","sku":"#, &*stock.sku.0)?;
        out.field(r#","name":"#, &*stock.name.0)?;
        out.field(r#","quantity":"#, &stock.quantity)?;
        out.field(r#","unit_price":"#, &stock.unit_price)?;
        out.json("}");
        Ok(())
    })?;
    Ok(Outcome::deliver(&*stock.account.0, payload))
}
