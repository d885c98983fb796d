//! Limits how many requests a client, a user or the whole site may make. README.md is the reference.
//!
//! The order of events: for each limit whose prefixes the request reaches, a token is taken from the bucket of whoever the
//! limit counts. The first that has none left refuses. A decision that took a token is one for this request alone.
#![forbid(unsafe_code)]

mod limit;
mod settings;

use limit::Limit;
use settings::{Settings, Unavailable};
use wasmserve_plugin::{
    Changes, Config, Decision, HeaderChange, Policy, Request, Response, Sharing,
    counters::{self, Taken},
    deny, proceed,
};

struct RateLimit(Settings);

wasmserve_plugin::export!(RateLimit);

const RATE_LIMIT: &str = "RateLimit";
const RATE_LIMIT_POLICY: &str = "RateLimit-Policy";

impl Policy for RateLimit {
    fn configure(config: &Config) -> Result<Self, String> {
        settings::read(config).map(Self)
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        let applying: Vec<&Limit> = self
            .0
            .limits
            .iter()
            .filter(|limit| limit.prefixes.iter().any(|prefix| prefix == "/") || request.reaches_any(&limit.prefixes))
            .collect();
        if applying.is_empty() || request.client_within_any(&self.0.exempt) {
            return Ok(proceed().sharing(self.0.sharing).into());
        }
        let mut granted = Vec::new();
        for limit in applying {
            let key = limit.bucket(request, self.0.grouping);
            match (counters::take(&key, limit.capacity, limit.refill()), self.0.unavailable) {
                (Ok(taken), _) if taken.granted => granted.push((limit, taken)),
                (Ok(taken), _) => return Ok(self.refused(limit, taken).into()),
                (Err(_), Unavailable::Allow) => {}
                (Err(_), Unavailable::Refuse) => return Ok(deny(503).header("Retry-After", "1").into()),
            }
        }
        Ok(self.admitted(&granted).into())
    }
}

impl RateLimit {
    /// What is left is told to the client, unless caches may hand the answer to others.
    fn admitted(&self, granted: &[(&Limit, Taken)]) -> Changes {
        let changes = proceed().sharing(self.0.sharing);
        if self.0.sharing == Sharing::Allowed || granted.is_empty() {
            return changes;
        }
        let policies: Vec<String> = granted.iter().map(|(limit, _)| limit.policy()).collect();
        let left: Vec<String> = granted.iter().map(|(limit, taken)| limit.left(taken)).collect();
        changes
            .change(HeaderChange::set(RATE_LIMIT_POLICY, policies.join(", ")))
            .change(HeaderChange::set(RATE_LIMIT, left.join(", ")))
    }

    fn refused(&self, limit: &Limit, taken: Taken) -> Response {
        deny(429)
            .header("Retry-After", limit::seconds(taken.retry_after).max(1).to_string())
            .header(RATE_LIMIT_POLICY, limit.policy())
            .header(RATE_LIMIT, limit.left(&taken))
            .header("Cache-Control", "no-store")
    }
}

#[cfg(test)]
mod tests;
