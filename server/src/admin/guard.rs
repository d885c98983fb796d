//! Who is let in: before anything that is asked for is looked at.
//!
//! In the order of events: the Host must be one that only an operator's own browser or command would name, which is what
//! keeps out pages that have their own name resolve to this address (DNS rebinding); the Origin, where a browser sends one,
//! must be that Host, which keeps out the forms and scripts of other pages; and over TCP a token must be shown. Whoever can
//! connect to the Unix socket has shown enough: the file's mode is the whole of the access control. But an operator may
//! reach it by a browser, through a tunnel (`ssh -L`), so that Host and Origin are checked there too.

use crate::watch::{Secret, key::Key};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::Authority};
use std::{fmt::Write, net::IpAddr};

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Socket,
    Tcp,
}

/// What is asked of whoever comes.
pub struct Guard {
    /// Lower case, beside `localhost` and addresses.
    hosts: Vec<String>,
    /// Over TCP; without one nobody is let in there.
    token: Option<Secret>,
    /// What a browser shows that has shown the token before. Ends with the process.
    session: Session,
}

struct Session {
    text: String,
    key: Key,
}

/// Why somebody is not let in.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    pub status: StatusCode,
    pub problem: String,
}

/// The cookie that a browser shows instead of the token.
const COOKIE: &str = "wasmserve-admin";

/// Where the browser says how a request came about (Fetch Metadata).
const FETCH_SITE: &str = "sec-fetch-site";

// === impl Guard ===

impl Guard {
    pub fn new(hosts: &[String], token: Option<Secret>) -> Self {
        Self {
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            token,
            session: Session::new(),
        }
    }

    /// Whether a request is from where it may be.
    ///
    /// # Errors
    /// A Host that is not known, or a page of another origin.
    pub fn check_origin(&self, method: &Method, headers: &HeaderMap) -> Result<(), Refused> {
        let host = self.host(headers)?;
        if let Some(origin) = headers.get(header::ORIGIN) {
            let own = [format!("http://{host}"), format!("https://{host}")];
            if !own
                .iter()
                .any(|own| origin.as_bytes().eq_ignore_ascii_case(own.as_bytes()))
            {
                return Err(Refused::forbidden("this is asked by a page of another origin"));
            }
        }
        let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
        // Following a link to the status page is harmless, and all that another page may lead to.
        let harmless = [Method::GET, Method::HEAD].contains(method);
        if !harmless && site.is_some_and(|site| site != b"same-origin" && site != b"none") {
            return Err(Refused::forbidden("this is asked by a page of another origin"));
        }
        Ok(())
    }

    /// Whether it shows what is needed.
    ///
    /// # Errors
    /// Over TCP without the token, and without the cookie for it.
    pub fn check_token(&self, via: Via, headers: &HeaderMap) -> Result<(), Refused> {
        let shown = match via {
            Via::Socket => true,
            Via::Tcp => {
                let bearer = bearer(headers).is_some_and(|given| self.is_token(given));
                bearer || cookies(headers).any(|cookie| self.session.is(cookie))
            }
        };
        match shown {
            true => Ok(()),
            false => Err(Refused {
                status: StatusCode::UNAUTHORIZED,
                problem: "show the token: Authorization: Bearer TOKEN".into(),
            }),
        }
    }

    /// Whether this is the token.
    pub fn is_token(&self, given: &[u8]) -> bool {
        self.token.as_ref().is_some_and(|token| token.is(given))
    }

    /// The cookie for a browser that has shown the token. Scripts cannot read it, and it comes with requests of the status
    /// page alone.
    pub fn cookie(&self) -> HeaderValue {
        let cookie = format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict", self.session.text);
        HeaderValue::from_str(&cookie).expect("it is made of visible characters")
    }

    /// The one Host of a request, with its port, if it is one of ours.
    fn host<'h>(&self, headers: &'h HeaderMap) -> Result<&'h str, Refused> {
        let mut fields = headers.get_all(header::HOST).iter();
        let (Some(field), None) = (fields.next(), fields.next()) else {
            return Err(Refused {
                status: StatusCode::BAD_REQUEST,
                problem: "one Host is needed".into(),
            });
        };
        let unknown = || Refused {
            status: StatusCode::MISDIRECTED_REQUEST,
            problem: "this is not a name of the admin listener: use localhost, its address, or add it to admin-hosts"
                .into(),
        };
        let text = field.to_str().map_err(|_| unknown())?;
        let authority: Authority = text.parse().map_err(|_| unknown())?;
        if text.contains('@') {
            return Err(unknown());
        }
        let name = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        let known = name == "localhost" || name.parse::<IpAddr>().is_ok() || self.hosts.contains(&name);
        match known {
            true => Ok(text),
            false => Err(unknown()),
        }
    }
}

