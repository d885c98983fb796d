//! What a policy may import, and how it is linked. What is not granted is not linked, so it cannot be called.
use crate::{
    bindings::{
        wasi::{config::store as config, logging::logging},
        wasmserve::policy::{clock, request},
    },
    call::Call,
    component::Compiled,
    spec::Grants,
    wasi,
};
use wasmtime::{
    Engine, Result,
    component::{HasSelf, Linker},
};

/// The whole of what an import is called, and what it takes to have it.
const KNOWN: [(&str, Offer); 4] = [
    ("wasmserve:policy/request@0.1.0", Offer::Always),
    ("wasmserve:policy/clock@0.1.0", Offer::Always),
    ("wasi:config/store@0.2.0-rc.1", Offer::Always),
    ("wasi:logging/logging@0.1.0-draft", Offer::Granted("logging")),
];

#[derive(Clone, Copy)]
enum Offer {
    Always,
    Granted(&'static str),
}

/// Checks what a policy imports against what it may, by name; types are compared when it is linked. The error is one line
/// for the operator.
pub(crate) fn check(compiled: &Compiled, grants: &Grants) -> Result<(), String> {
    compiled
        .imports
        .iter()
        .try_for_each(|import| check_import(import, grants))
}

fn check_import(import: &str, grants: &Grants) -> Result<(), String> {
    if let Some((_, offer)) = KNOWN.iter().find(|(name, _)| *name == import) {
        return match offer {
            Offer::Granted(grant @ "logging") if !grants.logging => Err(format!(
                "imports {import}, which is not granted: add \"{grant}\" to its grants"
            )),
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

/// A linker with what is offered always, and logging when it is granted.
pub(crate) fn linker(engine: &Engine, logging: bool) -> Result<Linker<Call>> {
    let mut linker = Linker::new(engine);
    request::add_to_linker::<_, HasSelf<Call>>(&mut linker, |call| call)?;
    clock::add_to_linker::<_, HasSelf<Call>>(&mut linker, |call| call)?;
    config::add_to_linker::<_, HasSelf<Call>>(&mut linker, |call| call)?;
    if logging {
        logging::add_to_linker::<_, HasSelf<Call>>(&mut linker, |call| call)?;
    }
    wasi::add_to_linker(&mut linker)?;
    Ok(linker)
}
