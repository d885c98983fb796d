//! From a file to a component that is known to be a policy of this contract, and the code made of it when it is needed.
use crate::{
    bindings::PolicyWithServicesPre,
    call::Call,
    code::{CodeFrom, Codes},
    grants::Links,
};
use sha2::{Digest, Sha256};
use std::{
    fmt::Write,
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};
use wasmparser::{ComponentExternalKind, Parser, Payload};
use wasmtime::{
    Engine, Module,
    component::{Component, Linker},
};
use wit_component::ComponentEncoder;

/// The contract that a policy has to export.
pub(crate) const CONTRACT: &str = "wasmserve:policy/guest@0.1.0";
const GUEST: &str = "wasmserve:policy/guest@";
/// The contract that an observer has to export.
pub(crate) const OBSERVING: &str = "wasmserve:policy/observing@0.1.0";
const OBSERVER: &str = "wasmserve:policy/observing@";
/// No plugin is this large; a language runtime takes about 20 MiB.
const MAX_FILE: u64 = 256 << 20;

/// A policy as a component, and what was compiled of it so far. Compiling takes long (a language runtime: seconds), and most
/// policies need only the code of their captured state.
pub(crate) struct Compiled {
    /// The component, which snapshots are made from.
    pub bytes: Vec<u8>,
    /// SHA-256 of the component.
    pub fingerprint: [u8; 32],
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// Names of what it imports, in order.
    pub imports: Vec<String>,
    /// The instances that it exports.
    exports: Vec<String>,
    /// It was a core module.
    core: bool,
    /// The component as it is.
    plain: OnceLock<(Component, CodeFrom)>,
    /// The component with what reads its state.
    instrumented: OnceLock<Component>,
    /// How long it took to capture a configured state.
    pub capturing: OnceLock<Duration>,
    /// The component as it is, linked, for each combination of optional imports.
    linked: [OnceLock<Arc<PolicyWithServicesPre<Call>>>; Links::COUNT],
}

/// A component that is ready to be instantiated, and where its code came from.
pub(crate) type Linked = (Arc<PolicyWithServicesPre<Call>>, CodeFrom);

impl Compiled {
    /// The instrumented component, whose bytes are always the same.
    pub fn instrumented(&self, codes: &Codes, bytes: &[u8]) -> wasmtime::Result<Component> {
        if let Some(component) = self.instrumented.get() {
            return Ok(component.clone());
        }
        let component = codes.for_one_run(bytes)?;
        Ok(self.instrumented.get_or_init(|| component).clone())
    }

    /// The component as it is. The error is one line for the operator.
    pub fn code(&self, codes: &Codes) -> Result<(Component, CodeFrom), String> {
        if let Some(plain) = self.plain.get() {
            return Ok(plain.clone());
        }
        let plain = codes
            .component(&self.bytes, &self.fingerprint)
            .map_err(|error| format!("does not compile: {}", one_line(&error)))?;
        Ok(self.plain.get_or_init(|| plain).clone())
    }

    /// What to make instances of, without a snapshot; shared by all policies of the file with the same grants. The error is
    /// one line for the operator.
    pub fn plain(&self, codes: &Codes, linker: &Linker<Call>, links: Links) -> Result<Linked, String> {
        let (component, from) = self.code(codes)?;
        let cell = &self.linked[links.index()];
        if let Some(linked) = cell.get() {
            return Ok((linked.clone(), from));
        }
        let linked = link(linker, &component).map_err(|error| unlinked(&error))?;
        Ok((cell.get_or_init(|| linked).clone(), from))
    }
}

/// What the operator is told of a component that cannot be linked.
pub(crate) fn unlinked(error: &wasmtime::Error) -> String {
    format!("cannot be linked: {}", one_line(error))
}

