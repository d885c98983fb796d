//! Shows what lies beneath a prefix to one network alone.
use wasmserve_plugin::{Config, Decision, Mistakes, Network, Policy, Request, deny, path, proceed};

struct MyPolicy {
    prefix: String,
    network: Network,
}

impl Policy for MyPolicy {
    fn configure(config: &Config) -> Result<Self, String> {
        config.only(&["prefix", "network"])?;
        let prefix = config.required("prefix")?;
        let network = config.required("network")?;
        let mut mistakes = Mistakes::default();
        mistakes.take("prefix", &prefix, path::check_prefix(&prefix));
        let network = mistakes.parse("network", &network);
        mistakes.check()?;
        Ok(Self {
            prefix,
            network: network.ok_or("`network` is missing")?,
        })
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        if request.reaches(&self.prefix) && !request.client_within(self.network.as_ref()) {
            return Ok(deny(403).into());
        }
        Ok(proceed().header("X-Policy", "my-policy").into())
    }
}

wasmserve_plugin::export!(MyPolicy);
