//! The real server from outside, one module a feature. Start with `cargo xtask test`, or with a part of a test's name:
//! `cargo xtask test ranges`.
mod chain;
mod clients;
mod code_cache;
mod commands;
mod conditional;
mod configuration;
mod connections;
mod directories;
mod disks;
mod downloads;
mod explain;
mod headers;
mod host;
mod loading;
mod messages;
mod methods;
mod misbehaving;

mod paths;
mod protected;
mod questions;
mod ranges;
mod sharing;
mod standard;
mod stopping;
mod variants;
