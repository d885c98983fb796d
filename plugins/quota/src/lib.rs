//! Refuses tenants that were sent more bytes than they have. README.md is the reference.
//!
//! The order of events: is the path, or what it is mapped to, beneath a prefix? Who the tenant is says how many bytes there
//! are; a tenant without a limit is asked no more. The sum that the meter keeps is read; at the limit the request is
//! refused until the period ends.
#![forbid(unsafe_code)]

mod settings;

use settings::{Settings, Unavailable};
use wasmserve_plugin::{Config, Decision, Policy, Request, Response, deny, key_value::Bucket, proceed};
use wasmserve_quota_usage::{By, first_segment};

struct Quota(Settings);

wasmserve_plugin::export!(Quota);

impl Policy for Quota {
    fn configure(config: &Config) -> Result<Self, String> {
        settings::read(config).map(Self)
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        let settings = &self.0;
        if !settings.prefixes.iter().any(|prefix| prefix == "/") && !request.reaches_any(&settings.prefixes) {
            return Ok(proceed().into());
        }
        let tenant = self.tenant(request);
        let Some(limit) = settings.tenants.get(&tenant).copied().unwrap_or(settings.bytes) else {
            return Ok(proceed().into());
        };
        let now = request.now();
        Ok(
            match (
                used(&settings.bucket, &settings.per.key(now, &tenant)),
                settings.unavailable,
            ) {
                (Ok(used), _) if used < limit => proceed().into(),
                (Ok(_), _) => refused(settings.status, settings.per.left(now)).into(),
                (Err(_), Unavailable::Allow) => proceed().into(),
                (Err(_), Unavailable::Refuse) => refused(503, 1).into(),
            },
        )
    }
}

impl Quota {
    /// Empty for everybody together, and for who has no such fact.
    fn tenant(&self, request: &Request) -> String {
        match &self.0.by {
            By::Site => String::new(),
            By::Host => request.host(),
            By::Path => first_segment(&request.path()).to_owned(),
            By::Fact(name) => request.fact(name).unwrap_or_default(),
        }
    }
}

/// The bytes that were counted so far.
fn used(bucket: &str, key: &str) -> Result<u64, String> {
    let Some(digits) = Bucket::open(bucket)?.get(key)? else {
        return Ok(0);
    };
    let digits = std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok());
    digits.ok_or_else(|| "the bucket holds something else than a number".to_owned())
}

fn refused(status: u16, seconds: u64) -> Response {
    deny(status)
        .header("Retry-After", seconds.to_string())
        .header("Cache-Control", "no-store")
}

#[cfg(test)]
mod tests;
