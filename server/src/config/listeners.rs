//! `[[listener]]`: an address with what is spoken there, who answers, and which proxies are believed. `[server] listen` is
//! the short form for addresses of which nothing more is said.

use super::{
    ConfigErrors, ServerSettings,
    document::{Located, Section},
    errors::Position,
};
use crate::net::listener::{
    Answers, ForwardedField, ListenAddress, ListenerOptions, Proxies, Security, Trusted, UNIX_MODE,
};
use std::{collections::HashSet, path::Path};

/// A listener, as it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerSettings {
    /// `address`: an address and port, `"unix:PATH"` (relative to this file), or `"systemd:NAME"`.
    pub address: ListenAddress,
    /// `mode`: the permission bits of a Unix socket, in octal. Default: `"660"`.
    pub mode: u32,
    /// `tls`: whether HTTPS is spoken. Default: `true` where a certificate is configured, but for Unix sockets and
    /// listeners that redirect.
    pub tls: Option<bool>,
    /// `redirect`: `"https"` sends every client to the same URL by HTTPS; what is beneath `/.well-known/acme-challenge/` is
    /// answered by the site. Default: the sites answer.
    /// `redirect-port`: the port that clients are sent to. Default: `443`.
    pub redirect: Option<u16>,
    /// `trusted`: the proxies in front: addresses, networks, and `"unix"` for whoever can connect to a Unix socket. Default:
    /// none.
    pub trusted: Trusted,
    /// `proxy-protocol`: whether each connection begins with a header of the PROXY protocol, version 1 or 2. Others than
    /// the trusted proxies cannot connect then. Default: `false`.
    pub proxy_protocol: bool,
    /// `forwarded`: the header field that the trusted proxies name their clients in: `"forwarded"` (RFC 7239) or
    /// `"x-forwarded-for"` (with `X-Forwarded-Proto`). Default: none is believed.
    pub forwarded: Option<ForwardedField>,
}

pub(super) const FORWARDED: [(&str, ForwardedField); 2] = [
    ("forwarded", ForwardedField::Forwarded),
    ("x-forwarded-for", ForwardedField::XForwardedFor),
];

const HTTPS: [(&str, ()); 1] = [("https", ())];

/// The word for whoever can connect to a Unix socket.
pub(super) const UNIX: &str = "unix";

/// Addresses that are listened on, so that none is twice.
#[derive(Default)]
pub struct Addresses(HashSet<ListenAddress>);

// === impl Addresses ===

impl Addresses {
    /// # Errors
    /// When it is there already, with words for the one who typed it.
    pub fn add(&mut self, address: &ListenAddress) -> Result<(), String> {
        match address.is_exclusive() && !self.0.insert(address.clone()) {
            true => Err(format!("{address} is listened on twice")),
            false => Ok(()),
        }
    }
}

// === impl ListenerSettings ===

impl ListenerSettings {
    /// Reads `[[listener]]`; paths are relative to `folder`. Meaningless when anything is noted in `errors`.
    pub fn read(folder: &Path, mut section: Section<'_>, addresses: &mut Addresses, errors: &mut ConfigErrors) -> Self {
        let settings = Self {
            address: address(folder, &mut section, addresses, errors),
            mode: section.parsed("mode", mode, errors).unwrap_or(UNIX_MODE),
            tls: section.flag("tls", errors),
            redirect: redirect(&mut section, errors),
            trusted: trusted(&mut section, errors),
            proxy_protocol: section.flag("proxy-protocol", errors).unwrap_or(false),
            forwarded: section.choice("forwarded", &FORWARDED, errors),
        };
        let believes = settings.proxy_protocol || settings.forwarded.is_some();
        if believes && settings.trusted.is_nobody() {
            let hint = "trusted = [\"10.0.0.0/8\"], or [\"unix\"] for whoever can connect to a Unix socket";
            let problem = "`proxy-protocol` and `forwarded` need `trusted`: whoever is believed can be anybody";
            errors.push(section.error(problem).hint(hint));
        }
        if settings.redirect.is_some() && settings.tls == Some(true) {
            errors.push(section.error("a listener that redirects to HTTPS does not speak it: leave out `tls`"));
        }
        section.finish(errors);
        settings
    }

