//! The raw tree of keys and values that a file or the environment holds, before the keys' meaning is known.

use std::borrow::Cow;
use std::sync::LazyLock;

use config::{ConfigError, Map, Source, Value, ValueKind};

pub(super) type Tree = Map<String, Value>;

/// Where a tree came from.
pub(super) struct Origin<'a> {
    file: Cow<'a, str>,
    main: bool,
}

impl<'a> Origin<'a> {
    /// The configuration file. Problems do not name it as an origin.
    pub(super) fn main(file: &'a str) -> Self {
        Self { file: file.into(), main: true }
    }

    /// Any other file. Problems name it as the origin of its values.
    pub(super) fn other(file: &'a str) -> Self {
        Self { file: file.into(), main: false }
    }

    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// Returns the origin that the tree's values carry.
    pub(super) fn name(&self) -> Option<String> {
        (!self.main).then(|| self.file.to_string())
    }
}

/// Inserts a value at a path and creates the tables above it. Returns `false` if the place is taken, or if a value
/// stands where the path needs a table.
pub(super) fn insert_at(tree: &mut Tree, path: &[String], value: Value) -> bool {
    let Some((name, rest)) = path.split_first() else { return false };
    if rest.is_empty() {
        return match tree.get(name) {
            None => {
                tree.insert(name.clone(), value);
                true
            }
            // A section that its sub-sections have already created.
            Some(there) => is_table(there) && is_table(&value),
        };
    }
    let table = tree.entry(name.clone()).or_insert_with(|| Value::new(None, ValueKind::Table(Tree::new())));
    match &mut table.kind {
        ValueKind::Table(table) => insert_at(table, rest, value),
        _ => false,
    }
}

fn is_table(value: &Value) -> bool {
    matches!(value.kind, ValueKind::Table(_))
}

/// Returns the table at a path, or an empty one if there is none.
pub(super) fn table<'a>(tree: &'a Tree, path: &[&str]) -> &'a Tree {
    static EMPTY: LazyLock<Tree> = LazyLock::new(Tree::new);
    path.iter().try_fold(tree, |tree, name| as_table(tree.get(*name)?)).unwrap_or(&EMPTY)
}

/// Returns the table that a value holds, or `None` if the value is not a table.
pub(super) fn as_table(value: &Value) -> Option<&Tree> {
    match &value.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

/// Merges the layers into one tree. Later layers win, key by key.
pub(super) fn merge(layers: impl IntoIterator<Item = Tree>) -> Result<Tree, ConfigError> {
    let builder = layers.into_iter().fold(config::Config::builder(), |builder, tree| builder.add_source(Layer(tree)));
    let mut merged = builder.build()?.collect()?;
    match merged.remove(ROOT).map(|root| root.kind) {
        Some(ValueKind::Table(tree)) => Ok(tree),
        _ => Ok(Tree::new()),
    }
}

/// The one key below which every layer is hung. `config` parses the top-level keys of a source as path expressions and
/// splits them at dots; the tables below are merged by their plain keys.
const ROOT: &str = "root";

#[derive(Debug, Clone)]
struct Layer(Tree);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(Map::from([(ROOT.to_owned(), Value::new(None, ValueKind::Table(self.0.clone())))]))
    }
}
