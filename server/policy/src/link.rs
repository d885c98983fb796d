//! What a policy may import, and how it is linked. What is not granted is not linked, so it cannot be called.
use crate::{
    bindings::{
        wasi::{
            config::store as config,
            keyvalue::{atomics, store as key_value},
            logging::logging,
        },
        wasmserve::policy::{clock, counters, request},
    },
    call::Call,
    component::Compiled,
    grants::Links,
    wasi,
};
use wasmtime::{
    Engine, Result,
    component::{HasSelf, Linker},
};

/// The whole of what an import is called, and what it takes to have it.
const KNOWN: [(&str, Offer); 7] = [
    ("wasmserve:policy/request@0.1.0", Offer::Always),
    ("wasmserve:policy/clock@0.1.0", Offer::Always),
    ("wasi:config/store@0.2.0-rc.1", Offer::Always),
    ("wasi:logging/logging@0.1.0-draft", Offer::Granted(Grant::Logging)),
    ("wasmserve:policy/counters@0.1.0", Offer::Granted(Grant::Counters)),
    ("wasi:keyvalue/store@0.2.0-draft", Offer::Granted(Grant::KeyValue)),
    ("wasi:keyvalue/atomics@0.2.0-draft", Offer::Granted(Grant::KeyValue)),
];

#[derive(Clone, Copy)]
enum Offer {
    Always,
    Granted(Grant),
}

#[derive(Clone, Copy)]
enum Grant {
    Logging,
    Counters,
    KeyValue,
}

impl Grant {
    fn is_among(self, links: Links) -> bool {
        match self {
            Self::Logging => links.logging,
            Self::Counters => links.counters,
            Self::KeyValue => links.key_value,
        }
    }

    /// What the operator adds to grant it.
    fn how(self) -> &'static str {
        match self {
            Self::Logging => "add \"logging\" to its grants",
            Self::Counters => "add \"counters\" to its grants",
            Self::KeyValue => "add \"key-value\" to its grants",
        }
    }
}

/// Checks what a policy imports against what it may, by name; types are compared when it is linked. The error is one line
/// for the operator.
pub(crate) fn check(compiled: &Compiled, links: Links) -> Result<(), String> {
    compiled
        .imports
        .iter()
        .try_for_each(|import| check_import(import, links))
}

fn check_import(import: &str, links: Links) -> Result<(), String> {
    if let Some((_, offer)) = KNOWN.iter().find(|(name, _)| *name == import) {
        return match offer {
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
    wasi::add_to_linker(&mut linker)?;
    Ok(linker)
}
