//! How a browser shows the token: typed into a page once, then as a cookie.

use super::{
    Guard,
    api::{Answered, problem},
    guard::Refused,
    page,
};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use percent_encoding::percent_decode;

pub const PATH: &str = "/login";

/// Bytes of a form with one token.
const FORM_SIZE: usize = 8 * 1024;

/// The field of the form.
const FIELD: &[u8] = b"token=";

/// `POST /login` with the token as a form: a cookie, and on to the status page. `GET` shows the form.
pub async fn answer(guard: &Guard, request: Request<Incoming>) -> Answered {
    match *request.method() {
        Method::GET | Method::HEAD => page::login(StatusCode::OK, page::Before::Nothing),
        Method::POST => {
            let body = Limited::new(request.into_body(), FORM_SIZE).collect().await;
            let Ok(body) = body else {
                return problem(StatusCode::BAD_REQUEST, "the form cannot be read".into());
            };
            match token(&body.to_bytes()) {
                Some(token) if guard.is_token(&token) => welcome(guard),
                _ => {
                    tracing::warn!("somebody was refused at the admin listener: that is not the token");
                    page::login(StatusCode::FORBIDDEN, page::Before::WrongToken)
                }
            }
        }
        _ => {
            let mut refused = problem(StatusCode::METHOD_NOT_ALLOWED, format!("{PATH} takes GET and POST"));
            refused
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, POST"));
            refused
        }
    }
}

/// To a browser that asks for a page the form, to anything else one line.
pub fn refuse(refused: Refused, request: &Request<Incoming>) -> Answered {
    let accepts = request.headers().get(header::ACCEPT).map(HeaderValue::as_bytes);
    let is_browser = accepts.is_some_and(|accepts| accepts.windows(9).any(|part| part == b"text/html"));
    if is_browser && request.method() == Method::GET {
        return page::login(StatusCode::UNAUTHORIZED, page::Before::Nothing);
    }
    let mut answer = problem(refused.status, refused.problem);
    let challenge = HeaderValue::from_static("Bearer realm=\"wasmserve\"");
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    answer
}

fn welcome(guard: &Guard) -> Answered {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, HeaderValue::from_static("/"));
    headers.insert(header::SET_COOKIE, guard.cookie());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The field of a form (application/x-www-form-urlencoded). A token has no spaces, so that `+` is nothing but itself.
fn token(form: &[u8]) -> Option<Vec<u8>> {
    let mut pairs = form.split(|byte| *byte == b'&');
    let given = pairs.find_map(|pair| pair.strip_prefix(FIELD))?;
    Some(percent_decode(given).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_typed() {
        for (form, expected) in [
            (&b"token=abc"[..], Some(&b"abc"[..])),
            (b"x=1&token=a%2Bb%26c&y", Some(b"a+b&c")),
            (b"token=", Some(b"")),
            (b"tokens=abc", None),
            (b"", None),
        ] {
            assert_eq!(token(form).as_deref(), expected);
        }
    }
}
