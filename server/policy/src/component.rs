//! From a file to a component that is known to be a policy of this contract.
use crate::{bindings::PolicyWithServicesPre, call::Call, grants::Links};
use sha2::{Digest, Sha256};
use std::{
    fmt::Write,
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};
use wasmtime::{
    Engine, Module,
    component::{Component, types::ComponentItem},
};
use wit_component::ComponentEncoder;

/// The contract that a policy has to export.
pub(crate) const CONTRACT: &str = "wasmserve:policy/guest@0.1.0";
const GUEST: &str = "wasmserve:policy/guest@";
const OBSERVER: &str = "wasmserve:policy/observing@";
/// No plugin is this large; a language runtime takes about 20 MiB.
const MAX_FILE: u64 = 256 << 20;

/// A compiled policy.
pub(crate) struct Compiled {
    /// The component, which snapshots are made from.
    pub bytes: Vec<u8>,
    pub component: Component,
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// Names of what it imports, in order.
    pub imports: Vec<String>,
    /// The component with what reads its state, compiled when first needed.
    instrumented: OnceLock<Component>,
    /// How long it took to capture a configured state.
    pub capturing: OnceLock<Duration>,
    /// The component linked, for each combination of optional imports, when first needed.
    pub plain: [OnceLock<Arc<PolicyWithServicesPre<Call>>>; Links::COUNT],
}

impl Compiled {
    /// The instrumented component, whose bytes are always the same.
    pub fn instrumented(&self, engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
        if let Some(component) = self.instrumented.get() {
            return Ok(component.clone());
        }
        let component = Component::new(engine, bytes)?;
        Ok(self.instrumented.get_or_init(|| component).clone())
    }
}

/// Reads a file, and gives its SHA-256 in hexadecimal too.
pub(crate) fn open(file: &Path) -> Result<(Vec<u8>, String), String> {
    let bytes = read(file)?;
    let digest = hex(&Sha256::digest(&bytes));
    Ok((bytes, digest))
}

/// Compiles a file. Takes long (a language runtime: seconds), so call it where that holds nobody up. The error is one line
/// for the operator.
pub(crate) fn compile(engine: &Engine, bytes: Vec<u8>, digest: String) -> Result<Compiled, String> {
    let (bytes, core) = match kind(&bytes)? {
        Kind::Component => (bytes, false),
        Kind::CoreModule => (componentize(engine, &bytes)?, true),
    };
    let component =
        Component::new(engine, &bytes).map_err(|error| format!("does not compile: {}", one_line(&error)))?;
    check_contract(engine, &component, core)?;
    let imports = component
        .component_type()
        .imports(engine)
        .map(|(name, _)| name.to_owned())
        .collect();
    Ok(Compiled {
        bytes,
        component,
        instrumented: OnceLock::new(),
        capturing: OnceLock::new(),
        plain: Default::default(),
        digest,
        imports,
    })
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let metadata = std::fs::metadata(file).map_err(|error| format!("cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err("is not a file".into());
    }
    if metadata.len() > MAX_FILE {
        return Err(format!("is larger than {} MiB", MAX_FILE >> 20));
    }
    std::fs::read(file).map_err(|error| format!("cannot be read: {error}"))
}

enum Kind {
    Component,
    CoreModule,
}

/// The first eight bytes tell: a magic, a version and a layer (component model, Binary.md).
fn kind(bytes: &[u8]) -> Result<Kind, String> {
    match bytes.get(..8) {
        Some(b"\0asm\x0d\0\x01\0") => Ok(Kind::Component),
        Some(b"\0asm\x01\0\0\0") => Ok(Kind::CoreModule),
        _ => Err("is neither a WebAssembly component nor a core module".into()),
    }
}

fn componentize(engine: &Engine, module: &[u8]) -> Result<Vec<u8>, String> {
    // wit-component 0.254 panics on a module that is cut short.
    Module::validate(engine, module)
        .map_err(|error| format!("is not a valid WebAssembly module: {}", one_line(&error)))?;
    let encoded = ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| {
        let reason = format!("{error:#}");
        format!(
            "is a core module that does not make a component: {}",
            reason.replace('\n', " ")
        )
    })
}

fn check_contract(engine: &Engine, component: &Component, core: bool) -> Result<(), String> {
    let ty = component.component_type();
    let instances: Vec<&str> = ty
        .exports(engine)
        .filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentInstance(_)))
        .map(|(name, _)| name)
        .collect();
    if instances.contains(&CONTRACT) {
        return Ok(());
    }
    if let Some(other) = instances.iter().find(|name| name.starts_with(GUEST)) {
        return Err(format!(
            "speaks {other}, and this server speaks {CONTRACT}: build it against the server's wit/"
        ));
    }
    if instances.iter().any(|name| name.starts_with(OBSERVER)) {
        return Err("is an observer, not a policy".into());
    }
    if core {
        // A module without component-type metadata makes a component, an empty one.
        return Err("is a core module without the metadata that wit-bindgen adds: it exports no policy".into());
    }
    Err(format!("is not a policy: it does not export {CONTRACT}"))
}

/// An error and its causes, in one line.
pub(crate) fn one_line(error: &wasmtime::Error) -> String {
    let causes: Vec<String> = error
        .chain()
        .map(|cause| cause.to_string().replace('\n', " "))
        .collect();
    causes.join(": ")
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
