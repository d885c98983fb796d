//! The status page and what belongs to it. All of it is in the binary: nothing is fetched from anywhere else.

use super::api::Answered;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;

const STATUS: &str = include_str!("page/status.html");
const LOGIN: &str = include_str!("page/login.html");
const STYLE: &str = include_str!("page/status.css");
const SCRIPT: &str = include_str!("page/status.js");

/// Of both pages, the form included.
pub const STYLE_PATH: &str = "/status.css";

/// Where the page of the form says what was wrong.
const PROBLEM: &str = "<!-- problem -->";

/// Nothing but what is here: no scripts or styles within pages, no frames, no other server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What happened before a token is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    Nothing,
    WrongToken,
}

pub fn status() -> Answered {
    answer(
        StatusCode::OK,
        "text/html; charset=utf-8",
        Bytes::from_static(STATUS.as_bytes()),
    )
}

pub fn style() -> Answered {
    answer(
        StatusCode::OK,
        "text/css; charset=utf-8",
        Bytes::from_static(STYLE.as_bytes()),
    )
}

pub fn script() -> Answered {
    answer(
        StatusCode::OK,
        "text/javascript; charset=utf-8",
        Bytes::from_static(SCRIPT.as_bytes()),
    )
}

/// The form that takes the token.
pub fn login(status: StatusCode, before: Before) -> Answered {
    let problem = match before {
        Before::Nothing => "",
        Before::WrongToken => "<p class=\"wrong\" role=\"alert\">That is not the token.</p>",
    };
    let page = LOGIN.replace(PROBLEM, problem);
    answer(status, "text/html; charset=utf-8", page.into())
}

fn answer(status: StatusCode, media_type: &'static str, body: Bytes) -> Answered {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, media_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
