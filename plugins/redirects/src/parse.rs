//! The text of a `_redirects` file: one rule a line.
//!
//! `FROM [NAME=VALUE ...] TO [STATUS[!]] [CONDITION=VALUE ...]`, with blanks between, and comments that begin with `#`.
use crate::{
    Dialect,
    condition::Condition,
    rule::{Action, Rule},
};
use wasmserve_plugin::{Mistakes, Route, path};

/// Reads every line; what is wrong is noted with the number of its line.
pub fn rules(text: &str, dialect: Dialect, mistakes: &mut Mistakes) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
        let words: Vec<&str> = words.collect();
        if words.is_empty() {
            continue;
        }
        match rule(&words, dialect) {
            Ok(rule) => rules.push(rule),
            Err(problem) => mistakes.note("rules", format_args!("line {}: {problem}", number + 1)),
        }
    }
    rules
}

fn rule(words: &[&str], dialect: Dialect) -> Result<Rule, String> {
    let (from, rest) = words.split_first().ok_or("is empty")?;
    let from = Route::parse(from).map_err(|problem| format!("{from:?} {problem}"))?;
    let is_destination = |word: &&&str| word.starts_with('/') || word.contains("://");
    let at = rest
        .iter()
        .position(|word| is_destination(&word))
        .ok_or("has no destination: a path that begins with `/`, or a URL")?;
    let parameters = rest[..at]
        .iter()
        .map(|word| parameter(word))
        .collect::<Result<Vec<_>, _>>()?;
    let to = rest[at];
    let mut after = rest[at + 1..].iter().peekable();
    let status = match after.next_if(|word| word.starts_with(|first: char| first.is_ascii_digit())) {
        Some(word) => status(word)?,
        None => (dialect.default_status(), false),
    };
    let conditions = after.map(|word| condition(word)).collect::<Result<Vec<_>, _>>()?;
    dialect.check(&from, &parameters, status, &conditions)?;
    let action = action(status, dialect)?;
    let is_plain = || Route::parse(to).is_ok_and(|route| route.exact().is_some());
    if matches!(action, Action::Missing { .. }) && !is_plain() {
        // The page of what is missing is no target, so that no guard would look at what a client puts in its name.
        return Err("has a placeholder in the page of an error, which guards do not see".to_owned());
    }
    let to = match action {
        Action::Redirect { .. } => {
            check_location(to)?;
            to.to_owned()
        }
        _ => file(to)?,
    };
    Ok(Rule {
        from,
        parameters,
        to,
        action,
        conditions,
    })
}

/// `301` or `301!`.
fn status(word: &str) -> Result<(u16, bool), String> {
    let (digits, forced) = match word.strip_suffix('!') {
        Some(digits) => (digits, true),
        None => (word, false),
    };
    let status = digits
        .parse()
        .map_err(|_| format!("has {word:?} in the place of a status"))?;
    Ok((status, forced))
}

fn action((status, forced): (u16, bool), dialect: Dialect) -> Result<Action, String> {
    let forced = forced || dialect == Dialect::Cloudflare;
    match status {
        301 | 302 | 303 | 307 | 308 => Ok(Action::Redirect { status, forced }),
        200 => Ok(Action::Rewrite { forced }),
        404 | 410 => Ok(Action::Missing { status, forced }),
        _ => Err(format!(
            "has the status {status}: known are 200, 301, 302, 303, 307, 308, 404 and 410"
        )),
    }
}

fn parameter(word: &str) -> Result<(String, String), String> {
    match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!(
            "has {word:?} where a query parameter or the destination is expected"
        )),
    }
}

fn condition(word: &str) -> Result<Condition, String> {
    let (name, values) = word
        .split_once('=')
        .ok_or_else(|| format!("has {word:?} behind the status"))?;
    Condition::parse(name, values)
}

/// What a redirect leads to: a path, or an http URL whose host is fixed.
fn check_location(to: &str) -> Result<(), String> {
    let printable = to.bytes().all(|byte| byte.is_ascii_graphic());
    if !printable {
        return Err(format!("leads to {to:?}, which a Location cannot hold: encode it"));
    }
    let Some((scheme, rest)) = to.split_once("://").filter(|_| !to.starts_with('/')) else {
        return if to.starts_with("//") {
            Err("leads to `//`: write the scheme".to_owned())
        } else {
            Ok(())
        };
    };
    if !["http", "https"].contains(&scheme) {
        return Err(format!("leads to {to:?}: only http and https are known"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    let fixed = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    if authority.is_empty() || !fixed || authority.contains('@') {
        return Err(format!(
            "leads to {to:?}: a host that a client could choose leads anywhere"
        ));
    }
    Ok(())
}

/// The file that a rewrite names, decoded. Its placeholders stay.
fn file(to: &str) -> Result<String, String> {
    if !to.starts_with('/') {
        return Err(format!(
            "fetches {to:?} from elsewhere: this server serves files and is no proxy"
        ));
    }
    // A query means nothing to a file.
    let to = to.split(['?', '#']).next().unwrap_or_default();
    let to = path::decode(to).map_err(|problem| format!("names {to:?}, which {problem}"))?;
    path::check(&to).map_err(|problem| format!("names {to:?}, which {problem}"))?;
    Ok(to)
}

impl Dialect {
    fn default_status(self) -> u16 {
        match self {
            Self::Netlify => 301,
            Self::Cloudflare => 302,
        }
    }

    /// What Cloudflare Pages does not know would mean something else there than here.
    fn check(
        self,
        from: &Route,
        parameters: &[(String, String)],
        (status, forced): (u16, bool),
        conditions: &[Condition],
    ) -> Result<(), String> {
        if self == Self::Netlify {
            return Ok(());
        }
        let unknown = [
            (from.has_host(), "a host"),
            (!parameters.is_empty(), "query parameters"),
            (forced, "`!`"),
            (!conditions.is_empty(), "conditions"),
            (matches!(status, 404 | 410), "404 and 410"),
        ];
        match unknown.iter().find(|(used, _)| *used) {
            Some((_, what)) => Err(format!("has {what}, which the dialect \"cloudflare\" does not know")),
            None => Ok(()),
        }
    }
}
