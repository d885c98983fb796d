//! `wasmserve sign`: a URL in, a link that expires out, as the policy signed-url admits it.
//!
//! What is signed is described in plugins/signed-url/README.md.

use super::{Outcome, password::read_line};
use crate::config::units::duration;
use anyhow::{Context, bail, ensure};
use base64ct::{Base64UrlUnpadded, Encoding};
use clap::Args;
use http::Uri;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ring::hmac;
use std::{
    fs::File,
    io::{self, BufReader},
    net::IpAddr,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use wasmserve_files::SitePath;

#[derive(Debug, Args)]
pub struct SignOptions {
    /// What the link is for: a URL or its path, as a browser would send it (percent-encoded)
    url: String,

    /// File whose first line is the secret of signed-url; without it the secret is read from standard input
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,

    /// For how long the link is valid, such as 1h, 2d or 30m
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = duration, conflicts_with = "until")]
    expires: Duration,

    /// Until when the link is valid, in UTC, such as 2026-11-20T18:00:00Z
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_rfc3339)]
    until: Option<SystemTime>,

    /// Directory that the link opens with everything beneath it, such as /private/album/
    #[arg(long, value_name = "PATH", value_parser = prefix)]
    prefix: Option<SitePath>,

    /// Address or CIDR block of the clients that the link is for
    #[arg(long, value_name = "ADDRESS", value_parser = client)]
    client: Option<String>,
}

/// The fewest bytes of a secret that signed-url takes.
const SHORTEST_SECRET: usize = 16;

/// What stays as it is in a query: unreserved characters and `/` (RFC 3986, section 3.4).
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Prints a signed link.
pub fn run(options: &SignOptions) -> Outcome {
    let expires = match options.until {
        Some(until) => until,
        None => SystemTime::now()
            .checked_add(options.expires)
            .context("--expires is beyond what a clock can tell")?,
    };
    println!("{}", link(options, expires, &secret(options)?)?);
    Ok(ExitCode::SUCCESS)
}

/// The first line.
fn secret(options: &SignOptions) -> anyhow::Result<String> {
    let secret = match &options.secret_file {
        Some(file) => {
            let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
            read_line(BufReader::new(opened)).with_context(|| format!("{} has no secret", file.display()))?
        }
        None => read_line(io::stdin().lock())?,
    };
    ensure!(
        secret.len() >= SHORTEST_SECRET,
        "the secret has fewer than {SHORTEST_SECRET} characters, which signed-url does not take"
    );
    Ok(secret)
}

fn link(options: &SignOptions, expires: SystemTime, secret: &str) -> anyhow::Result<String> {
    let (url, fragment) = match options.url.split_once('#') {
        Some((url, fragment)) => (url, format!("#{fragment}")),
        None => (options.url.as_str(), String::new()),
    };
    let no_url = || format!("{url:?} is no URL: blanks and letters beyond ASCII have to be percent-encoded");
    ensure!(url.is_ascii(), no_url());
    let uri: Uri = url.parse().with_context(no_url)?;
    let path = SitePath::from_uri(uri.path()).map_err(|error| anyhow::anyhow!("the path of {url:?} {error}"))?;
    let scope = match &options.prefix {
        Some(prefix) if path.is_within(prefix) => format!("prefix {}", prefix.as_str()),
        Some(prefix) => bail!(
            "{} is not beneath {}: the link would not open it",
            path.as_str(),
            prefix.as_str()
        ),
        None => format!("path {}", path.as_str()),
    };
    let expires = expires
        .duration_since(UNIX_EPOCH)
        .context("the link would have expired before 1970")?
        .as_secs();
    let client = options.client.as_deref();
    let message = format!("{scope}\nexpires {expires}\nclient {}\n", client.unwrap_or("any"));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = Base64UrlUnpadded::encode_string(hmac::sign(&key, message.as_bytes()).as_ref());

    // Parameters of these names that are there already would come first, and count.
    let named = |parameter: &str| {
        let name = parameter.split('=').next().unwrap_or_default();
        ["expires", "prefix", "client", "signature"].contains(&name)
    };
    if uri.query().is_some_and(|query| query.split('&').any(named)) {
        bail!("{url:?} is signed already");
    }
    let mut signed = format!(
        "{url}{}expires={expires}",
        if uri.query().is_some() { '&' } else { '?' }
    );
    let prefix = options.prefix.as_ref().map(SitePath::as_str);
    for (name, value) in [("prefix", prefix), ("client", client)] {
        if let Some(value) = value {
            signed += &format!("&{name}={}", utf8_percent_encode(value, QUERY));
        }
    }
    Ok(format!("{signed}&signature={signature}{fragment}"))
}

