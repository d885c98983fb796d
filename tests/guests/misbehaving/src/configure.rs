//! What `configure` can do wrong: one function each.
use crate::{decide, wasmserve::policy::request};

pub fn configure_traps() -> Result<(), String> {
    decide::unreachable()
}

pub fn configure_loops() -> Result<(), String> {
    decide::forever()
}

pub fn configure_fails() -> Result<(), String> {
    Err("the key `colour` is missing".into())
}

pub fn configure_asks_about_a_request() -> Result<(), String> {
    request::path();
    Ok(())
}

pub fn configure_grows() -> Result<(), String> {
    decide::grow()
}
