//! Certificates: those of `[server]`, and those of a site, `[site.tls]`.

use super::{ConfigErrors, document::Section};
use crate::net::tls::{ClientCertificates, Demand, TlsFiles};
use std::{path::Path, sync::Arc};

/// The names of the four keys.
struct Keys {
    certificate: &'static str,
    key: &'static str,
    authorities: &'static str,
    demand: &'static str,
}

/// `[server]`.
const SERVER: Keys = Keys {
    certificate: "tls-cert",
    key: "tls-key",
    authorities: "tls-client-ca",
    demand: "tls-client-certificates",
};

/// `[site.tls]`:
/// - `cert` and `key`: PEM files of the site's own. Default: the server's.
/// - `client-ca`: PEM file with the certificates that those of clients have to lead to. Default: that of the server, if the
///   site has no certificate of its own; otherwise clients are not asked for one.
/// - `client-certificates`: `"required"` (the default with `client-ca`) or `"optional"`.
const SITE: Keys = Keys {
    certificate: "cert",
    key: "key",
    authorities: "client-ca",
    demand: "client-certificates",
};

pub(super) const DEMANDS: [(&str, Demand); 2] = [("required", Demand::Required), ("optional", Demand::Optional)];

/// Takes the keys of `[server]`; paths are relative to `folder`.
pub(super) fn of_server(folder: &Path, section: &mut Section<'_>, errors: &mut ConfigErrors) -> Option<TlsFiles> {
    let (files, clients) = take(&SERVER, folder, section, errors);
    if files.is_none() && clients.is_some() {
        errors.push(section.error("`tls-client-ca` needs `tls-cert` and `tls-key`"));
    }
    files.map(|files| TlsFiles { clients, ..files })
}

/// Reads `[site.tls]`; paths are relative to `folder`. What it leaves out is the server's.
pub(super) fn of_site(
    folder: &Path,
    mut section: Section<'_>,
    server: Option<&TlsFiles>,
    errors: &mut ConfigErrors,
) -> Option<Arc<TlsFiles>> {
    let (own, clients) = take(&SITE, folder, &mut section, errors);
    let files = match (own, server) {
        (Some(own), _) => Some(TlsFiles { clients, ..own }),
        (None, Some(server)) => Some(TlsFiles {
            clients: clients.or_else(|| server.clients.clone()),
            ..server.clone()
        }),
        (None, None) => {
            let hint = "give `cert` and `key` here, or `tls-cert` and `tls-key` in [server]";
            errors.push(section.error("[tls] has no certificate").hint(hint));
            None
        }
    };
    section.finish(errors);
    files.map(Arc::new)
}

fn take(
    keys: &Keys,
    folder: &Path,
    section: &mut Section<'_>,
    errors: &mut ConfigErrors,
) -> (Option<TlsFiles>, Option<ClientCertificates>) {
    let certificate = section.string(keys.certificate, errors);
    let key = section.string(keys.key, errors);
    let authorities = section.string(keys.authorities, errors);
    let demand = section.choice(keys.demand, &DEMANDS, errors);
    let files = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(TlsFiles {
            certificate: folder.join(certificate.value),
            key: folder.join(key.value),
            clients: None,
        }),
        (None, None) => None,
        (Some(lonely), None) | (None, Some(lonely)) => {
            let problem = format!("`{}` and `{}` go together", keys.certificate, keys.key);
            errors.push(section.error_at(&lonely, problem));
            None
        }
    };
    if demand.is_some() && authorities.is_none() {
        let problem = format!(
            "`{}` needs `{}`: whose certificates are accepted",
            keys.demand, keys.authorities
        );
        errors.push(section.error(problem));
    }
    let clients = authorities.map(|authorities| ClientCertificates {
        authorities: folder.join(authorities.value),
        demand: demand.unwrap_or(Demand::Required),
    });
    (files, clients)
}