    /// Whether sites are answered by it in the clear to whoever can reach its address. What a proxy in front demands of
    /// clients is the operator's to see to.
    pub fn is_open(&self, certificate: bool) -> bool {
        let options = self.options(certificate);
        options.security == Security::Plain
            && options.answers == Answers::Sites
            && options.proxies.trusted.is_nobody()
            && !matches!(options.address, ListenAddress::Unix(_))
    }

    /// What it comes to where a certificate is configured, or none.
    pub fn options(&self, certificate: bool) -> ListenerOptions {
        let by_default = certificate && self.redirect.is_none() && !matches!(self.address, ListenAddress::Unix(_));
        ListenerOptions {
            address: self.address.clone(),
            mode: self.mode,
            security: match self.tls.unwrap_or(by_default) {
                true => Security::Tls,
                false => Security::Plain,
            },
            answers: match self.redirect {
                Some(port) => Answers::RedirectToHttps { port },
                None => Answers::Sites,
            },
            proxies: Proxies {
                trusted: self.trusted.clone(),
                proxy_protocol: self.proxy_protocol,
                forwarded: self.forwarded,
            },
        }
    }
}

/// Reads all `[[listener]]` tables into the settings, and says where each begins. `listen`: whether `[server]` has the key of
/// that name.
pub fn read(
    folder: &Path,
    root: &mut Section<'_>,
    listen: bool,
    server: &mut ServerSettings,
    errors: &mut ConfigErrors,
) -> Vec<Position> {
    let Some(sections) = root.sections("listener", errors) else {
        return Vec::new();
    };
    if !listen && !sections.is_empty() {
        server.listen.clear();
    }
    let mut addresses = Addresses::default();
    for address in &server.listen {
        // What is there twice was told when they were read.
        let _ = addresses.add(address);
    }
    let positions = sections.iter().map(Section::position).collect();
    let listeners = sections.into_iter();
    server.listeners = listeners
        .map(|section| ListenerSettings::read(folder, section, &mut addresses, errors))
        .collect();
    positions
}

fn address(
    folder: &Path,
    section: &mut Section<'_>,
    addresses: &mut Addresses,
    errors: &mut ConfigErrors,
) -> ListenAddress {
    let nowhere = ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
    let Some(text) = section.required_string("address", errors) else {
        return nowhere;
    };
    let address = text
        .value
        .parse::<ListenAddress>()
        .map(|address| address.beneath(folder));
    let added = address.and_then(|address| addresses.add(&address).map(|()| address));
    added.unwrap_or_else(|problem| {
        errors.push(section.error_at(&text, format!("`address`: {problem}")));
        nowhere
    })
}

fn mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "must be permission bits in octal, such as \"660\"".into())
}

fn redirect(section: &mut Section<'_>, errors: &mut ConfigErrors) -> Option<u16> {
    let redirect = section.choice("redirect", &HTTPS, errors);
    let typed = section.word("redirect-port", errors);
    let Some(typed) = typed else {
        return redirect.map(|()| 443);
    };
    let port = typed.value.parse::<u16>().ok().filter(|port| *port > 0);
    if port.is_none() {
        errors.push(section.error_at(&typed, "`redirect-port` must be a port: 1 to 65535"));
    } else if redirect.is_none() {
        errors.push(section.error_at(&typed, "`redirect-port` needs redirect = \"https\""));
    }
    redirect.and(port)
}

fn trusted(section: &mut Section<'_>, errors: &mut ConfigErrors) -> Trusted {
    let mut trusted = Trusted::default();
    for text in section.strings("trusted", errors).unwrap_or_default() {
        let Located { value, .. } = &text;
        if value == UNIX {
            trusted.unix = true;
        } else if let Ok(network) = value.parse() {
            trusted.networks.push(network);
        } else if let Ok(address) = value.parse::<std::net::IpAddr>() {
            trusted.networks.push(address.to_canonical().into());
        } else {
            let problem = format!("`trusted`: {value:?} is not an address or a network such as \"10.0.0.0/8\"");
            errors.push(section.error_at(&text, problem));
        }
    }
    trusted
}
