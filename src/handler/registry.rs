//! Handlers by name: those written in code and those of `[handlers.NAME]`.
//!
//! A registry is filled at start and at a reload, by the thread that starts the engine; after that it is only read.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Handler;
use super::builtin::{Order, Product};
use super::jq::{self, JqError};
use crate::settings::HandlerSettings;

/// The handlers that a queue's `handler` key can name. A clone shares the handlers.
#[derive(Clone)]
pub struct Registry {
    handlers: BTreeMap<String, Arc<dyn Handler>>,
}

impl Registry {
    /// Returns a registry with the built-in handlers `order` and `product`.
    pub fn new() -> Self {
        let mut registry = Self { handlers: BTreeMap::new() };
        registry.register("order", Order).register("product", Product);
        registry
    }

    /// Adds a handler written in code: a type of its own, or any `Fn(&Message) -> Outcome`. It replaces a handler of
    /// the same name, so that a program may bring its own `order`.
    pub fn register(&mut self, name: impl Into<String>, handler: impl Handler + 'static) -> &mut Self {
        self.handlers.insert(name.into(), Arc::new(handler));
        self
    }

    /// Returns a registry with the configured pipelines added to the handlers of this one, which
    /// stays as it is for the next reload.
    ///
    /// Compiles each pipeline, which takes milliseconds. `Err` holds all errors, in the order of the names.
    pub fn with_pipelines(&self, pipelines: &BTreeMap<String, HandlerSettings>) -> Result<Self, Vec<PipelineError>> {
        let mut all = self.clone();
        let mut errors = Vec::new();
        for (name, settings) in pipelines {
            if self.handlers.contains_key(name) {
                errors.push(PipelineError::Taken { name: name.clone() });
                continue;
            }
            match jq::compile(&settings.jq, &settings.bucket) {
                Ok(handler) => _ = all.register(name, handler),
                Err(error) => errors.push(PipelineError::Program { name: name.clone(), error }),
            }
        }
        if errors.is_empty() { Ok(all) } else { Err(errors) }
    }

    /// Returns the handler of this name.
    pub fn get(&self, name: &str) -> Option<Arc<dyn Handler>> {
        self.handlers.get(name).cloned()
    }

    /// Returns all names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.handlers.keys().map(String::as_str)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a configured pipeline cannot be used. The configuration is then refused, at start and at a reload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PipelineError {
    /// A program does not compile.
    #[error("handlers.{name}: {error}")]
    Program {
        /// The name of the pipeline.
        name: String,
        /// Every problem of its programs.
        error: JqError,
    },
    /// A handler in code has the pipeline's name: it would be a guess which of the two a queue means.
    #[error("handlers.{name}: there is a handler in code of that name, call the pipeline something else")]
    Taken {
        /// The name of the pipeline.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;

    use super::*;
    use crate::message::{Message, Outcome};

    fn handle(registry: &Registry, name: &str, body: &'static str) -> Outcome {
        registry.get(name).unwrap().handle(&Message {
            id: "1".into(),
            body: Bytes::from_static(body.as_bytes()),
            attributes: Vec::new(),
            group: None,
            sent_at: SystemTime::UNIX_EPOCH,
            receives: 1,
            open: None,
        })
    }

    fn pipelines(list: &[(&str, &str, &str)]) -> BTreeMap<String, HandlerSettings> {
        let settings = |jq: &str, bucket: &str| HandlerSettings { jq: jq.into(), bucket: bucket.into() };
        list.iter().map(|(name, jq, bucket)| ((*name).to_owned(), settings(jq, bucket))).collect()
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

    #[test]
    fn pipelines_stand_beside_code_and_leave_the_base_as_it_was() {
        let base = Registry::new();
        let registry = base.with_pipelines(&pipelines(&[("pricing", "{sku}", ".account")])).unwrap();
        assert_eq!(registry.names().collect::<Vec<_>>(), ["order", "pricing", "product"]);
        assert_eq!(handle(&registry, "pricing", r#"{"account":"a","sku":"x","n":1}"#), Outcome::deliver("a", r#"{"sku":"x"}"#));
        assert!(base.get("pricing").is_none());
    }

    #[test]
    fn all_problems_are_told_at_once_each_with_its_key() {
        let errors = Registry::new()
            .with_pipelines(&pipelines(&[
                ("bad", "{a: .b", ".account |"),
                ("fine", ".", ".account"),
                ("order", ".", ".account"),
                ("secrets", "env.TOKEN", ".account"),
            ]))
            .err()
            .unwrap();
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "handlers.bad: jq: expected closing brace, found the end at line 1 column 7; bucket: expected term, found the end at line 1 column 11",
                "handlers.order: there is a handler in code of that name, call the pipeline something else",
                "handlers.secrets: jq: `env` is left out: a pipeline has no input, output, environment or exit of its own at line 1 column 1",
            ]
        );
    }
}
