//! The links of nginx's `secure_link` with `secure_link_md5`: the MD5 digest of an expression, in base64url.
//!
//! MD5 is what such links are made with. They cannot be forged by what is known against it today, because the secret is in
//! the digest, but new links should not be made so.
use crate::{Signed, seconds};
use base64ct::{Base64UrlUnpadded, Encoding};
use md5::{Digest, Md5};
use subtle::ConstantTimeEq;
use wasmserve_plugin::Request;

/// Which parameters a link has, and what its digest is of.
pub struct SecureLink {
    parts: Vec<Part>,
    signature: String,
    expires: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Expires,
    Uri,
    RemoteAddress,
}

const VARIABLES: [(&str, Part); 3] = [
    ("secure_link_expires", Part::Expires),
    ("uri", Part::Uri),
    ("remote_addr", Part::RemoteAddress),
];

impl SecureLink {
    /// From the expression as `secure_link_md5` has it, and the names of the two parameters.
    ///
    /// # Errors
    /// What is wrong with the expression, without its text: the secret is in it.
    pub fn new(expression: &str, signature: String, expires: String) -> Result<Self, String> {
        let parts = parts(expression)?;
        for (needed, why) in [
            (
                Part::Expires,
                "$secure_link_expires, without which a link could be given any time",
            ),
            (
                Part::Uri,
                "$uri, without which a link for one file would open every other",
            ),
        ] {
            if !parts.contains(&needed) {
                return Err(format!("lacks {why}"));
            }
        }
        let touching = |pair: &[Part]| {
            matches!(
                pair,
                [Part::Uri | Part::RemoteAddress, Part::Expires] | [Part::Expires, Part::RemoteAddress]
            )
        };
        if parts.windows(2).any(touching) {
            let problem = "has $secure_link_expires beside another variable, so that digits could move from one to the \
                           other: put text between them, or $uri behind it";
            return Err(problem.to_owned());
        }
        let secret = |part: &Part| matches!(part, Part::Text(text) if text.trim().len() >= 4);
        if !parts.iter().any(secret) {
            return Err("lacks a secret: text of at least four characters".to_owned());
        }
        Ok(Self {
            parts,
            signature,
            expires,
        })
    }

    /// What the request's link says, when its digest is right.
    pub fn check(&self, request: &Request) -> Option<Signed> {
        let sent = request.query_parameter(&self.signature)?;
        let sent = Base64UrlUnpadded::decode_vec(sent.trim_end_matches('=')).ok()?;
        let expires_text = request.query_parameter(&self.expires)?;
        let expires = seconds(&expires_text)?;
        let mut digest = Md5::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => digest.update(text),
                Part::Expires => digest.update(&expires_text),
                Part::Uri => digest.update(request.path()),
                Part::RemoteAddress => digest.update(request.client_address()?),
            }
        }
        bool::from(digest.finalize().as_slice().ct_eq(&sent)).then_some(Signed {
            expires,
            for_client: true,
        })
    }
}

/// Text and variables, written `$name` or `${name}`.
fn parts(expression: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find('$') {
        if at > 0 {
            parts.push(Part::Text(rest[..at].to_owned()));
        }
        let after = &rest[at + 1..];
        let (name, end) = match after.strip_prefix('{') {
            Some(braced) => {
                let end = braced.find('}').ok_or("has `${` without `}`")?;
                (&braced[..end], end + 2)
            }
            None => {
                let end = after.find(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
                let end = end.unwrap_or(after.len());
                (&after[..end], end)
            }
        };
        let variable = VARIABLES.into_iter().find(|(known, _)| *known == name);
        let (_, part) = variable.ok_or_else(|| {
            let known = VARIABLES.map(|(known, _)| format!("${known}")).join(", ");
            format!("has a variable that is not known here; known are {known}")
        })?;
        parts.push(part);
        rest = &after[end..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        let text = |text: &str| Part::Text(text.to_owned());
        for (expression, expected) in [
            (
                "$secure_link_expires$uri$remote_addr secret",
                vec![Part::Expires, Part::Uri, Part::RemoteAddress, text(" secret")],
            ),
            (
                "secret${uri}x$secure_link_expires",
                vec![text("secret"), Part::Uri, text("x"), Part::Expires],
            ),
        ] {
            assert_eq!(parts(expression).unwrap(), expected, "{expression}");
        }
        for expression in ["$arg_x", "$", "${uri", "$urix", "$uri$$"] {
            assert!(parts(expression).is_err(), "{expression}");
        }
        for expression in [
            "$uri secret",
            "$secure_link_expires secret",
            "$secure_link_expires$uri abc",
        ] {
            let made = SecureLink::new(expression, "md5".into(), "expires".into());
            let error = made.err().expect("unsafe");
            assert!(!error.contains("abc"), "{error}");
        }
    }
}