/// Links a component with what it imports.
pub(crate) fn link(linker: &Linker<Call>, component: &Component) -> wasmtime::Result<Arc<PolicyWithServicesPre<Call>>> {
    let instances = linker.instantiate_pre(component)?;
    Ok(Arc::new(PolicyWithServicesPre::new(instances)?))
}

/// The SHA-256 of a file's bytes, in hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Makes a component of a file's bytes and looks at what it exports, without compiling anything. The error is one line for
/// the operator.
pub(crate) fn inspect(engine: &Engine, bytes: Vec<u8>, digest: String) -> Result<Compiled, String> {
    let (bytes, core) = match kind(&bytes)? {
        Kind::Component => (bytes, false),
        Kind::CoreModule => (componentize(engine, &bytes)?, true),
    };
    let names = Names::of(&bytes).map_err(|error| format!("does not compile: {error}"))?;
    Ok(Compiled {
        fingerprint: Sha256::digest(&bytes).into(),
        bytes,
        digest,
        imports: names.imports,
        plain: OnceLock::new(),
        instrumented: OnceLock::new(),
        capturing: OnceLock::new(),
        linked: Default::default(),
        exports: names.exports,
        core,
    })
}

/// A plugin as a component, with what it imports and exports by name.
#[derive(Debug)]
pub struct Described {
    pub component: Vec<u8>,
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

/// Makes a component of a file's bytes and says what it is, without running or compiling anything.
///
/// # Errors
/// When it is no plugin of this contract, in one line.
pub fn describe(bytes: Vec<u8>) -> Result<Described, String> {
    let digest = digest(&bytes);
    let compiled = inspect(&Engine::default(), bytes, digest)?;
    compiled
        .check(Role::Observer)
        .or_else(|_| compiled.check(Role::Policy))?;
    Ok(Described {
        component: compiled.bytes,
        imports: compiled.imports,
        exports: compiled.exports,
    })
}

/// What a component imports, and the instances that it exports, by name and in order. Their types are looked at when it is
/// compiled and linked.
#[derive(Default)]
struct Names {
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Names {
    fn of(component: &[u8]) -> wasmparser::Result<Self> {
        let mut names = Self::default();
        // Components and modules within this one: what they import and export is their own.
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(component) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        names.imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        let export = export?;
                        if export.kind == ComponentExternalKind::Instance {
                            names.exports.push(export.name.name.to_owned());
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(names)
    }
}

/// Reads a file. The error is one line for the operator.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, String> {
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

/// What a component is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Policy,
    Observer,
}

impl Role {
    fn contract(self) -> &'static str {
        match self {
            Self::Policy => CONTRACT,
            Self::Observer => OBSERVING,
        }
    }

    /// What the contract is called in any version.
    fn any_version(self) -> &'static str {
        match self {
            Self::Policy => GUEST,
            Self::Observer => OBSERVER,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Policy => Self::Observer,
            Self::Observer => Self::Policy,
        }
    }

    /// For errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Observer => "observer",
        }
    }
}

impl Compiled {
    /// Whether it is what it is to be, in the version that this server speaks. The error is one line for the operator.
    pub fn check(&self, role: Role) -> Result<(), String> {
        let (contract, name) = (role.contract(), role.name());
        let exported = |beginning: &str| self.exports.iter().find(|export| export.starts_with(beginning));
        if self.exports.iter().any(|export| export == contract) {
            return Ok(());
        }
        if let Some(other) = exported(role.any_version()) {
            return Err(format!(
                "speaks {other}, and this server speaks {contract}: build it against the server's wit/"
            ));
        }
        if exported(role.other().any_version()).is_some() {
            let other = role.other().name();
            return Err(format!("is no {name}: list it as [[{other}]] in plugins.toml"));
        }
        if self.core {
            // A module without component-type metadata makes a component, an empty one.
            return Err(format!(
                "is a core module without the metadata that wit-bindgen adds: it exports no {name}"
            ));
        }
        Err(format!("is no {name}: it does not export {contract}"))
    }
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
