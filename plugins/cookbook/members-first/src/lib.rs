use wasmserve_plugin::{Config, Decision, Policy, Request, path, proceed};

struct MembersFirst {
    prefix: String,
    bytes_per_second: u64,
}

wasmserve_plugin::export!(MembersFirst);

impl Policy for MembersFirst {
    fn configure(config: &Config) -> Result<Self, String> {
        config.only(&["prefix", "bytes-per-second"])?;
        let prefix = config.required("prefix")?;
        path::check_prefix(&prefix).map_err(|problem| format!("`prefix` {problem}"))?;
        let bytes_per_second = config.parsed("bytes-per-second")?.unwrap_or(100_000);
        Ok(Self {
            prefix,
            bytes_per_second,
        })
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        // Established by a policy in front of this one, such as basic-auth or jwt.
        if !request.reaches(&self.prefix) || request.fact("user").is_some() {
            return Ok(proceed().into());
        }
        Ok(proceed().pace(self.bytes_per_second).into())
    }
}
