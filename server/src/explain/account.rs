//! What a request leads to, and how: made by the parts that answer real requests, in the same order.

use crate::{
    limits::Admitted,
    request::{
        Arrival, Reply,
        handle::{capabilities, carry_out, question},
    },
    site::Site,
    sites::Sites,
};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use wasmserve_files::{Answer, Found, Lookup, Missing};
use wasmserve_policy::{Mapping, Outcome, Request, Step};

/// How a request is answered. Serialized it is what `--json` prints.
#[derive(Debug, Serialize, Deserialize)]
pub struct Account {
    pub method: String,
    /// As it was typed.
    pub url: String,
    pub client: Option<String>,
    /// In the order of the chain, up to the one that ended it.
    pub policies: Vec<Step>,
    pub verdict: Ruling,
    /// What the chain established, for the log.
    pub facts: Vec<Field>,
    /// Bytes of body a second.
    pub pace: Option<u64>,
    /// What was looked for, in order, up to what was found.
    pub files: Vec<Candidate>,
    pub answer: Head,
}

/// What was decided about the request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Ruling {
    /// No policy was asked.
    Refused { reason: String },
    /// `OPTIONS *`: it is about no path, and no policy was asked.
    Server,
    /// The first of the targets that exists.
    File {
        targets: Vec<String>,
        place: Option<String>,
        missing: Option<String>,
    },
    /// A policy's own answer.
    Response { policy: String },
    /// A policy failed.
    Fault { policy: String },
}

/// One path that was looked for.
#[derive(Debug, Serialize, Deserialize)]
pub struct Candidate {
    pub path: String,
    #[serde(flatten)]
    pub finding: Finding,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "found")]
pub enum Finding {
    File {
        content_type: String,
        bytes: u64,
        coding: Option<String>,
    },
    Listing,
    /// A folder that was asked for without its slash.
    Folder {
        location: String,
    },
    Nothing,
    /// Something that cannot be given.
    Failed {
        status: u16,
    },
}

/// The head of the answer, without what belongs to a connection.
#[derive(Debug, Serialize, Deserialize)]
pub struct Head {
    pub status: u16,
    pub headers: Vec<Field>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Field {
    pub name: String,
    pub value: String,
}

// === impl Account ===

impl Account {
    /// Decides a request by running every policy, and carries the verdict out: how, and the reply itself.
    pub async fn of(sites: &Sites, arrival: Arrival) -> (Self, Reply) {
        let mut account = Self {
            method: arrival.head.method.to_string(),
            url: arrival.head.uri.to_string(),
            client: arrival.client.map(|client| client.to_string()),
            ..Self::empty()
        };
        let reply = match question(sites, arrival).await {
            Ok(Some((site, request))) => account.decide(site, Arc::new(request)).await,
            Ok(None) => Reply::undecided(capabilities()),
            Err(refusal) => {
                account.verdict = Ruling::Refused {
                    reason: refusal.to_string(),
                };
                Reply::refused(&refusal)
            }
        };
        account.answer = Head::of(&reply.answer);
        (account, reply)
    }

    /// Of a request that nobody has decided.
    pub(crate) fn empty() -> Self {
        Self {
            method: String::new(),
            url: String::new(),
            client: None,
            policies: Vec::new(),
            verdict: Ruling::Server,
            facts: Vec::new(),
            pace: None,
            files: Vec::new(),
            answer: Head {
                status: StatusCode::OK.as_u16(),
                headers: Vec::new(),
            },
        }
    }

    async fn decide(&mut self, site: Arc<Site>, request: Arc<Request>) -> Reply {
        let explanation = site.chain.explain(&request).await;
        self.policies = explanation.steps;
        let verdict = explanation.verdict;
        let ended = self.policies.last().map(|step| step.policy.clone()).unwrap_or_default();
        self.verdict = match &verdict.outcome {
            Outcome::Proceed(mapping) => {
                self.files = search(&site, &request, mapping).await;
                Ruling::of(mapping)
            }
            Outcome::Respond(_) => Ruling::Response { policy: ended },
            Outcome::Fault(_) => Ruling::Fault { policy: ended },
        };
        let answer = carry_out(&site, &request, &verdict).await;
        self.pace = verdict.pace;
        let told = verdict.facts.iter();
        self.facts = told.map(|(name, value)| Field::new(name, value.clone())).collect();
        Reply::judged(site, request, verdict, answer, Admitted::default())
    }
}

/// Looks for each target by itself until one is found, as the search for all of them does.
async fn search(site: &Site, request: &Request, mapping: &Mapping) -> Vec<Candidate> {
    // Neither a fallback nor a policy's page may stand in for a target here.
    let nothing = Missing::Page {
        paths: Vec::new(),
        status: StatusCode::NOT_FOUND,
    };
    let mut candidates = Vec::new();
    for target in mapping.targets.iter() {
        let lookup = Lookup {
            path: &request.path,
            query: request.query.as_deref(),
            targets: std::slice::from_ref(target),
            place: mapping.place.as_ref(),
            missing: Some(&nothing),
            headers: &request.headers,
        };
        let finding = Finding::of(site.files.open(&lookup).await);
        let ends = !matches!(finding, Finding::Nothing | Finding::Folder { .. });
        let path = target.to_string();
        candidates.push(Candidate { path, finding });
        if ends {
            break;
        }
    }
    candidates
}

// === impl Ruling, Finding, Head, Field ===

impl Ruling {
    fn of(mapping: &Mapping) -> Self {
        let texts = |paths: &[wasmserve_files::SitePath]| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (place, missing) = (mapping.place.as_ref(), mapping.missing.as_ref());
        Self::File {
            targets: texts(&mapping.targets),
            place: place.map(|place| format!("root {}, directory {}", place.root, place.directory)),
            missing: missing.map(ToString::to_string),
        }
    }
}

impl Finding {
    fn of(found: Found) -> Self {
        match found {
            Found::File(selected) => Self::File {
                content_type: text(&selected.representation.content_type),
                bytes: selected.representation.length,
                coding: selected.representation.coding.map(str::to_owned),
            },
            Found::Listing(_) => Self::Listing,
            Found::Redirect(location) => Self::Folder { location },
            Found::Missing { .. } | Found::Elsewhere { .. } => Self::Nothing,
            Found::Failed { status, .. } => Self::Failed {
                status: status.as_u16(),
            },
        }
    }
}

impl Head {
    fn of(answer: &Answer) -> Self {
        Self {
            status: answer.status.as_u16(),
            headers: fields(&answer.headers),
        }
    }
}

impl Field {
    fn new(name: &str, value: String) -> Self {
        let name = name.to_owned();
        Self { name, value }
    }
}

fn fields(headers: &HeaderMap) -> Vec<Field> {
    let fields = headers.iter();
    fields
        .map(|(name, value)| Field::new(name.as_str(), text(value)))
        .collect()
}

fn text(value: &http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}
