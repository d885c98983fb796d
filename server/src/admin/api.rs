//! What can be asked, and its answer: JSON, but for the status page and the metrics. What only reads is a GET, everything
//! else a POST.

use super::{
    Desk, Serving,
    metrics::{CONTENT_TYPE, exposition},
    page,
    report::{Report, breakers, plugins},
    status::StatusReport,
};
use crate::{
    explain::{Account, Asked, asked, secrets},
    net::Server,
    observe::meters,
};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, time::Duration};

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

/// `GET /healthz` and `GET /readyz`.
#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
}

/// `POST /reload`, when it was done.
#[derive(Debug, Serialize)]
struct Reloaded {
    generation: u64,
    sites: usize,
}

/// `POST /reload`, when all stays as it was.
#[derive(Debug, Serialize)]
struct NotReloaded {
    error: &'static str,
    errors: Vec<String>,
}

pub type Answered = Response<Full<Bytes>>;

/// Why something was not answered.
type Problematic = (StatusCode, String);

/// How long whoever asks for a reload waits for it. It goes on beyond.
const RELOAD_TIME: Duration = Duration::from_secs(50);

fn get() -> String {
    Method::GET.to_string()
}

/// Answers one request of an operator, whoever that is: who may come in was looked at before.
pub async fn answer(desk: &Desk, request: Request<Incoming>) -> Answered {
    let path = request.uri().path().to_owned();
    let Some(allowed) = method_of(&path) else {
        return problem(StatusCode::NOT_FOUND, format!("there is no {path} here: {PATHS}"));
    };
    let given = request.method();
    if given != allowed && !(allowed == Method::GET && given == Method::HEAD) {
        let mut refused = problem(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("{path} takes {allowed}, not {given}"),
        );
        let allow = HeaderValue::from_str(allowed.as_str()).expect("a method is a token, and so is a value");
        refused.headers_mut().insert(header::ALLOW, allow);
        return refused;
    }
    let serving = match (&*path, desk.serving()) {
        ("/healthz", _) => return json(StatusCode::OK, &health("serving")),
        ("/readyz", serving) => return readiness(serving.is_some()),
        (_, Some(serving)) => serving,
        (_, None) => return problem(StatusCode::SERVICE_UNAVAILABLE, "still loading".into()),
    };
    let answered = match &*path {
        "/" => Ok(page::status()),
        "/status.js" => Ok(page::script()),
        "/status" => Ok(json(StatusCode::OK, &StatusReport::of(desk, serving))),
        "/metrics" => Ok(metrics(desk, serving)),
        "/sites" => Ok(json(StatusCode::OK, &Report::of(&serving.server))),
        "/plugins" => Ok(json(StatusCode::OK, &plugins(&serving.server))),
        "/breakers" => Ok(json(StatusCode::OK, &breakers(&serving.server))),
        "/reload" => reload(desk, serving).await,
        _ => explain(&serving.server, request.into_body()).await,
    };
    answered.unwrap_or_else(|(status, error)| problem(status, error))
}

const PATHS: &str = "GET /, /healthz, /readyz, /metrics, /status, /sites, /plugins, /breakers; POST /reload, /explain";

/// The method that a path takes; HEAD where it is GET.
fn method_of(path: &str) -> Option<Method> {
    match path {
        "/" | "/status.js" | "/status" | "/healthz" | "/readyz" | "/metrics" | "/sites" | "/plugins" | "/breakers" => {
            Some(Method::GET)
        }
        "/explain" | "/reload" => Some(Method::POST),
        _ => None,
    }
}

fn health(status: &'static str) -> Health {
    Health {
        status,
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// Whether requests of the public are wanted.
fn readiness(loaded: bool) -> Answered {
    match (loaded, meters().is_draining()) {
        (false, _) => json(StatusCode::SERVICE_UNAVAILABLE, &health("loading")),
        (true, true) => json(StatusCode::SERVICE_UNAVAILABLE, &health("draining")),
        (true, false) => json(StatusCode::OK, &health("ready")),
    }
}

fn metrics(desk: &Desk, serving: &Serving) -> Answered {
    let mut response = Response::new(Full::new(Bytes::from(exposition(desk, serving))));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn reload(desk: &Desk, serving: &Serving) -> Result<Answered, Problematic> {
    if !desk.reload(RELOAD_TIME).await {
        let problem = "the reload has not ended yet, or others wait for theirs: the log tells how it ends";
        return Err((StatusCode::SERVICE_UNAVAILABLE, problem.into()));
    }
    let errors = meters().reloads.last().map(|last| last.errors).unwrap_or_default();
    let sites = serving.server.sites.load();
    Ok(match errors.is_empty() {
        true => json(
            StatusCode::OK,
            &Reloaded {
                generation: sites.generation,
                sites: sites.len(),
            },
        ),
        false => json(
            StatusCode::UNPROCESSABLE_ENTITY,
            &NotReloaded {
                error: "not reloaded: the old configuration is served on",
                errors,
            },
        ),
    })
}

async fn explain(server: &Server, body: Incoming) -> Result<Answered, Problematic> {
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

pub fn problem(status: StatusCode, error: String) -> Answered {
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