fn prefix(text: &str) -> Result<SitePath, String> {
    SitePath::from_decoded(text).map_err(|error| format!("the path {error}"))
}

/// In one form for each block, and an IPv4-mapped one as what it maps, because that is how clients are told apart.
fn client(text: &str) -> Result<String, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_canonical().to_string());
    }
    let block = text.parse::<IpNet>();
    let block = block.map_err(|_| "must be an address or a CIDR block, such as 192.0.2.7 or 2001:db8::/32")?;
    Ok(unmapped(block.trunc()).to_string())
}

fn unmapped(block: IpNet) -> IpNet {
    let mapped = |net: &Ipv6Net| {
        let address = net.network().to_ipv4_mapped()?;
        Ipv4Net::new(address, net.prefix_len().checked_sub(96)?).ok()
    };
    match &block {
        IpNet::V6(net) => mapped(net).map_or(block, IpNet::V4),
        IpNet::V4(_) => block,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "the older secret of the operator";

    fn options(url: &str) -> SignOptions {
        SignOptions {
            url: url.to_owned(),
            secret_file: None,
            expires: Duration::ZERO,
            until: None,
            prefix: None,
            client: None,
        }
    }

    fn sign(options: &SignOptions) -> anyhow::Result<String> {
        link(options, UNIX_EPOCH + Duration::from_secs(1_795_197_600), SECRET)
    }

    /// The signatures are Python's, and those of the tests of signed-url.
    #[test]
    fn links_are_signed_as_others_sign_them() {
        for (url, prefixed, from, expected) in [
            (
                "/private/a%20b.pdf",
                None,
                None,
                "/private/a%20b.pdf?expires=1795197600&signature=SbEudcPHjskWHocwefYOl5zkFI-_rwPBZSxEgJ4aGq4",
            ),
            (
                "https://example.com/private/a%20b.pdf?x=1#page=2",
                None,
                None,
                "https://example.com/private/a%20b.pdf?x=1&expires=1795197600&signature=SbEudcPHjskWHocwefYOl5zkFI-_rwPBZSxEgJ4aGq4#page=2",
            ),
            (
                "/private/x/y",
                Some("/private/"),
                None,
                "/private/x/y?expires=1795197600&prefix=/private/&signature=Bj5z3oGAavUEBYGWntsVdeq2Q7uccX56OVy23E267EY",
            ),
            (
                "/private/x",
                Some("/private/"),
                Some("192.0.2.0/24"),
                "/private/x?expires=1795197600&prefix=/private/&client=192.0.2.0/24&signature=HQ0IIjd4SRtV5SPRK2DjLUuhgrKQ6ljRcrCZ6b4epfY",
            ),
        ] {
            let mut options = options(url);
            options.prefix = prefixed.map(|text| prefix(text).unwrap());
            options.client = from.map(|text| client(text).unwrap());
            assert_eq!(sign(&options).unwrap(), expected);
        }
    }

    #[test]
    fn what_would_not_be_admitted_is_not_signed() {
        for url in [
            "",
            "a b",
            "/ü",
            "/a//b",
            "/../a",
            "/a?expires=1",
            "/a?x=1&signature=",
            "mailto:a@b.org",
        ] {
            assert!(sign(&options(url)).is_err(), "{url}");
        }
        let mut elsewhere = options("/public/a");
        elsewhere.prefix = prefix("/private/").ok();
        assert!(sign(&elsewhere).is_err());
        assert!(client("192.0.2.0/33").is_err() && prefix("private").is_err());
    }

    #[test]
    fn clients_have_one_form() {
        for (text, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:DB8::1", "2001:db8::1"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:0:0/90", "::ffc0:0:0/90"),
            ("2001:db8::1/32", "2001:db8::/32"),
        ] {
            assert_eq!(client(text).as_deref(), Ok(expected), "{text}");
        }
    }
}
