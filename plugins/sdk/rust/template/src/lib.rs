//! Keeps one folder to the clients of one network.
//!
//! The order of events: is the path, or what it is mapped to, in the folder? Only then is the client asked about, so that
//! the decision about everything else is the same for everybody.

use wasmserve_plugin::{Config, Decision, Policy, Request, deny, proceed};

struct MyPolicy {
    folder: String,
    network: String,
}

wasmserve_plugin::export!(MyPolicy);

impl Policy for MyPolicy {
    /// Runs once, when the server loads the policy.
    fn configure(config: &Config) -> Result<Self, String> {
        config.only(&["folder", "network"])?;
        Ok(Self {
            folder: config.required("folder")?,
            network: config.required("network")?,
        })
    }

    /// Runs for each request, always from what `configure` left.
    fn decide(&self, request: &Request) -> Result<Decision, String> {
        if request.reaches(&self.folder) && !request.client_within(&self.network) {
            return Ok(deny(403).into());
        }
        Ok(proceed().header("X-Policy", "my-policy").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmserve_plugin::testing::{self, Question, configure};

    #[test]
    fn only_the_folder_is_guarded() {
        let policy: MyPolicy = configure([("folder", "/private/"), ("network", "10.0.0.0/8")]).unwrap();
        let request = testing::Request::get("/index.html").client("192.0.2.1".parse().ok());
        assert!(matches!(request.decide(&policy), Ok(Decision::Proceed(_))));
        assert!(!request.asked().contains(&Question::ClientWithin("10.0.0.0/8".into())));
        let guarded = testing::Request::get("/private/a").client("192.0.2.1".parse().ok());
        assert_eq!(guarded.decide(&policy), Ok(deny(403).into()));
    }
}
