//! Writes finished exchanges down in the bucket `common`: under their path, with `_` for `/`, what they were, and under
//! `count` how many there were. Says in the log how many a batch had. Misbehaves when it is told of these paths:
//!
//! - `/err`: returns an error
//! - `/trap`: traps
//! - `/loop`: never ends
wit_bindgen::generate!({
    inline: "
        package wasmserve:guests;
        world observer {
            include wasmserve:policy/observer@0.1.0;
            import wasi:logging/logging@0.1.0-draft;
            import wasi:keyvalue/store@0.2.0-draft;
            import wasi:keyvalue/atomics@0.2.0-draft;
        }
    ",
    path: "../../../wit",
    world: "wasmserve:guests/observer",
    generate_all,
});

use exports::wasmserve::policy::observing::Guest;
use std::cell::Cell;
use wasi::{
    config::store as config,
    keyvalue::{atomics, store},
    logging::logging::{Level, log},
};
use wasmserve::policy::observation::Exchange;

struct Observer;

export!(Observer);

thread_local! {
    /// Batches that this instance was told of.
    static BATCHES: Cell<u64> = const { Cell::new(0) };
}

impl Guest for Observer {
    fn configure() -> Result<(), String> {
        match config::get("refuse").ok().flatten() {
            Some(words) => Err(words),
            None => Ok(()),
        }
    }

    fn observe(batch: Vec<Exchange>) -> Result<(), String> {
        let bucket = store::open("common").map_err(|error| format!("{error:?}"))?;
        BATCHES.set(BATCHES.get() + 1);
        log(Level::Info, "observer", &format!("told of {} exchanges", batch.len()));
        for exchange in &batch {
            match exchange.path.as_str() {
                "/err" => return Err("an error of its own".into()),
                "/trap" => panic!("trapping"),
                "/loop" => loop {
                    std::hint::black_box(());
                },
                _ => {}
            }
            let key = exchange.path.replace('/', "_");
            bucket
                .set(&key, describe(exchange).as_bytes())
                .map_err(|error| format!("{error:?}"))?;
            atomics::increment(&bucket, "count", 1).map_err(|error| format!("{error:?}"))?;
        }
        Ok(())
    }
}

fn describe(exchange: &Exchange) -> String {
    let recent = exchange.arrived > 1_600_000_000_000;
    format!(
        "{} {} {} {} {} {:?} {} {} {:?} {:?} recent={recent} batches={}",
        exchange.site,
        exchange.host,
        exchange.scheme,
        exchange.method,
        exchange.path,
        exchange.client_address,
        exchange.status,
        exchange.body_bytes,
        exchange.ending,
        exchange.facts,
        BATCHES.get(),
    )
}
