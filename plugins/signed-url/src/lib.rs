//! Admits links that were signed and have not expired. README.md is the reference.
//!
//! The order of events: is the path, or anything that it is mapped to, beneath a prefix? Then the signature is checked,
//! before anything that the link says is believed; then whether it has expired, which is asked as `before`, so that one
//! check serves until then; last whether the client is the one that the link is for.
#![forbid(unsafe_code)]

mod link;
mod secure_link;
mod settings;

use settings::{Form, Settings};
use wasmserve_plugin::{Config, Decision, Policy, Request, deny, proceed};

struct SignedUrl(Settings);

wasmserve_plugin::export!(SignedUrl);

/// A link whose signature is right.
struct Signed {
    /// Seconds since 1970.
    expires: u64,
    /// Whether it is for this client.
    for_client: bool,
}

impl Policy for SignedUrl {
    fn configure(config: &Config) -> Result<Self, String> {
        settings::read(config).map(Self)
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        if !request.reaches_any(&self.0.prefixes) {
            return Ok(proceed().into());
        }
        let signed = match &self.0.form {
            Form::Link(secrets) => link::check(request, secrets),
            Form::SecureLink(form) => form.check(request),
        };
        Ok(match signed {
            None => deny(self.0.status).into(),
            Some(signed) if !request.before(signed.expires) => deny(self.0.expired).into(),
            Some(signed) if !signed.for_client => deny(self.0.status).into(),
            Some(_) => proceed().into(),
        })
    }
}

/// A time in a link: decimal digits without a sign or leading zeros, so that it has one form only.
fn seconds(text: &str) -> Option<u64> {
    let seconds: u64 = text.parse().ok()?;
    (seconds.to_string() == text).then_some(seconds)
}

#[cfg(test)]
mod tests;
