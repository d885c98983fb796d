//! Does everything that a policy must not do: `behaviour` of its configuration says what, `only` beneath which path.
//!
//! Elsewhere, and without a behaviour, it lets requests proceed.
mod configure;
mod decide;

wit_bindgen::generate!({ path: "../../../wit", world: "policy", generate_all });

use exports::wasmserve::policy::guest::{Changes, Decision, Guest, Sharing};
use wasi::config::store;
use wasmserve::policy::request;

include!("../behaviours.rs");

struct Misbehaving;

export!(Misbehaving);

impl Guest for Misbehaving {
    fn configure() -> Result<(), String> {
        macro_rules! behave {
            ($($name:ident,)*) => {
                match setting("behaviour").as_str() {
                    $(stringify!($name) => configure::$name(),)*
                    _ => Ok(()),
                }
            };
        }
        configure_behaviours!(behave)
    }

    fn decide() -> Result<Decision, String> {
        if !request::path().starts_with(&setting("only")) {
            return Ok(Decision::Proceed(unchanged()));
        }
        macro_rules! behave {
            ($($name:ident,)*) => {
                match setting("behaviour").as_str() {
                    $(stringify!($name) => decide::$name(),)*
                    "" => Ok(Decision::Proceed(unchanged())),
                    other => Err(format!("no behaviour is called {other}")),
                }
            };
        }
        decide_behaviours!(behave)
    }
}

/// A value of the configuration; empty when it is not there.
fn setting(key: &str) -> String {
    store::get(key).ok().flatten().unwrap_or_default()
}

/// Lets the request go on as it is.
fn unchanged() -> Changes {
    Changes {
        paths: Vec::new(),
        place: None,
        missing: None,
        headers: Vec::new(),
        facts: Vec::new(),
        sharing: Sharing::Derived,
        pace: None,
    }
}
