//! Configuration: what was typed, apart from what it means.
//!
//! A file is read into a [`document::Section`] that knows where every value stands, then resolved into the
//! specifications that the crates `policy` and `files` take. Every error of a file is reported at once. What is wrong
//! refuses the whole: a chain that cannot be read never means a server without it.
//!
//! In the order of `wasmserve.toml`: [`file`] (the whole), [`server`] with [`operators`], [`listeners`], `acme` and `tls`, [`site`] with its [`roots`] and its chain
//! ([`plugins`], [`remote`] with [`asked`], [`manifest`] with its [`recipe`], [`limits`], [`grants`], [`budgets`]), [`tenants`] (sites that are found when they are asked for); [`print`] writes what it comes to.

mod acme;
pub mod asked;
pub mod budgets;
pub mod code_cache;
pub mod disk_cache;
pub mod document;
pub mod errors;
pub mod file;
pub mod grants;
pub mod headers;
pub mod limits;
pub mod listeners;
pub mod manifest;
pub mod operators;
pub mod plugins;
pub mod print;
pub mod recipe;
pub mod redis;
pub mod remote;
pub mod roots;
pub mod said;
pub mod server;
pub mod site;
pub mod stores;
pub mod tenants;
pub mod texts;
mod tls;
pub mod traces;
pub mod units;
pub mod values;

pub use code_cache::CodeCacheOption;
pub use errors::{ConfigError, ConfigErrors};
pub use file::Configuration;
pub use listeners::ListenerSettings;
pub use manifest::Manifest;
pub use operators::{AdminListener, OperatorSettings};
pub use remote::{RegistrySettings, Remotes};
pub use server::ServerSettings;
pub use tenants::TenantRules;
