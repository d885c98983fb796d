//! What is hidden from whoever looks over an operator's shoulder: credentials and cookies.

use super::account::{Account, Finding};
use crate::watch::record::rules::is_secret_field;
use http::header;
use wasmserve_policy::explain::Decided;

/// Stands for a secret. Answers that are texts have quotes around them, so none can be mistaken for it.
const HIDDEN: &str = "hidden";

/// Replaces what a client authenticates itself with, as asked for by policies, and cookies that are set.
pub fn hide(account: &mut Account) {
    for step in &mut account.policies {
        let asked = step.asked.iter_mut();
        // That there is none is no secret.
        for exchange in asked.filter(|e| is_secret(&e.question) && !["none", "[]"].contains(&&*e.answer)) {
            exchange.answer = HIDDEN.into();
        }
        match &mut step.decision {
            Decided::Proceed(lines) => lines.iter_mut().for_each(hide_cookie),
            Decided::Respond { headers, .. } => headers.iter_mut().for_each(hide_cookie),
            Decided::Failed { .. } => {}
        }
    }
    let fields = account.answer.headers.iter_mut();
    for field in fields.filter(|field| field.name == header::SET_COOKIE.as_str()) {
        field.value = HIDDEN.into();
    }
}

/// Replaces queries as well, because links carry secrets in them: for what is logged, and what proxies may log.
pub fn hide_queries(account: &mut Account) {
    cut_query(&mut account.url);
    for step in &mut account.policies {
        for exchange in &mut step.asked {
            *exchange = exchange.without_key();
        }
        for exchange in step
            .asked
            .iter_mut()
            .filter(|e| is_query(&e.question) && e.answer != "none")
        {
            exchange.answer = HIDDEN.into();
        }
        match &mut step.decision {
            Decided::Proceed(lines) => lines.iter_mut().for_each(cut_location),
            Decided::Respond { headers, .. } => headers.iter_mut().for_each(cut_location),
            Decided::Failed { .. } => {}
        }
    }
    let fields = account.answer.headers.iter_mut();
    fields
        .filter(|field| field.name == header::LOCATION.as_str())
        .for_each(|field| cut_query(&mut field.value));
    for candidate in &mut account.files {
        if let Finding::Folder { location } = &mut candidate.finding {
            cut_query(location);
        }
    }
}

/// Whether an answer may have a query in it: that of the request, or of the page before it.
fn is_query(question: &str) -> bool {
    question.starts_with("query") || question.ends_with("(\"referer\")")
}

fn cut_query(url: &mut String) {
    if let Some(at) = url.find('?') {
        url.truncate(at + 1);
        url.push_str(HIDDEN);
    }
}

/// In a line that says what becomes of a header field.
fn cut_location(line: &mut String) {
    if ["location: ", "set location: ", "append location: "]
        .iter()
        .any(|beginning| line.starts_with(beginning))
    {
        cut_query(line);
    }
}

/// Whether a question asks for what a client authenticates itself with.
fn is_secret(question: &str) -> bool {
    let field = ["header(\"", "header-values(\""]
        .iter()
        .find_map(|call| question.strip_prefix(call)?.strip_suffix("\")"));
    // Referer is hidden as far as it is a query.
    let is_secret = |name: &str| name == header::COOKIE.as_str() || is_secret_field(name);
    question.starts_with("cookie(") || field.is_some_and(|name| name != header::REFERER.as_str() && is_secret(name))
}

/// In a line that says what becomes of a header field.
fn hide_cookie(line: &mut String) {
    for beginning in ["set-cookie: ", "set set-cookie: ", "append set-cookie: "] {
        if line.starts_with(beginning) {
            *line = format!("{beginning}{HIDDEN}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_cookies_and_queries_are_secrets() {
        for (question, secret) in [
            (r#"header("authorization")"#, true),
            (r#"header-values("authorization")"#, true),
            (r#"header("proxy-authorization")"#, true),
            (r#"header("cookie")"#, true),
            (r#"cookie("session")"#, true),
            (r#"cookie("a\")b")"#, true),
            (r#"header("accept")"#, false),
            (r#"fact("authorization")"#, false),
            ("path()", false),
        ] {
            assert_eq!(is_secret(question), secret, "{question}");
        }
        for (question, query) in [
            ("query()", true),
            ("query-parameter(\"a\")", true),
            ("query-parameter-values(\"a\")", true),
            (r#"header("referer")"#, true),
            (r#"header("query")"#, false),
            ("path()", false),
        ] {
            assert_eq!(is_query(question), query, "{question}");
        }
        for (given, expected) in [
            ("location: /a?b", "location: /a?hidden"),
            ("set location: /a?b (when found)", "set location: /a?hidden"),
            ("location: /a", "location: /a"),
            ("x-location: /a?b", "x-location: /a?b"),
        ] {
            let mut line = given.to_owned();
            cut_location(&mut line);
            assert_eq!(line, expected);
        }
        for (given, expected) in [
            ("set set-cookie: a=b (when found)", "set set-cookie: hidden"),
            ("append set-cookie: a=b", "append set-cookie: hidden"),
            ("set-cookie: a=b", "set-cookie: hidden"),
            ("remove set-cookie", "remove set-cookie"),
            ("set x-set-cookie: a", "set x-set-cookie: a"),
        ] {
            let mut line = given.to_owned();
            hide_cookie(&mut line);
            assert_eq!(line, expected);
        }
    }
}
