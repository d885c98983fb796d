//! Calls key-value and counters as the segments of the path say, and answers with what they said, in one line:
//!
//! - `/take/KEY/CAPACITY/REFILL`
//! - `/BUCKET/get/KEY`, `/BUCKET/set/KEY/VALUE`, `/BUCKET/delete/KEY`, `/BUCKET/exists/KEY`, `/BUCKET/keys`
//! - `/BUCKET/increment/KEY/DELTA`
//! - `/BUCKET/fill/COUNT/BYTES`: sets so many pairs of so many bytes
//!
//! With `only` in its configuration, paths that do not begin with it proceed.
//!
//! With `configure = "take"` or `"open"` in its configuration it does so while it is configured, too.
wit_bindgen::generate!({
    inline: "
        package wasmserve:guests;
        world services {
            include wasmserve:policy/policy@0.1.0;
            import wasmserve:policy/counters@0.1.0;
            import wasi:keyvalue/store@0.2.0-draft;
            import wasi:keyvalue/atomics@0.2.0-draft;
        }
    ",
    path: "../../../wit",
    world: "wasmserve:guests/services",
    generate_all,
});

use exports::wasmserve::policy::guest::{Changes, Decision, Guest, Response, Sharing};
use std::fmt::Debug;
use wasi::keyvalue::{
    atomics,
    store::{self, Bucket},
};
use wasmserve::policy::{counters, request};

struct Services;

export!(Services);

impl Guest for Services {
    fn configure() -> Result<(), String> {
        match setting("configure").as_deref() {
            Some("take") => counters::take("key", 1, 1.0).map(drop),
            Some("open") => store::open("default").map(drop).map_err(|error| format!("{error:?}")),
            _ => Ok(()),
        }
    }

    fn decide() -> Result<Decision, String> {
        let path = request::path();
        if setting("only").is_some_and(|only| !path.starts_with(&only)) {
            return Ok(Decision::Proceed(Changes {
                paths: Vec::new(),
                place: None,
                missing: None,
                headers: Vec::new(),
                facts: Vec::new(),
                sharing: Sharing::Derived,
                pace: None,
            }));
        }
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let answer = match segments[..] {
            ["take", key, capacity, refill] => take(key, number(capacity)?, number(refill)?),
            [bucket, ref operation @ ..] => match store::open(bucket) {
                Ok(bucket) => operate(&bucket, operation)?,
                Err(error) => format!("{error:?}"),
            },
            [] => return Err("the path is empty".into()),
        };
        Ok(Decision::Respond(Response {
            status: 200,
            headers: Vec::new(),
            body: answer.into_bytes(),
            sharing: Sharing::Derived,
        }))
    }
}

fn setting(key: &str) -> Option<String> {
    wasi::config::store::get(key).ok().flatten()
}

fn take(key: &str, capacity: u64, refill: f64) -> String {
    match counters::take(key, capacity, refill) {
        Ok(taken) => format!(
            "{} {} {} {}",
            taken.granted, taken.remaining, taken.retry_after, taken.full_after
        ),
        Err(reason) => format!("error: {reason}"),
    }
}

fn operate(bucket: &Bucket, operation: &[&str]) -> Result<String, String> {
    Ok(match *operation {
        ["get", key] => shown(
            bucket
                .get(key)
                .map(|value| value.map(|value| String::from_utf8_lossy(&value).into_owned())),
        ),
        ["set", key, value] => shown(bucket.set(key, value.as_bytes())),
        ["delete", key] => shown(bucket.delete(key)),
        ["exists", key] => shown(bucket.exists(key)),
        ["keys"] => keys(bucket),
        ["increment", key, delta] => shown(atomics::increment(bucket, key, number(delta)?)),
        ["fill", count, bytes] => {
            let value = vec![b'x'; number(bytes)?];
            let count: u32 = number(count)?;
            shown((0..count).try_for_each(|at| bucket.set(&at.to_string(), &value)))
        }
        _ => return Err(format!("there is no operation {operation:?}")),
    })
}

/// All keys, sorted.
fn keys(bucket: &Bucket) -> String {
    let (mut keys, mut cursor) = (Vec::new(), None);
    loop {
        match bucket.list_keys(cursor) {
            Ok(page) => {
                keys.extend(page.keys);
                cursor = page.cursor;
            }
            Err(error) => return format!("{error:?}"),
        }
        if cursor.is_none() {
            keys.sort();
            return keys.join(" ");
        }
    }
}

fn shown<T: Debug>(result: Result<T, store::Error>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{error:?}"),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}
