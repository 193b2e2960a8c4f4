//! Handlers by name: those written in code, and the pipelines of `[handlers.NAME]`, which [`crate::config`] adds.
//!
//! A registry is filled at start and at a reload, by the thread that reads the configuration; after that it is only read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use super::Handler;
use super::builtin::{Order, Product};

/// The handlers that a queue's `handler` key can name. A clone shares the handlers.
#[derive(Clone)]
pub struct Registry {
    handlers: BTreeMap<String, Arc<dyn Handler>>,
}

impl Registry {
    /// Returns a registry with the built-in handlers `order` and `product`.
    pub fn new() -> Self {
        // All registries share these, since a handler that is registered anew counts as another one at a reload.
        static BUILT_IN: LazyLock<Registry> = LazyLock::new(|| {
            let mut registry = Registry { handlers: BTreeMap::new() };
            registry.register("order", Order).register("product", Product);
            registry
        });
        BUILT_IN.clone()
    }

    /// Adds a handler written in code: a type of its own, or any `Fn(&Message) -> Outcome`. It replaces a handler of
    /// the same name, so that a program may bring its own `order`.
    pub fn register(&mut self, name: impl Into<String>, handler: impl Handler + 'static) -> &mut Self {
        self.handlers.insert(name.into(), Arc::new(handler));
        self
    }

    /// Returns the handler of this name.
    pub fn get(&self, name: &str) -> Option<Arc<dyn Handler>> {
        self.handlers.get(name).cloned()
    }

    /// Returns all names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.handlers.keys().map(String::as_str)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    /// Shows the names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.handlers.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Message, Outcome};

    fn handle(registry: &Registry, name: &str, body: &'static str) -> Outcome {
        registry.get(name).unwrap().handle(&Message::new("1", body))
    }

    #[test]
    fn the_built_in_are_there() {
        assert_eq!(Registry::new().names().collect::<Vec<_>>(), ["order", "product"]);
        assert!(Registry::default().get("pricing").is_none());
    }

    #[test]
    fn code_is_registered_under_a_name_and_may_take_one_over() {
        let mut registry = Registry::new();
        registry.register("audit", |_: &Message| Outcome::Discard).register("order", |_: &Message| Outcome::reject("closed"));
        assert_eq!(handle(&registry, "audit", "{}"), Outcome::Discard);
        assert_eq!(handle(&registry, "order", "{}"), Outcome::reject("closed"));
    }
}
