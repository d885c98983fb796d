//! Serves each tenant, told by host or path, from a directory of its own. README.md is the reference.
//!
//! The order of events: the host, or the first segment of the path, names the tenant. A name that could be anything but one
//! directory's is nobody's. The tenant's directory becomes the place where paths are looked up, and the confinement: no
//! path and no link leads from one tenant to another.
#![forbid(unsafe_code)]

mod settings;
mod tenant;

use settings::{By, Settings};
use tenant::Tenant;
use wasmserve_plugin::{Config, Decision, Policy, Request, deny, path, proceed, redirect};

struct TenantMap(Settings);

wasmserve_plugin::export!(TenantMap);

impl Policy for TenantMap {
    fn configure(config: &Config) -> Result<Self, String> {
        settings::read(config).map(Self)
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        match &self.0.by {
            By::Host { .. } => Ok(self.by_host(&request.host())),
            By::Path => Ok(self.by_path(request)),
        }
    }
}

impl TenantMap {
    fn by_host(&self, host: &str) -> Decision {
        let By::Host { hosts, names } = &self.0.by else {
            unreachable!("only called for tenants by host")
        };
        let named = names.get(host).cloned();
        let tenant = named.or_else(|| {
            let mut beneath = hosts.iter().filter_map(|pattern| pattern.beneath(host));
            beneath.find_map(Tenant::of_label)
        });
        match tenant {
            Some(tenant) => self.placed(&tenant).into(),
            None => deny(self.0.unknown).into(),
        }
    }

    fn by_path(&self, request: &Request) -> Decision {
        let path = request.path();
        let Some((tenant, rest)) = split(&path) else {
            return deny(self.0.unknown).into();
        };
        let Some(tenant) = Tenant::new(tenant) else {
            return deny(self.0.unknown).into();
        };
        if rest.is_empty() {
            // `/alice` is the directory `/alice/`: links in its page would lead beside it otherwise. Relative, so that it
            // holds behind a proxy that strips a prefix.
            let reference = path::reference(&format!("./{}/", tenant.as_str()), request.query().as_deref());
            return redirect(308, reference).into();
        }
        let mut targets = Vec::new();
        for target in request.targets() {
            match split(&target) {
                Some((segment, rest)) if segment == tenant.as_str() && !rest.is_empty() => {
                    targets.push(rest.to_owned())
                }
                // What an earlier policy mapped out of the tenant's part is no file of the tenant's.
                _ => {}
            }
        }
        if targets.is_empty() {
            return deny(self.0.unknown).into();
        }
        self.placed(&tenant).paths(targets).into()
    }

    fn placed(&self, tenant: &Tenant) -> wasmserve_plugin::Changes {
        let directory = self.0.directory.replace(settings::PLACEHOLDER, tenant.as_str());
        proceed().place(&self.0.root, directory).fact("tenant", tenant.as_str())
    }
}

/// The first segment of a path and what follows it: `alice` and `/a` for `/alice/a`, `alice` and nothing for `/alice`.
fn split(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix('/')?;
    let end = rest.find('/').unwrap_or(rest.len());
    (end > 0).then(|| rest.split_at(end))
}

#[cfg(test)]
mod tests;
