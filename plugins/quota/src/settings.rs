//! The configuration, checked.
use bytesize::ByteSize;
use serde::Deserialize;
use std::collections::BTreeMap;
use wasmserve_plugin::{Config, Mistakes};
use wasmserve_quota_usage::{BUCKET, By, Period};

/// What the operator configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    by: String,
    per: String,
    bytes: String,
    #[serde(default)]
    tenants: BTreeMap<String, String>,
    #[serde(default = "whole_site")]
    prefixes: Vec<String>,
    #[serde(default = "too_many")]
    status: u16,
    #[serde(default = "usage")]
    bucket: String,
    #[serde(default)]
    unavailable: Unavailable,
}

/// What becomes of requests when the sum cannot be read.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Unavailable {
    #[default]
    Refuse,
    Allow,
}

/// What that means.
pub struct Settings {
    pub by: By,
    pub per: Period,
    /// What a tenant has; `None`: no limit.
    pub bytes: Option<u64>,
    /// What some tenants have in the place of that.
    pub tenants: BTreeMap<String, Option<u64>>,
    pub prefixes: Vec<String>,
    pub status: u16,
    pub bucket: String,
    pub unavailable: Unavailable,
}

/// Stands for no limit.
const UNLIMITED: &str = "unlimited";

fn whole_site() -> Vec<String> {
    vec!["/".to_owned()]
}

fn too_many() -> u16 {
    429
}

fn usage() -> String {
    BUCKET.to_owned()
}

/// Reads and checks the configuration.
///
/// # Errors
/// Everything that is wrong with it, each with its key.
pub fn read(config: &Config) -> Result<Settings, String> {
    let written: Written = config.read()?;
    let mut mistakes = Mistakes::default();
    mistakes.check_prefixes("prefixes", &written.prefixes);
    mistakes.check_refusal("status", written.status);
    let by = mistakes.take("by", &written.by, written.by.parse::<By>());
    let per = mistakes.take("per", &written.per, written.per.parse::<Period>());
    let bytes = mistakes.take("bytes", &written.bytes, size(&written.bytes));
    let mut tenants = BTreeMap::new();
    for (tenant, text) in written.tenants {
        if let Some(limit) = mistakes.take("tenants", &text, size(&text)) {
            tenants.insert(tenant, limit);
        }
    }
    mistakes.check()?;
    // Whatever is missing here was noted above.
    Ok(Settings {
        by: by.ok_or("`by` is missing")?,
        per: per.ok_or("`per` is missing")?,
        bytes: bytes.ok_or("`bytes` is missing")?,
        tenants,
        prefixes: written.prefixes,
        status: written.status,
        bucket: written.bucket,
        unavailable: written.unavailable,
    })
}

/// `10GiB`, or `unlimited`.
fn size(text: &str) -> Result<Option<u64>, &'static str> {
    if text == UNLIMITED {
        return Ok(None);
    }
    let size: ByteSize = text
        .parse()
        .map_err(|_| "expected a size such as \"10GiB\", or \"unlimited\"")?;
    Ok(Some(size.as_u64()))
}
