//! Cross-origin resource sharing (the Fetch standard, section "CORS protocol"). README.md is the reference.
//!
//! The order of events: is the path beneath a prefix? A preflight (OPTIONS with Access-Control-Request-Method) is answered
//! here. Any other request goes on, with the headers that let the page of an allowed origin read the answer. `Origin` is
//! not asked when every origin may read: then caches keep one answer for all.
#![forbid(unsafe_code)]

mod origin;
mod settings;

use origin::Origins;
use wasmserve_plugin::{Config, Decision, HeaderChange, Policy, Request, Response, covers, deny, proceed, respond};

struct Cors {
    origins: Origins,
    prefixes: Vec<String>,
    credentials: bool,
    /// What every answer to an allowed origin has beside the origin.
    exposed: Option<String>,
    /// What a preflight is told beside the origin.
    preflight: Response,
}

wasmserve_plugin::export!(Cors);

const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";
const ALLOW_CREDENTIALS: &str = "Access-Control-Allow-Credentials";

impl Policy for Cors {
    fn configure(config: &Config) -> Result<Self, String> {
        let settings = settings::read(config)?;
        let mut preflight = respond(204).header("Access-Control-Allow-Methods", settings.methods.join(", "));
        if !settings.headers.is_empty() {
            preflight = preflight.header("Access-Control-Allow-Headers", settings.headers.join(", "));
        }
        if let Some(seconds) = settings.max_age {
            preflight = preflight.header("Access-Control-Max-Age", seconds.to_string());
        }
        Ok(Self {
            origins: settings.origins,
            prefixes: settings.prefixes,
            credentials: settings.credentials,
            exposed: (!settings.expose.is_empty()).then(|| settings.expose.join(", ")),
            preflight,
        })
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        if !self.prefixes.iter().any(|prefix| prefix == "/") {
            let path = request.path();
            if !self.prefixes.iter().any(|prefix| covers(prefix, &path)) {
                return Ok(proceed().into());
            }
        }
        let preflight = request.method() == "OPTIONS" && request.header("access-control-request-method").is_some();
        Ok(match (self.allowed(request), preflight) {
            (Some(origin), true) => self.answered(&origin).into(),
            (None, true) => deny(403).into(),
            (Some(origin), false) => {
                let mut changes = proceed();
                for (name, value) in self.shared(&origin) {
                    changes = changes.change(HeaderChange::set(name, value));
                }
                if let Some(exposed) = &self.exposed {
                    changes = changes.header("Access-Control-Expose-Headers", exposed);
                }
                changes.into()
            }
            (None, false) => proceed().into(),
        })
    }
}

impl Cors {
    /// The value of Access-Control-Allow-Origin, when the page that asks may read the answer.
    fn allowed(&self, request: &Request) -> Option<String> {
        match &self.origins {
            Origins::Any => Some("*".to_owned()),
            Origins::These(origins) => request
                .header("origin")
                .filter(|origin| origins.iter().any(|allowed| allowed.matches(origin))),
        }
    }

    fn answered(&self, origin: &str) -> Response {
        let shared = self.shared(origin);
        shared
            .into_iter()
            .fold(self.preflight.clone(), |response, (name, value)| {
                response.header(name, value)
            })
    }

    fn shared(&self, origin: &str) -> Vec<(&'static str, String)> {
        let mut shared = vec![(ALLOW_ORIGIN, origin.to_owned())];
        if self.credentials {
            shared.push((ALLOW_CREDENTIALS, "true".to_owned()));
        }
        shared
    }
}

#[cfg(test)]
mod tests;
