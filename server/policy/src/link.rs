//! What a policy may import, and how it is linked. What is not granted is not linked, so it cannot be called.
use crate::{
    bindings::{
        observer::wasmserve::policy::observation,
        wasi::{
            config::store as config,
            keyvalue::{atomics, store as key_value},
            logging::logging,
        },
        wasmserve::policy::{clock, counters, request},
    },
    call::Call,
    component::{Compiled, Role},
    grants::Links,
    wasi,
};
use wasmtime::{
    Engine, Result,
    component::{HasSelf, Linker},
};

/// The whole of what an import is called, and what it takes to have it.
const KNOWN: [(&str, Offer); 8] = [
    ("wasmserve:policy/request@0.1.0", Offer::To(Role::Policy)),
    ("wasmserve:policy/clock@0.1.0", Offer::To(Role::Policy)),
    ("wasmserve:policy/observation@0.1.0", Offer::To(Role::Observer)),
    ("wasi:config/store@0.2.0-rc.1", Offer::Always),
    ("wasi:logging/logging@0.1.0-draft", Offer::Granted(Grant::Logging)),
    ("wasmserve:policy/counters@0.1.0", Offer::Granted(Grant::Counters)),
    ("wasi:keyvalue/store@0.2.0-draft", Offer::Granted(Grant::KeyValue)),
    ("wasi:keyvalue/atomics@0.2.0-draft", Offer::Granted(Grant::KeyValue)),
];

/// In any 0.2 version.
const HTTP: [&str; 2] = ["wasi:http/types@0.2.", "wasi:http/outgoing-handler@0.2."];

#[derive(Clone, Copy)]
enum Offer {
    Always,
    To(Role),
    Granted(Grant),
}

#[derive(Clone, Copy)]
enum Grant {
    Logging,
    Counters,
    KeyValue,
    Http,
}

impl Grant {
    fn is_among(self, links: Links) -> bool {
        match self {
            Self::Logging => links.logging,
            Self::Counters => links.counters,
            Self::KeyValue => links.key_value,
            Self::Http => links.http,
        }
    }

    /// What the operator adds to grant it.
    fn how(self) -> &'static str {
        match self {
            Self::Logging => "add \"logging\" to its grants",
            Self::Counters => "add \"counters\" to its grants",
            Self::KeyValue => "add \"key-value\" to its grants",
            Self::Http => "say what it may reach, such as http = { allow = [\"https://api.example.org\"] }",
        }
    }
}

/// Checks what a plugin imports against what it may, by name; types are compared when it is linked. The error is one line
/// for the operator.
pub(crate) fn check(compiled: &Compiled, links: Links, role: Role) -> Result<(), String> {
    compiled
        .imports
        .iter()
        .try_for_each(|import| check_import(import, links, role))
}

fn check_import(import: &str, links: Links, role: Role) -> Result<(), String> {
    let known = KNOWN.iter().find(|(name, _)| *name == import).map(|(_, offer)| *offer);
    let http = HTTP.iter().any(|name| import.starts_with(name));
    if let Some(offer) = known.or(http.then_some(Offer::Granted(Grant::Http))) {
        return match offer {
            Offer::To(other) if other != role => Err(format!("imports {import}, which only a {} can", other.name())),
            Offer::Granted(grant) if !grant.is_among(links) => {
                Err(format!("imports {import}, which is not granted: {}", grant.how()))
            }
            _ => Ok(()),
        };
    }
    if wasi::offers(import) {
        return Ok(());
    }
    let bare = |name: &str| name.split('@').next().unwrap_or_default().to_owned();
    match KNOWN.iter().find(|(name, _)| bare(name) == bare(import)) {
        Some((ours, _)) => Err(format!("imports {import}, and this server offers {ours}")),
        None => Err(format!("imports {import}, which this server does not offer")),
    }
}

/// A linker with what is offered always, and what is granted.
pub(crate) fn linker(engine: &Engine, links: Links) -> Result<Linker<Call>> {
    let mut linker = Linker::new(engine);
    request::add_to_linker::<_, HasSelf<Call>>(&mut linker, |call| call)?;
    clock::add_to_linker::<_, HasSelf<Call>>(&mut linker, |call| call)?;
    observation::add_to_linker::<_, HasSelf<Call>>(&mut linker, |call| call)?;
    config::add_to_linker::<_, HasSelf<Call>>(&mut linker, |call| call)?;
    if links.logging {
        logging::add_to_linker::<_, HasSelf<Call>>(&mut linker, |call| call)?;
    }
    if links.counters {
        counters::add_to_linker::<_, HasSelf<Call>>(&mut linker, |call| call)?;
    }
    if links.key_value {
        key_value::add_to_linker::<_, HasSelf<Call>>(&mut linker, |call| call)?;
        atomics::add_to_linker::<_, HasSelf<Call>>(&mut linker, |call| call)?;
    }
    if links.http {
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    }
    wasi::add_to_linker(&mut linker)?;
    Ok(linker)
}
