//! What can be asked, and its answer: always JSON. What only reads is a GET, everything else a POST.

use super::report::Report;
use crate::{
    explain::{Account, Asked, asked, secrets},
    net::Server,
};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Bytes of a request's body: more than any head that a client may send to be decided.
const BODY_SIZE: usize = 256 * 1024;

/// `POST /explain`: a request to be decided. What is left out is as in `GET http://localhost/` of nobody in particular.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    #[serde(default = "get")]
    method: String,
    /// A path, or a URL with a host.
    url: String,
    /// Names and values, in order.
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    client: Option<IpAddr>,
    /// Credentials and cookies are hidden otherwise.
    #[serde(default)]
    show_secrets: bool,
}

/// Any answer but 200.
#[derive(Debug, Serialize, Deserialize)]
pub struct Problem {
    pub error: String,
}

/// `GET /healthz`.
#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
}

type Answered = Response<Full<Bytes>>;

/// Why something was not answered.
type Refused = (StatusCode, String);

fn get() -> String {
    Method::GET.to_string()
}

/// Answers one request of an operator.
pub async fn answer(server: &Server, request: Request<Incoming>) -> Answered {
    let path = request.uri().path().to_owned();
    let Some(allowed) = method_of(&path) else {
        return problem(StatusCode::NOT_FOUND, format!("there is no {path} here: {PATHS}"));
    };
    if request.method() != allowed {
        let mut refused = problem(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("{path} takes {allowed}, not {}", request.method()),
        );
        let allow = HeaderValue::from_str(allowed.as_str()).expect("a method is a token, and so is a value");
        refused.headers_mut().insert(header::ALLOW, allow);
        return refused;
    }
    let answered = match &*path {
        "/healthz" => Ok(json(StatusCode::OK, &healthy())),
        "/sites" => Ok(json(StatusCode::OK, &Report::of(server))),
        _ => explain(server, request.into_body()).await,
    };
    answered.unwrap_or_else(|(status, error)| problem(status, error))
}

const PATHS: &str = "GET /healthz, GET /sites, POST /explain";

/// The method that a path takes.
fn method_of(path: &str) -> Option<Method> {
    match path {
        "/healthz" | "/sites" => Some(Method::GET),
        "/explain" => Some(Method::POST),
        _ => None,
    }
}

fn healthy() -> Health {
    Health {
        status: "serving",
        version: env!("CARGO_PKG_VERSION"),
    }
}

async fn explain(server: &Server, body: Incoming) -> Result<Answered, Refused> {
    let body = Limited::new(body, BODY_SIZE).collect().await;
    let body = body.map_err(|error| (StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}")))?;
    let bad = |error: String| (StatusCode::BAD_REQUEST, error);
    let question: Question = serde_json::from_slice(&body.to_bytes()).map_err(|error| bad(error.to_string()))?;
    let asked = question.asked().map_err(bad)?;
    let (mut account, _) = Account::of(&server.sites.load_full(), asked.arrival()).await;
    if !question.show_secrets {
        secrets::hide(&mut account);
    }
    Ok(json(StatusCode::OK, &account))
}

fn problem(status: StatusCode, error: String) -> Answered {
    json(status, &Problem { error })
}

fn json(status: StatusCode, value: &impl Serialize) -> Answered {
    let (status, text) = match serde_json::to_vec(value) {
        Ok(text) => (status, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string().into_bytes()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

// === impl Question ===

impl Question {
    pub fn new(asked: &Asked, show_secrets: bool) -> Self {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Self {
            method: asked.method.to_string(),
            url: asked.url.to_string(),
            headers: asked
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), text(value)))
                .collect(),
            client: asked.client,
            show_secrets,
        }
    }

    fn asked(&self) -> Result<Asked, String> {
        let headers = self.headers.iter();
        Ok(Asked {
            method: self
                .method
                .parse()
                .map_err(|_| format!("{:?} is not a method", self.method))?,
            url: asked::url(&self.url)?,
            headers: headers
                .map(|(name, value)| asked::pair(name, value))
                .collect::<Result<_, _>>()?,
            client: self.client,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_arrives_as_it_was_typed() {
        let asked = Asked {
            method: Method::POST,
            url: asked::url("http://Example.org/a%20b?c").expect("a URL"),
            headers: vec![
                asked::field("A: é").expect("a field"),
                asked::field("a: 2").expect("a field"),
            ],
            client: Some(IpAddr::from([192, 0, 2, 1])),
        };
        let sent = serde_json::to_vec(&Question::new(&asked, true)).expect("plain data");
        let question: Question = serde_json::from_slice(&sent).expect("what was sent");
        let arrived = question.asked().expect("what was typed");
        assert!(question.show_secrets);
        assert_eq!(
            (arrived.method, arrived.url, arrived.headers, arrived.client),
            (asked.method, asked.url, asked.headers, asked.client)
        );
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for text in [
            "{}",
            r#"{"url":"/","colour":"red"}"#,
            r#"{"url":"/","method":"A B"}"#,
            r#"{"url":"/","headers":[["a b","c"]]}"#,
            r#"{"url":"/","headers":[["a","b\r\nc: d"]]}"#,
            r#"{"url":"/","client":"office"}"#,
            r#"{"url":"a b"}"#,
        ] {
            let asked = serde_json::from_str::<Question>(text)
                .map_err(|error| error.to_string())
                .and_then(|question| question.asked());
            assert!(asked.is_err(), "{text}");
        }
    }
}
