//! The engine, shared by every site of the process.
use crate::{Chain, ChainSpec, LoadError};

#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Instances that may be alive at once.
    pub instances: u32,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot start the WebAssembly engine")]
pub struct HostError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

#[derive(Clone)]
pub struct Host {}

impl Host {
    pub fn new(_options: HostOptions) -> Result<Self, HostError> {
        todo!()
    }
    /// Compiles, checks and configures every policy of a chain.
    pub async fn load(&self, _spec: ChainSpec) -> Result<Chain, LoadError> {
        todo!()
    }
}
