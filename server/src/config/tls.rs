//! Certificates: those of `[server]`, and those of a site, `[site.tls]`.

use super::{ConfigErrors, document::Section};
use crate::{
    acme::is_certifiable,
    net::tls::{CertificateSource, ClientCertificates, Demand, TlsFiles},
    sites::HostPattern,
};
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
/// - `acme`: whether each of the site's hosts has a certificate that is ordered as `[acme]` says. Default: `false`.
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
    (hosts, acme): (&[HostPattern], bool),
    errors: &mut ConfigErrors,
) -> Option<Arc<TlsFiles>> {
    let (own, clients) = take(&SITE, folder, &mut section, errors);
    if section.flag("acme", errors) == Some(true) {
        check_acme(&section, own.is_some(), hosts, acme, errors);
        section.finish(errors);
        return Some(Arc::new(TlsFiles {
            certificate: CertificateSource::Acme,
            clients,
        }));
    }
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

/// Whether certificates can be ordered for these hosts.
fn check_acme(section: &Section<'_>, has_files: bool, hosts: &[HostPattern], acme: bool, errors: &mut ConfigErrors) {
    if has_files {
        errors.push(section.error("`acme` and `cert` are two ways to say the same: give one of them"));
    }
    if !acme {
        errors.push(no_acme(section));
    }
    for host in hosts {
        let problem = match host {
            HostPattern::Exact(name) if is_certifiable(name) => continue,
            HostPattern::Exact(name) => {
                format!("no certificate can be ordered for {name}: it is not a name of the DNS")
            }
            wildcard => format!(
                "no certificate can be ordered for {wildcard}: authorities want dns-01 for wildcards, which is not spoken here"
            ),
        };
        let hint = "name the hosts, or give `cert` and `key`";
        errors.push(section.error(problem).hint(hint));
    }
}

/// The error of a table that wants certificates ordered where nobody is named to order them from.
pub(super) fn no_acme(section: &Section<'_>) -> super::ConfigError {
    let hint = "[acme] with `agree-to-terms = true`, `contact` and `storage`";
    section
        .error("`acme = true` needs an [acme] table: whom certificates are ordered from")
        .hint(hint)
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
            certificate: CertificateSource::Files {
                certificate: folder.join(certificate.value),
                key: folder.join(key.value),
            },
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
