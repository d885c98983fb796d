//! The listener that only sends clients on: the same URL by HTTPS (RFC 9110, section 15.4.9).

use super::{Arrival, Host, Refusal, Reply, Target, TargetError, framing, handle::capabilities};
use crate::{acme::Challenges, sites::Sites};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use wasmserve_files::{Answer, Content};

/// Where an ACME server looks for the answer to its challenge, by plain HTTP (RFC 8555, section 8.3).
pub const ACME: &str = "/.well-known/acme-challenge/";

/// The port that `https` means.
const HTTPS: u16 = 443;

/// Whether a request is an ACME server's: the site answers it.
pub fn is_acme(head: &Parts) -> bool {
    head.uri.path().starts_with(ACME)
}

/// The answer to an authority that looks for one of this server's own challenges: before any policy, for it is asked
/// nothing that an attacker could use, and no file is served. Any other one is the site's.
pub fn challenge(challenges: &Challenges, head: &Parts) -> Option<Answer> {
    if !is_acme(head) || !matches!(head.method, Method::GET | Method::HEAD) {
        return None;
    }
    let host = head.headers.get(header::HOST)?.to_str().ok()?;
    let host = Host::parse(host)?;
    let answer = challenges.answer(&host.name, head.uri.path())?;
    Some(Answer {
        status: StatusCode::OK,
        headers: HeaderMap::from_iter([
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/octet-stream"),
            ),
            (header::CONTENT_LENGTH, answer.len().into()),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ]),
        media_type: None,
        content: Content::of(answer),
    })
}

/// Sends a request on, when its host is a site's.
pub async fn to_https(sites: &Sites, arrival: &Arrival, port: u16) -> Reply {
    match location(sites, arrival, port).await {
        Ok(Some(location)) => Reply::undecided(moved(location)),
        Ok(None) => Reply::undecided(capabilities()),
        Err(refusal) => Reply::refused(&refusal),
    }
}

async fn location(sites: &Sites, arrival: &Arrival, port: u16) -> Result<Option<HeaderValue>, Refusal> {
    framing::check(&arrival.head.headers)?;
    let (host, path, query) = match Target::of(&arrival.head, arrival.spoken)? {
        Target::Server => return Ok(None),
        Target::Resource { host, path, query } => (host, path, query),
    };
    sites.of_host(&host.name).await?;
    if host.name.is_empty() {
        // HTTP/1.0 without Host: nobody can be sent to a place without a name.
        return Err(TargetError::MissingHost.into());
    }
    let mut location = format!("https://{}", host.name);
    if port != HTTPS {
        location.push_str(&format!(":{port}"));
    }
    location.push_str(path);
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    let value = HeaderValue::try_from(location).map_err(|_| TargetError::MalformedTarget)?;
    Ok(Some(value))
}

fn moved(location: HeaderValue) -> Answer {
    Answer {
        status: StatusCode::PERMANENT_REDIRECT,
        headers: HeaderMap::from_iter([
            (header::LOCATION, location),
            (header::CONTENT_LENGTH, HeaderValue::from_static("0")),
        ]),
        media_type: None,
        content: Content::NONE,
    }
}
