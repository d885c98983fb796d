//! Writes to the log, which needs a grant: `lines` lines of `length` bytes for every request, `message` at its end; with
//! `only`, for those beneath that path.
wit_bindgen::generate!({
    inline: "
        package wasmserve:guests;
        world talkative {
            include wasmserve:policy/policy@0.1.0;
            import wasi:logging/logging@0.1.0-draft;
        }
    ",
    path: "../../../wit",
    world: "wasmserve:guests/talkative",
    generate_all,
});

use exports::wasmserve::policy::guest::{Changes, Decision, Guest, Sharing};
use wasi::{
    config::store,
    logging::logging::{Level, log},
};
use wasmserve::policy::request;

struct Talkative;

export!(Talkative);

impl Guest for Talkative {
    fn configure() -> Result<(), String> {
        Ok(())
    }

    fn decide() -> Result<Decision, String> {
        let only = setting("only");
        if !only.is_empty() && !request::path().starts_with(&only) {
            return Ok(proceed());
        }
        let line = "x".repeat(number("length")?);
        for _ in 0..number("lines")? {
            log(Level::Warn, "talkative", &line);
        }
        log(Level::Warn, "talkative", &setting("message"));
        Ok(proceed())
    }
}

fn proceed() -> Decision {
    Decision::Proceed(Changes {
        paths: Vec::new(),
        place: None,
        missing: None,
        headers: Vec::new(),
        facts: Vec::new(),
        sharing: Sharing::Derived,
        pace: None,
    })
}

fn setting(key: &str) -> String {
    store::get(key).ok().flatten().unwrap_or_default()
}

fn number(key: &str) -> Result<usize, String> {
    setting(key).parse().map_err(|_| format!("`{key}` is no number"))
}
