//! The environment variables as the configuration sees them: a copy, taken once per load, so that a test or a user of
//! the library can supply its own.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// A set of environment variables by name.
#[derive(Clone, Default)]
pub struct Environment {
    /// The value of each variable, or `None` if it is not UTF-8.
    variables: BTreeMap<String, Option<String>>,
}

impl Environment {
    /// Returns a copy of this process's environment as it is now.
    pub fn of_process() -> Self {
        Self::from_os(std::env::vars_os())
    }

    /// Returns the variables of the iterator, as the system hands them over.
    pub(crate) fn from_os(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let variables =
            variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()))).collect();
        Self { variables }
    }

    /// Returns the value of a variable, or `None` if the variable is not set or its value is not UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name)?.as_deref()
    }

    /// Returns whether the variable is set, to text or not.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.variables.contains_key(name)
    }

    /// Returns each variable with its value, which is `None` if it is not UTF-8.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self { variables: variables.into_iter().map(|(name, value)| (name.into(), Some(value.into()))).collect() }
    }
}

impl std::fmt::Debug for Environment {
    /// Shows the names only, since the values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_value_that_is_not_text_is_set_and_has_no_text() {
        let bad = OsString::from_vec(vec![0xff]);
        let environment = Environment::from_os([("OCTOCONF_ENGINE__LOG".into(), bad)].into_iter());
        assert!(environment.is_set("OCTOCONF_ENGINE__LOG"));
        assert_eq!(environment.get("OCTOCONF_ENGINE__LOG"), None);
    }
}
