//! What of a request is not to be told: to a recording, because it is a secret, and to whoever decides it again, because it
//! was not recorded.
use crate::questions::{FieldName, Question, form_decoded};
use http::{HeaderName, header};
use std::{
    borrow::Cow,
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

/// Parts of one request, by name. Only what the request has is named: that something is absent is no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Withheld {
    pub headers: HashSet<HeaderName>,
    pub cookies: BTreeSet<String>,
    /// Of the query, decoded.
    pub parameters: BTreeSet<String>,
    /// Parts of the query whose names are withheld, too.
    pub nameless: bool,
    pub client: bool,
}

/// The decoded name in one piece of a query, as policies ask for it; `None` where nothing but a value is.
pub fn parameter_name(piece: &str) -> Option<Cow<'_, str>> {
    piece.split_once('=').map(|(name, _)| form_decoded(name))
}

/// What withholding means for a decision.
#[derive(Clone, Debug)]
pub(crate) enum Withholding {
    /// Policies are answered; the transcript does not have the answers.
    FromTranscript(Arc<Withheld>),
    /// Policies are not answered: the decision ends there.
    FromPolicies(Arc<Withheld>),
}

impl Withheld {
    /// Whether any part of the request that the answer comes from is withheld.
    pub(crate) fn covers(&self, question: &Question) -> bool {
        match question {
            Question::Header(FieldName::Valid(name)) | Question::HeaderValues(FieldName::Valid(name)) => {
                self.headers.contains(name) || (*name == header::COOKIE && !self.cookies.is_empty())
            }
            Question::Cookie(name) => self.cookies.contains(name) || self.headers.contains(&header::COOKIE),
            Question::Query => self.nameless || !self.parameters.is_empty(),
            Question::QueryParameter(name) | Question::QueryParameterValues(name) => {
                self.nameless || self.parameters.contains(name)
            }
            Question::ClientAddress | Question::ClientWithin(_) => self.client,
            Question::Header(FieldName::Impossible(_))
            | Question::HeaderValues(FieldName::Impossible(_))
            | Question::Method
            | Question::Path
            | Question::Targets
            | Question::Scheme
            | Question::Host
            | Question::Site
            | Question::Fact(_)
            | Question::Before(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_withheld_is_withheld_however_it_is_asked_for() {
        let withheld = Withheld {
            headers: [header::AUTHORIZATION].into(),
            cookies: ["session".to_owned()].into(),
            parameters: ["token".to_owned()].into(),
            nameless: false,
            client: true,
        };
        let named = |name: &str| Question::Header(FieldName::new(name));
        let within = Question::client_within("192.0.2.0/24").expect("a block");
        for (question, covered) in [
            (named("Authorization"), true),
            (Question::HeaderValues(FieldName::new("authorization")), true),
            (named("cookie"), true),
            (named("accept"), false),
            (named("a b"), false),
            (Question::Cookie("session".into()), true),
            (Question::Cookie("theme".into()), false),
            (Question::Query, true),
            (Question::QueryParameter("token".into()), true),
            (Question::QueryParameterValues("token".into()), true),
            (Question::QueryParameter("page".into()), false),
            (Question::ClientAddress, true),
            (within, true),
            (Question::Path, false),
            (Question::Fact("authorization".into()), false),
        ] {
            assert_eq!(withheld.covers(&question), covered, "{question}");
        }
        let whole = Withheld {
            headers: [header::COOKIE].into(),
            nameless: true,
            ..Withheld::default()
        };
        assert!(whole.covers(&Question::Cookie("theme".into())));
        assert!(whole.covers(&Question::QueryParameter("page".into())));
        assert!(!whole.covers(&Question::ClientAddress));
    }
}
