//! Entity tags, by a machine that takes one character at a time (RFC 9110, sections 5.6.1 and 8.8.3).

/// What stands in If-Match or If-None-Match; a tag keeps its quotes and its `W/`.
#[derive(Debug, PartialEq, Eq)]
pub enum Listed {
    Anything,
    Tags(Vec<String>),
    Malformed,
}

enum State {
    /// A tag or a comma may follow.
    Ready,
    /// After a tag: a comma must follow.
    Full,
    /// After `W`.
    Weak,
    /// After `W/`.
    Quote,
    Within,
}

pub fn read(value: &str) -> Listed {
    if value.trim_matches([' ', '\t']) == "*" {
        return Listed::Anything;
    }
    let mut state = State::Ready;
    let mut tags = Vec::new();
    let mut tag = String::new();
    for c in value.chars() {
        state = match (state, c) {
            (State::Ready, ' ' | '\t' | ',') | (State::Full, ',') => State::Ready,
            (State::Full, ' ' | '\t') => State::Full,
            (State::Ready, 'W') => State::Weak,
            (State::Weak, '/') => State::Quote,
            (State::Ready | State::Quote, '"') => State::Within,
            (State::Within, '"') => State::Full,
            (State::Within, '!' | '#'..='~' | '\u{80}'..) => State::Within,
            _ => return Listed::Malformed,
        };
        match state {
            State::Ready => {}
            State::Full if c != '"' => {}
            State::Full => tags.push(std::mem::take(&mut tag) + "\""),
            State::Weak | State::Quote | State::Within => tag.push(c),
        }
    }
    if matches!(state, State::Ready | State::Full) {
        Listed::Tags(tags)
    } else {
        Listed::Malformed
    }
}

/// The value as one tag.
pub fn one(value: &str) -> Option<String> {
    match read(value.trim_matches([' ', '\t'])) {
        Listed::Tags(tags) if tags == [value.trim_matches([' ', '\t'])] => tags.into_iter().next(),
        _ => None,
    }
}

/// Section 8.8.3.2.
pub fn equal_strongly(a: &str, b: &str) -> bool {
    a == b && a.starts_with('"')
}

/// Section 8.8.3.2.
pub fn equal_weakly(a: &str, b: &str) -> bool {
    a.trim_start_matches("W/") == b.trim_start_matches("W/")
}
