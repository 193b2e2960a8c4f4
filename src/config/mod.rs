//! Settings from TOML or INI, with commented defaults compiled in and overrides from the environment.

pub mod secret;
pub mod settings;
