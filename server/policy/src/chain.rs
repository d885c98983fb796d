//! A loaded chain: its policies in order, and what they make of a request together.
use crate::{
    Fault, Grants, Limits, Mapping, Outcome, Place, Request, Response, Verdict,
    decision::{Changes, Decision, Sharing},
    dependence::Dependence,
    policy::{Decided, Policy},
    questions::{Circumstances, Established},
    verdict::Missing,
};
use std::sync::Arc;

/// The policies of a site in one generation.
pub struct Chain {
    site: Arc<str>,
    policies: Vec<Policy>,
}

/// What `wasmserve check` prints of a policy.
#[derive(Clone, Debug)]
pub struct PolicyInfo {
    pub name: String,
    pub wasm: std::path::PathBuf,
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// The contract that it exports, such as `wasmserve:policy/guest@0.1.0`.
    pub contract: String,
    pub imports: Vec<String>,
    pub limits: Limits,
    pub grants: Grants,
}

impl Chain {
    /// A chain of no policies: everything proceeds as it is.
    pub fn empty(site: Arc<str>) -> Self {
        Self::new(site, Vec::new())
    }

    pub(crate) fn new(site: Arc<str>, policies: Vec<Policy>) -> Self {
        Self { site, policies }
    }

    /// Never fails: a fault is a verdict. Dropping the future ends the call under way and leaves nothing behind.
    pub async fn decide(&self, request: &Arc<Request>) -> Verdict {
        let mut progress = Progress::new(request);
        for policy in &self.policies {
            match policy.decide(&progress.circumstances).await {
                Ok(decided) => {
                    let dependence = self.dependence(&progress.circumstances, &decided);
                    match &*decided.decision {
                        Decision::Proceed(changes) => progress.proceed(changes, dependence),
                        Decision::Respond(response) => {
                            progress.depend(response.sharing, dependence);
                            let (status, headers) = (response.status, response.headers.clone());
                            let response = Response {
                                status,
                                headers,
                                body: response.body.clone(),
                            };
                            return progress.end(Outcome::Respond(response));
                        }
                    }
                }
                Err(fault) => return progress.fault(fault),
            }
        }
        progress.arrive()
    }

    pub fn policies(&self) -> Vec<PolicyInfo> {
        self.policies.iter().map(Policy::info).collect()
    }

    /// The name of the site that the chain is for.
    pub fn site(&self) -> &Arc<str> {
        &self.site
    }

    /// What a decision depended on, through facts too. A fact tells about whatever the policies that could have
    /// established it went by, even when none did: its absence is an answer.
    fn dependence(&self, circumstances: &Circumstances, decided: &Decided) -> Arc<Dependence> {
        let mut whole: Option<Dependence> = None;
        for (policy, dependence) in self.policies.iter().zip(&circumstances.dependences) {
            if decided.facts.iter().any(|fact| policy.spec.establishes.contains(fact)) && !dependence.is_none() {
                whole
                    .get_or_insert_with(|| (*decided.dependence).clone())
                    .join(dependence);
            }
        }
        whole.map_or_else(|| decided.dependence.clone(), Arc::new)
    }
}

/// What the chain made of a request so far.
struct Progress {
    circumstances: Arc<Circumstances>,
    place: Option<Place>,
    missing: Option<Missing>,
    verdict: Verdict,
}

impl Progress {
    fn new(request: &Arc<Request>) -> Self {
        let circumstances = Circumstances::new(request.clone());
        let verdict = Verdict {
            // Fails closed until the chain has come to an end.
            outcome: Outcome::Fault(Fault {
                status: http::StatusCode::INTERNAL_SERVER_ERROR,
                retry_after: None,
            }),
            facts: Vec::new(),
            pace: None,
            changes: Vec::new(),
            dependences: Vec::new(),
            now: circumstances.now,
        };
        Self {
            circumstances: Arc::new(circumstances),
            place: None,
            missing: None,
            verdict,
        }
    }

    fn proceed(&mut self, changes: &Changes, dependence: Arc<Dependence>) {
        self.depend(changes.sharing, dependence);
        if !changes.headers.is_empty() {
            self.verdict.changes.push(changes.headers.clone());
        }
        if let Some(place) = &changes.place {
            self.place = Some(place.clone());
        }
        if let Some(missing) = &changes.missing {
            self.missing = Some(missing.clone());
        }
        if let Some(pace) = changes.pace {
            self.verdict.pace = Some(self.verdict.pace.map_or(pace.get(), |lowest| lowest.min(pace.get())));
        }
        // The calls that held the circumstances have ended, so this copies nothing.
        let circumstances = Arc::make_mut(&mut self.circumstances);
        if !changes.paths.is_empty() {
            circumstances.targets = Some(changes.paths.clone());
        }
        for (name, value) in &changes.facts {
            circumstances.facts.retain(|fact| fact.name != *name);
            circumstances.facts.push(Established {
                name: name.clone(),
                value: value.clone(),
            });
        }
    }

    /// Every policy's dependence is remembered for the facts it established; what it told caches to mind is its sharing.
    fn depend(&mut self, sharing: Sharing, dependence: Arc<Dependence>) {
        if sharing == Sharing::Derived && !dependence.is_none() {
            self.verdict.dependences.push(dependence.clone());
        }
        Arc::make_mut(&mut self.circumstances).dependences.push(dependence);
    }

    fn fault(self, fault: Fault) -> Verdict {
        self.end(Outcome::Fault(fault))
    }

    fn arrive(mut self) -> Verdict {
        let circumstances = Arc::make_mut(&mut self.circumstances);
        let targets = circumstances
            .targets
            .take()
            .unwrap_or_else(|| vec![circumstances.request.path.clone()]);
        let (place, missing) = (self.place.take(), self.missing.take());
        self.end(Outcome::Proceed(Mapping {
            targets,
            place,
            missing,
        }))
    }

    fn end(mut self, outcome: Outcome) -> Verdict {
        let circumstances = Arc::make_mut(&mut self.circumstances);
        let facts = std::mem::take(&mut circumstances.facts);
        self.verdict.facts = facts.into_iter().map(|fact| (fact.name, fact.value)).collect();
        self.verdict.outcome = outcome;
        self.verdict
    }
}
