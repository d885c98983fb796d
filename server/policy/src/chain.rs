//! A loaded chain.
use crate::{Request, Verdict};
use std::sync::Arc;

pub struct Chain {}

/// What `wasmserve check` prints of a policy.
#[derive(Clone, Debug)]
pub struct PolicyInfo {
    pub name: String,
    pub wasm: std::path::PathBuf,
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// The contract that it exports, such as `wasmserve:policy/guest@0.1.0`.
    pub contract: String,
    pub imports: Vec<String>,
}

impl Chain {
    /// A chain of no policies: everything proceeds as it is.
    pub fn empty(_site: Arc<str>) -> Self {
        todo!()
    }
    /// Never fails: a fault is a verdict.
    pub async fn decide(&self, _request: &Arc<Request>) -> Verdict {
        todo!()
    }
    pub fn policies(&self) -> Vec<PolicyInfo> {
        todo!()
    }
}
