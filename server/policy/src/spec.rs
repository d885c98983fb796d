//! What to load: resolved, with every default filled in.
use crate::{Grants, ServiceBudget};
use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

/// The chain of a site, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainSpec {
    pub site: Arc<str>,
    pub policies: Vec<PolicySpec>,
    /// Who is told of finished exchanges.
    pub observers: Vec<PolicySpec>,
    /// The names of the roots that a policy may place paths in.
    pub roots: BTreeSet<String>,
    pub budget: Budget,
}

/// What the policies of one site may use together, whatever each of them may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of decisions that may be kept with their evidence: by default about 50,000 small ones.
    pub evidence: usize,
    /// `concurrent`: calls of policies under way at once, 1 or more. Further ones wait for a quarter of a second, and are
    /// then answered with 503.
    pub concurrent: usize,
    /// `processor`: processor time that calls may use in each second; twice as much may be saved up and used at once. When
    /// it is used up, requests that need a run are answered with 503 until there is some again. `None`: no limit.
    pub processor: Option<Duration>,
    /// What services keep for them.
    pub services: ServiceBudget,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            evidence: 16 << 20,
            // Half of the instances that there are.
            concurrent: 128,
            processor: None,
            services: ServiceBudget::default(),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct PolicySpec {
    /// The name that logs and errors use.
    pub name: String,
    /// A component, or a core module with component-type metadata.
    pub wasm: PathBuf,
    pub config: toml::Table,
    pub limits: Limits,
    pub grants: Grants,
    /// Facts that it may set.
    pub establishes: BTreeSet<String>,
    /// Facts that it may ask for.
    pub reads: BTreeSet<String>,
    pub reuse: Reuse,
    /// A candidate that runs beside it.
    pub shadow: Option<ShadowSpec>,
    /// What the file has to be; `None`: whatever it is.
    pub pin: Option<Pin>,
}

/// What a plugin's file has to be, and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// The reference that it was fetched by, with its digest; `None`: it is the operator's own file.
    pub reference: Option<String>,
    /// The key that signed it, where it was asked for by itself.
    pub public_key: Option<String>,
}

/// A policy that is asked what another one is asked, off the response path. Its decisions are compared and thrown away.
#[derive(Clone, Debug, PartialEq)]
pub struct ShadowSpec {
    /// A component, or a core module with component-type metadata.
    pub wasm: PathBuf,
    pub config: toml::Table,
    pub limits: Limits,
    /// Facts that it may set.
    pub establishes: BTreeSet<String>,
    /// Facts that it may ask for.
    pub reads: BTreeSet<String>,
    /// One request of so many is compared, at most; at least 1.
    pub one_in: u32,
    /// What the file has to be; `None`: whatever it is.
    pub pin: Option<Pin>,
}

/// What may be used again from one call to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reuse {
    /// Whether decisions are kept with their evidence.
    pub evidence: bool,
    pub isolation: Isolation,
}

impl Default for Reuse {
    fn default() -> Self {
        Self {
            evidence: true,
            isolation: Isolation::Request,
        }
    }
}

/// What a call starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// The configured state, whatever other calls did.
    #[default]
    Request,
    /// What an earlier call left behind. For plugins that keep state on purpose; none of their decisions is kept.
    Reuse,
}

/// Ceilings of one policy. Running time counts only while the guest runs; wall time from the call to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub running: Duration,
    pub wall: Duration,
    /// The running-time ceiling of `configure`, once per load.
    pub configure: Duration,
    /// Bytes of linear memory.
    pub memory: usize,
    /// Bytes that answers to questions may hand to the guest in one decision.
    pub answers: usize,
    /// Calls of this policy under way at once; further ones wait within their wall time.
    pub concurrent: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            running: Duration::from_millis(20),
            wall: Duration::from_secs(1),
            configure: Duration::from_secs(1),
            memory: 16 << 20,
            answers: 1 << 20,
            concurrent: 64,
        }
    }
}

/// Why a chain could not be loaded: one line that names the policy and the file and says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{policy} ({}): {reason}", .wasm.display())]
pub struct LoadError {
    pub policy: String,
    pub wasm: PathBuf,
    pub reason: String,
}
