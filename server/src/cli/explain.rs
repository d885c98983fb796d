//! `wasmserve explain`: why a request is answered as it is.
//!
//! In the order of events: the request as it was typed, [`account`] (what it leads to, found by the code that serves),
//! [`secrets`] (what is hidden), then [`text`] for people or JSON for programs. Everything is loaded anew: nothing is asked
//! of a server that runs.

mod account;
mod secrets;
mod text;

use super::{Outcome, ServeOptions};
use crate::{
    request::{Arrival, Scheme},
    site::Site,
};
use account::Account;
use anyhow::Context;
use clap::Args;
use http::{HeaderName, HeaderValue, Method, Uri, header, request::Parts};
use std::{
    io::{self, Write},
    net::IpAddr,
    process::ExitCode,
    time::SystemTime,
};

#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub struct ExplainOptions {
    /// Method of the request
    #[arg(default_value = "GET")]
    method: Method,

    /// Path or URL that is asked for, such as /private/ or http://example.org/private/
    ///
    /// A path is asked of the host "localhost", unless there is a Host among the header fields.
    #[arg(value_parser = url)]
    url: Uri,

    /// Header field of the request, such as "Accept: text/html"; may be given several times
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = field)]
    headers: Vec<(HeaderName, HeaderValue)>,

    /// Address that the request comes from
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    client: IpAddr,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// Show credentials and cookies, which are hidden otherwise
    #[arg(long)]
    show_secrets: bool,

    #[command(flatten)]
    serve: ServeOptions,
}

/// The host of a request that names none.
const LOCALHOST: HeaderValue = HeaderValue::from_static("localhost");

/// Loads a site, decides a request, and prints how.
pub fn run(options: &ExplainOptions) -> Outcome {
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    let site = runtime.block_on(Site::load(options.serve.site()))?;
    let mut account = runtime.block_on(Account::of(&site, || options.arrival()));
    if !options.show_secrets {
        secrets::hide(&mut account);
    }
    let text = if options.json {
        serde_json::to_string_pretty(&account).context("cannot be written as JSON")? + "\n"
    } else {
        account.to_string()
    };
    let mut output = io::stdout().lock();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    written.context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

// === impl ExplainOptions ===

impl ExplainOptions {
    /// The request as a connection would hand it over: what is wrong with it is still in it.
    fn arrival(&self) -> Arrival {
        Arrival {
            head: self.head(),
            client: Some(self.client.to_canonical()),
            scheme: match self.url.scheme_str() {
                Some("https") => Scheme::Https,
                _ => Scheme::Http,
            },
            at: SystemTime::now(),
        }
    }

    fn head(&self) -> Parts {
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.method = self.method.clone();
        head.uri = self.url.clone();
        for (name, value) in &self.headers {
            head.headers.append(name, value.clone());
        }
        if !head.headers.contains_key(header::HOST) {
            // As a client does it: the URL's host, without user information (RFC 9110, section 7.2).
            let authority = self.url.authority().map(|authority| authority.as_str());
            let host = authority.map(|text| text.rsplit_once('@').map_or(text, |(_, host)| host));
            let host = host.and_then(|host| HeaderValue::from_str(host).ok());
            head.headers.insert(header::HOST, host.unwrap_or(LOCALHOST));
        }
        head
    }
}

/// A request target as the server's parser reads it.
fn url(text: &str) -> Result<Uri, String> {
    text.parse().map_err(|error| {
        format!("{error}: must be a path such as /private/ or a URL such as http://example.org/private/")
    })
}

fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("must be a name, a colon and a value, such as \"Accept: text/html\"")?;
    let name = name
        .parse()
        .map_err(|_| format!("{name:?} is not the name of a field"))?;
    let value = HeaderValue::from_bytes(value.trim_matches([' ', '\t']).as_bytes())
        .map_err(|_| "a value cannot have control characters in it")?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Host, Target, TargetError};
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        explain: ExplainOptions,
    }

    fn typed(arguments: &[&str]) -> Result<ExplainOptions, clap::Error> {
        let arguments = ["explain"].iter().chain(arguments);
        Typed::try_parse_from(arguments).map(|typed| typed.explain)
    }

    #[test]
    fn the_method_may_be_left_out() {
        for (arguments, method, url) in [
            (&["/a"][..], "GET", "/a"),
            (&["HEAD", "/a?b"], "HEAD", "/a?b"),
            (&["/a", "-H", "A: b"], "GET", "/a"),
            (&["-H", "A: b", "POST", "/a", "--json"], "POST", "/a"),
            (&["--client", "::1", "/a"], "GET", "/a"),
            (&["OPTIONS", "*"], "OPTIONS", "*"),
        ] {
            let options = typed(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
            assert_eq!((options.method.as_str(), &*options.url.to_string()), (method, url));
        }
    }

    #[test]
    fn hosts_come_from_the_url_or_the_field() {
        for (arguments, expected) in [
            (&["/a"][..], Ok("localhost")),
            (&["http://Example.org:81/a"], Ok("example.org")),
            (&["/a", "-H", "Host: example.org"], Ok("example.org")),
            (
                &["/a", "-H", "host: a", "-H", "Host: a"],
                Err(TargetError::RepeatedHost),
            ),
            (&["http://a/", "-H", "Host: b"], Err(TargetError::DisagreeingHost)),
            (&["http://user:password@a/"], Err(TargetError::UserInformation)),
            (&["https://a/"], Err(TargetError::OtherScheme)),
            (&["/a", "-H", "Host:"], Err(TargetError::MalformedHost)),
            (&["CONNECT", "a:80"], Err(TargetError::Connect)),
        ] {
            let options = typed(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
            let head = options.head();
            let host = Target::of(&head, Scheme::Http).map(|target| match target {
                Target::Resource {
                    host: Host { name, .. },
                    ..
                } => name,
                Target::Server => String::new(),
            });
            assert_eq!(host, expected.map(str::to_owned), "{arguments:?}");
        }
    }

    #[test]
    fn fields_have_a_name_and_a_value() {
        for (text, expected) in [
            ("Accept: text/html", Some(("accept", "text/html"))),
            ("a:b:c", Some(("a", "b:c"))),
            ("a: \t", Some(("a", ""))),
            ("a", None),
            (": b", None),
            ("a b: c", None),
            ("a : c", None),
            ("a: b\r\nc: d", None),
        ] {
            let given = field(text).ok();
            let given = given.as_ref().map(|(name, value)| (name.as_str(), value.as_bytes()));
            assert_eq!(
                given,
                expected.map(|(name, value)| (name, value.as_bytes())),
                "{text:?}"
            );
        }
    }

    #[test]
    fn mapped_addresses_are_told_as_on_a_connection() {
        let options = typed(&["/", "--client", "::ffff:192.0.2.1"]).expect("an address");
        assert_eq!(options.arrival().client, Some(IpAddr::from([192, 0, 2, 1])));
        assert!(typed(&["/", "--client", "office"]).is_err());
    }
}
