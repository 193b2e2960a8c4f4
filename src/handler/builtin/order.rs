//! The handler `order`: turns an invoice line into an "issued" or "cancelled" event with its total, for
//! the account that the line names.

use serde::Deserialize;

use super::{Text, field, payload, read};
use crate::handler::Handler;
use crate::message::{Message, Outcome};

/// Reads `{"account","invoice","issued_at","country","quantity","unit_price"}` and delivers
/// `{"type","invoice","issued_at","country","quantity","total"}` to the bucket of the account. `quantity` is an integer
/// (64 bits, negative in cancellations), `unit_price` any number; the other fields are strings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Order;

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, deserialize_with = "field::account")]
    account: Text<'a>,
    #[serde(borrow, deserialize_with = "field::invoice")]
    invoice: Text<'a>,
    #[serde(borrow, deserialize_with = "field::issued_at")]
    issued_at: Text<'a>,
    #[serde(borrow, deserialize_with = "field::country")]
    country: Text<'a>,
    #[serde(deserialize_with = "field::quantity")]
    quantity: i64,
    #[serde(deserialize_with = "field::unit_price")]
    unit_price: f64,
}

impl Handler for Order {
    fn handle(&self, message: &Message) -> Outcome {
        match convert(&message.body) {
            Ok(outcome) => outcome,
            Err(reason) => Outcome::Reject { reason },
        }
    }
}

fn convert(body: &[u8]) -> Result<Outcome, String> {
    let line: Line<'_> = read(body)?;
    if line.account.0.is_empty() {
        return Err("field `account` is empty".to_owned());
    }
    let total = (line.quantity as f64 * line.unit_price * 100.0).round() / 100.0;
    if !total.is_finite() {
        return Err(format!(
            "the total of field `quantity` {} times field `unit_price` {:?} is too large",
            line.quantity, line.unit_price
        ));
    }
    let cancelled = line.invoice.0.starts_with('C');
    let payload = payload(|out| {
        out.json(if cancelled { r#"{"type":"invoice.cancelled""# } else { r#"{"type":"invoice.issued""# });
        out.field(r#","invoice":"#, &*line.invoice.0)?;
        out.field(r#","issued_at":"#, &*line.issued_at.0)?;
        out.field(r#","country":"#, &*line.country.0)?;
        out.field(r#","quantity":"#, &line.quantity)?;
        out.field(r#","total":"#, &total)?;
        out.json("}");
        Ok(())
    })?;
    Ok(Outcome::deliver(&*line.account.0, payload))
}
