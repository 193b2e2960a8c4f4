//! What a caught panic said.

use std::any::Any;

/// Returns the text of a panic; `None` if it was raised with something other than text.
pub fn text_of(panic: &(dyn Any + Send)) -> Option<&str> {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use std::panic::{catch_unwind, panic_any};

    use super::*;

    #[test]
    fn a_panic_may_be_raised_with_a_text_of_either_kind_or_without_one() {
        let said = |panic: fn()| catch_unwind(panic).map_err(|panic| text_of(&*panic).map(str::to_owned)).unwrap_err();
        assert_eq!(said(|| panic!("no stock")).as_deref(), Some("no stock"));
        assert_eq!(said(|| panic!("{} stock", "no")).as_deref(), Some("no stock"));
        assert_eq!(said(|| panic_any(7)), None);
    }
}
