//! Asks and decides whatever its configuration says, and nothing else:
//!
//! - `ask`: questions, one a line: `method`, `header NAME`, `client-within CIDR`, ...; see [`answer`].
//! - `respond`: a status; with `body` and `response-headers` (lines `NAME: VALUE`). `echo` responds 200 with the answers.
//! - `answers-header`: a header field that is set to the answers, joined by `; `.
//! - `paths`: candidates, one a line; `place`: `ROOT DIRECTORY`; `missing`: `STATUS PATH...`; `pace`: bytes a second.
//! - `headers`: changes, one a line: `OPERATION | NAME | VALUE | WHEN... | TYPES...`.
//! - `facts`: lines `NAME=VALUE`; `sharing`: `allowed` or nothing.
//! - `only`: the beginning of the paths that all of this is for; everything else proceeds as it is.
wit_bindgen::generate!({ path: "../../../wit", world: "policy", generate_all });

use exports::wasmserve::policy::guest::{
    Changes, Decision, Guest, Header, HeaderChange, HeaderOperation, Missing, Outcomes, Place, Response, Sharing,
};
use wasi::config::store;
use wasmserve::policy::{clock, request};

struct Probe;

export!(Probe);

impl Guest for Probe {
    fn configure() -> Result<(), String> {
        Ok(())
    }

    fn decide() -> Result<Decision, String> {
        let only = setting("only");
        if !only.is_empty() && !request::path().starts_with(&only) {
            return Ok(Decision::Proceed(changes(Vec::new())));
        }
        let answers: Vec<String> = lines("ask")
            .iter()
            .map(|question| answer(question))
            .collect::<Result<_, _>>()?;
        match setting("respond").as_str() {
            "" => configured_changes(&answers).map(Decision::Proceed),
            "echo" => Ok(respond(200, answers.iter().flat_map(|a| [a.as_str(), "\n"]).collect())),
            status => Ok(respond(number(status)?, setting("body"))),
        }
    }
}

/// Asks one question; `none` for an absent answer.
fn answer(question: &str) -> Result<String, String> {
    let (what, argument) = question.split_once(' ').unwrap_or((question, ""));
    let optional = |value: Option<String>| value.map_or_else(|| "none".to_owned(), |v| format!("some({v})"));
    Ok(match what {
        "method" => request::method(),
        "path" => request::path(),
        "targets" => request::targets().join(" "),
        "query" => optional(request::query()),
        "query-parameter" => optional(request::query_parameter(argument)),
        "query-parameter-values" => format!("{:?}", request::query_parameter_values(argument)),
        "header" => optional(request::header(argument)),
        "header-values" => format!("{:?}", request::header_values(argument)),
        "cookie" => optional(request::cookie(argument)),
        "scheme" => request::scheme(),
        "host" => request::host(),
        "site" => request::site(),
        "client-address" => optional(request::client_address()),
        "client-within" => request::client_within(argument).to_string(),
        "fact" => optional(request::fact(argument)),
        "now" => clock::now().to_string(),
        "before" => clock::before(number(argument)?).to_string(),
        "config" => optional(store::get(argument).map_err(|e| format!("{e:?}"))?),
        other => return Err(format!("no question is called {other}")),
    })
}

fn configured_changes(answers: &[String]) -> Result<Changes, String> {
    let mut headers = lines("headers")
        .iter()
        .map(|line| header_change(line))
        .collect::<Result<Vec<_>, _>>()?;
    let answers_header = setting("answers-header");
    if !answers_header.is_empty() {
        headers.push(HeaderChange {
            operation: HeaderOperation::Set,
            name: answers_header,
            value: answers.join("; "),
            when: Outcomes::empty(),
            types: Vec::new(),
        });
    }
    Ok(Changes {
        paths: lines("paths"),
        place: setting("place").split_once(' ').map(|(root, directory)| Place {
            root: root.into(),
            directory: directory.into(),
        }),
        missing: missing(&setting("missing"))?,
        facts: lines("facts")
            .iter()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        pace: Some(setting("pace"))
            .filter(|p| !p.is_empty())
            .map(|p| number(&p))
            .transpose()?,
        sharing: sharing(),
        ..changes(headers)
    })
}

fn changes(headers: Vec<HeaderChange>) -> Changes {
    Changes {
        paths: Vec::new(),
        place: None,
        missing: None,
        headers,
        facts: Vec::new(),
        sharing: Sharing::Derived,
        pace: None,
    }
}

fn respond(status: u16, body: String) -> Decision {
    let headers = lines("response-headers")
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| Header {
            name: name.into(),
            value: value.into(),
        })
        .collect();
    Decision::Respond(Response {
        status,
        headers,
        body: body.into_bytes(),
        sharing: sharing(),
    })
}

fn missing(text: &str) -> Result<Option<Missing>, String> {
    let mut words = text.split_whitespace();
    let Some(status) = words.next() else { return Ok(None) };
    Ok(Some(Missing {
        status: number(status)?,
        paths: words.map(str::to_owned).collect(),
    }))
}

fn header_change(line: &str) -> Result<HeaderChange, String> {
    let fields: Vec<&str> = line.split('|').map(str::trim).collect();
    let field = |place: usize| fields.get(place).copied().unwrap_or_default();
    let operation = match field(0) {
        "set" => HeaderOperation::Set,
        "append" => HeaderOperation::Append,
        "remove" => HeaderOperation::Remove,
        other => return Err(format!("no operation is called {other}")),
    };
    let outcome = |word: &str| match word {
        "found" => Ok(Outcomes::FOUND),
        "redirected" => Ok(Outcomes::REDIRECTED),
        "missing" => Ok(Outcomes::MISSING),
        "failed" => Ok(Outcomes::FAILED),
        other => Err(format!("no outcome is called {other}")),
    };
    let mut when = Outcomes::empty();
    for word in field(3).split_whitespace() {
        when |= outcome(word)?;
    }
    Ok(HeaderChange {
        operation,
        name: field(1).into(),
        value: field(2).into(),
        when,
        types: field(4).split_whitespace().map(str::to_owned).collect(),
    })
}

fn sharing() -> Sharing {
    if setting("sharing") == "allowed" {
        Sharing::Allowed
    } else {
        Sharing::Derived
    }
}

/// A value of the configuration; empty when it is not there.
fn setting(key: &str) -> String {
    store::get(key).ok().flatten().unwrap_or_default()
}

/// The lines of a value that are not empty.
fn lines(key: &str) -> Vec<String> {
    setting(key)
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{text} is no such number"))
}