impl Refused {
    fn forbidden(problem: &str) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            problem: problem.into(),
        }
    }
}

// === impl Session ===

impl Session {
    fn new() -> Self {
        let mut text = String::new();
        for byte in Key::random().digest(b"session") {
            let _ = write!(text, "{byte:02x}");
        }
        Self {
            text,
            key: Key::random(),
        }
    }

    /// Digests are compared: how long that takes tells nothing about the text.
    fn is(&self, given: &[u8]) -> bool {
        given.len() == self.text.len() && self.key.digest(given) == self.key.digest(self.text.as_bytes())
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let field = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = field.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// The values of the cookie, which a browser may send several of.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let fields = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let pairs = fields.flat_map(|field| field.split(|byte| *byte == b';'));
    pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(COOKIE.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn guard() -> Guard {
        let token = Secret::new(TOKEN).expect("long enough");
        Guard::new(&["Admin.Example.org".into()], Some(token))
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    #[test]
    fn only_names_that_nobody_else_can_have_are_answered() {
        for (hosts, status) in [
            (&["localhost"][..], None),
            (&["LOCALHOST:9090"], None),
            (&["127.0.0.1:9090"], None),
            (&["[::1]:9090"], None),
            (&["192.0.2.7"], None),
            (&["admin.example.org:443"], None),
            (&["attacker.example"], Some(421)),
            (&["localhost.attacker.example"], Some(421)),
            (&["127.0.0.1.attacker.example"], Some(421)),
            (&["localhost@attacker.example"], Some(421)),
            (&[""], Some(421)),
            (&["a b"], Some(421)),
            (&[], Some(400)),
            (&["localhost", "localhost"], Some(400)),
        ] {
            let fields: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            let checked = guard().check_origin(&Method::GET, &headers(&fields));
            let refused = checked.err().map(|refused| refused.status.as_u16());
            assert_eq!(refused, status, "{hosts:?}");
        }
    }

    #[test]
    fn other_origins_are_kept_out() {
        for (method, name, value, enters) in [
            (Method::POST, "origin", "http://localhost:9090", true),
            (Method::POST, "origin", "https://localhost:9090", true),
            (Method::POST, "origin", "http://localhost:9091", false),
            (Method::POST, "origin", "http://attacker.example", false),
            (Method::POST, "origin", "null", false),
            (Method::GET, "origin", "http://attacker.example", false),
            (Method::POST, "sec-fetch-site", "same-origin", true),
            (Method::POST, "sec-fetch-site", "none", true),
            (Method::POST, "sec-fetch-site", "same-site", false),
            (Method::POST, "sec-fetch-site", "cross-site", false),
            (Method::GET, "sec-fetch-site", "cross-site", true),
        ] {
            let headers = headers(&[("host", "localhost:9090"), (name, value)]);
            assert_eq!(
                guard().check_origin(&method, &headers).is_ok(),
                enters,
                "{method} {name}: {value}"
            );
        }
    }

    #[test]
    fn over_tcp_only_the_token_or_its_cookie_opens() {
        let guard = guard();
        let cookie = guard.cookie();
        let cookie = cookie
            .to_str()
            .expect("visible")
            .split(';')
            .next()
            .expect("a pair")
            .to_owned();
        let other = Guard::new(&[], None).cookie();
        let other = other
            .to_str()
            .expect("visible")
            .split(';')
            .next()
            .expect("a pair")
            .to_owned();
        for (name, value, enters) in [
            ("authorization", format!("Bearer {TOKEN}"), true),
            ("authorization", format!("bearer  {TOKEN} "), true),
            ("authorization", format!("Basic {TOKEN}"), false),
            ("authorization", format!("Bearer {TOKEN}x"), false),
            ("authorization", "Bearer ".into(), false),
            ("authorization", "Bearer".into(), false),
            ("cookie", format!("a=b; {cookie}"), true),
            ("cookie", format!("{COOKIE}=x; {cookie}"), true),
            ("cookie", format!("{COOKIE}={TOKEN}"), false),
            ("cookie", format!("x{cookie}"), false),
            ("cookie", other, false),
        ] {
            let headers = headers(&[(name, &value)]);
            assert_eq!(guard.check_token(Via::Tcp, &headers).is_ok(), enters, "{name}: {value}");
            assert!(guard.check_token(Via::Socket, &HeaderMap::new()).is_ok());
            // Without a token of its own, it lets nobody in.
            let closed = Guard::new(&[], None);
            assert!(closed.check_token(Via::Tcp, &headers).is_err());
        }
        assert!(!cookie.contains(TOKEN));
    }
}
