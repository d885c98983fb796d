//! Header fields that a configuration sets on every answer of a site, by the rules that a policy's changes follow.
use crate::{
    bindings::exports::wasmserve::policy::guest,
    decision::{self, HeaderChange},
};
use http::{HeaderMap, StatusCode};
use std::sync::Arc;

/// Changes of an answer's head, in order; checked.
#[derive(Clone, Debug, Default)]
pub struct HeaderRules {
    /// As they were given, for whoever prints or compares them.
    given: Vec<HeaderRule>,
    changes: Option<Arc<[HeaderChange]>>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRule {
    pub name: String,
    pub operation: HeaderOperation,
}

/// What is done with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderOperation {
    /// In place of what is there.
    Set(String),
    /// Beside what is there.
    Append(String),
    Remove,
}

// === impl HeaderRules ===

impl HeaderRules {
    /// # Errors
    /// What breaks a rule that policies have to follow too, in words for the one who typed it.
    pub fn new(given: Vec<HeaderRule>) -> Result<Self, String> {
        let changes = given.iter().map(HeaderRule::as_change).collect();
        let changes = decision::check_changes(changes).map_err(|malformed| malformed.0)?;
        Ok(Self {
            changes: (!changes.is_empty()).then_some(changes),
            given,
        })
    }

    /// As they were given.
    pub fn given(&self) -> &[HeaderRule] {
        &self.given
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_none()
    }

    /// The changes themselves; `None`: there are none.
    pub(crate) fn shared(&self) -> &Option<Arc<[HeaderChange]>> {
        &self.changes
    }

    /// Applies them to the head of an answer.
    pub fn apply(&self, status: StatusCode, headers: &mut HeaderMap) {
        for change in self.changes.iter().flat_map(|changes| changes.iter()) {
            if change.applies(status, None) {
                change.apply(headers);
            }
        }
    }
}

impl PartialEq for HeaderRules {
    fn eq(&self, other: &Self) -> bool {
        self.given == other.given
    }
}

// === impl HeaderRule ===

impl HeaderRule {
    fn as_change(&self) -> guest::HeaderChange {
        let (operation, value) = match &self.operation {
            HeaderOperation::Set(value) => (guest::HeaderOperation::Set, value.clone()),
            HeaderOperation::Append(value) => (guest::HeaderOperation::Append, value.clone()),
            HeaderOperation::Remove => (guest::HeaderOperation::Remove, String::new()),
        };
        guest::HeaderChange {
            operation,
            name: self.name.clone(),
            value,
            when: guest::Outcomes::empty(),
            types: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, operation: HeaderOperation) -> HeaderRule {
        HeaderRule {
            name: name.into(),
            operation,
        }
    }

    #[test]
    fn fields_are_set_appended_and_removed_in_order() {
        let rules = HeaderRules::new(vec![
            rule("X-A", HeaderOperation::Set("new".into())),
            rule("Link", HeaderOperation::Append("</a>".into())),
            rule("Server", HeaderOperation::Remove),
        ])
        .unwrap();
        let given = [("x-a", "old"), ("link", "</b>"), ("server", "s")];
        let mut headers: HeaderMap = given
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        rules.apply(StatusCode::NOT_FOUND, &mut headers);
        assert_eq!(headers["x-a"], "new");
        assert_eq!(headers.get_all("link").iter().count(), 2);
        assert!(!headers.contains_key("server"));
    }

    #[test]
    fn what_is_the_servers_is_refused() {
        for (name, operation) in [
            ("Content-Length", HeaderOperation::Remove),
            ("Transfer-Encoding", HeaderOperation::Set("chunked".into())),
            ("ETag", HeaderOperation::Set("\"a\"".into())),
            ("Vary", HeaderOperation::Remove),
            ("X A", HeaderOperation::Remove),
            ("X-A", HeaderOperation::Set("a\nb".into())),
            ("X-A", HeaderOperation::Append(" a".into())),
        ] {
            assert!(HeaderRules::new(vec![rule(name, operation)]).is_err(), "{name}");
        }
    }
}
