//! Runs cases: each in a chain of its own, so that what one counted or stored is not there for the next.

use super::{
    expect::{Conclusion, Difference},
    file::{Case, Given, TestFile},
    report::{CaseReport, Ending, FileReport, PluginReport},
};
use crate::{
    config::Manifest,
    explain::Asked,
    request::{Arrival, Target},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};
use wasmserve_files::{MediaTypes, SitePath};
use wasmserve_policy::{
    Budget, Chain, ChainSpec, CodeCache, Explanation, Host, HostError, HostOptions, Loading, Outcome, PolicySpec,
    Request, Reuse, Step,
    explain::{Decided as Account, Keeping},
};

/// The name of the site that requests are asked of.
const SITE: &str = "default";

/// Runs the tests of plugins, with one WebAssembly engine for all of them.
pub struct Runner {
    host: Host,
    /// Chains that were loaded: each has a name of its own, by which services tell sites apart.
    loaded: AtomicU64,
}

/// What a policy decided, as cases name it.
#[derive(Debug)]
pub struct Decided {
    pub conclusion: Conclusion,
    pub headers: HeaderMap,
    pub body: Option<Bytes>,
    pub targets: Option<Vec<String>>,
    pub place: Option<(String, String)>,
    pub missing: Option<String>,
    pub facts: Vec<(String, String)>,
    pub sharing: Option<String>,
    pub pace: Option<usize>,
    /// As `explain` names them.
    pub asked: Vec<String>,
    pub kept: bool,
    pub not_kept: Option<String>,
    /// Why it failed, and where.
    pub failure: Vec<String>,
    pub logged: Vec<String>,
}

// === impl Runner ===

impl Runner {
    /// `code`: where compiled code is kept from one run to the next.
    ///
    /// # Errors
    /// When the engine cannot be started.
    pub fn new(code: Option<Arc<CodeCache>>) -> Result<Self, HostError> {
        let options = HostOptions {
            code,
            ..HostOptions::default()
        };
        Ok(Self {
            host: Host::new(options)?,
            loaded: AtomicU64::new(0),
        })
    }

    /// Runs the cases of a plugin that `wanted` by name.
    pub async fn run(&self, manifest: &Manifest, files: &[TestFile], wanted: impl Fn(&str) -> bool) -> PluginReport {
        // The file of the plugin is read once.
        let mut loading = self.host.loading();
        let mut reports = Vec::new();
        for file in files {
            let mut cases = Vec::new();
            for case in file.cases.iter().filter(|case| wanted(&case.name)) {
                cases.push(CaseReport {
                    name: case.name.clone(),
                    line: case.line,
                    ending: self.case(&mut loading, manifest, file, case).await,
                });
            }
            reports.push(FileReport {
                file: file.file.clone(),
                cases,
            });
        }
        PluginReport {
            plugin: manifest.name.clone(),
            files: reports,
        }
    }

    async fn case(&self, loading: &mut Loading, manifest: &Manifest, file: &TestFile, case: &Case) -> Ending {
        let expected = match &case.expect.conclusion {
            Some(Conclusion::Refused(words)) => Some(words),
            _ => None,
        };
        let chain = match (loading.load(self.chain(manifest, file, case)).await, expected) {
            (Ok(chain), _) => chain,
            (Err(error), Some(words)) if error.reason.contains(&**words) => return Ending::Passed,
            (Err(error), Some(words)) => {
                return Ending::differing(refused(
                    words,
                    format!("the configuration is refused: {}", error.reason),
                ));
            }
            (Err(error), None) => return Ending::Broken { reason: error.reason },
        };
        if let Some(words) = expected {
            return Ending::differing(refused(words, "the configuration is accepted".to_owned()));
        }
        match &case.request {
            Some(given) => match decide(&chain, manifest, given).await {
                Ok(decided) => Ending::of(case.expect.differences(&decided), decided),
                Err(reason) => Ending::Broken { reason },
            },
            None => Ending::Broken {
                reason: "it has no request".to_owned(),
            },
        }
    }

    fn chain(&self, manifest: &Manifest, file: &TestFile, case: &Case) -> ChainSpec {
        let number = self.loaded.fetch_add(1, Ordering::Relaxed);
        let policy = PolicySpec {
            name: manifest.name.clone(),
            wasm: manifest.artefact.clone(),
            config: case.config.clone(),
            limits: manifest.limits.clone(),
            grants: file.grants.clone(),
            establishes: manifest.establishes.clone(),
            reads: manifest.reads.clone(),
            reuse: Reuse::default(),
            shadow: None,
            pin: None,
        };
        ChainSpec {
            site: format!("{SITE} {number}").into(),
            policies: vec![policy],
            observers: Vec::new(),
            roots: file.roots.clone(),
            budget: Budget::default(),
        }
    }
}

fn refused(words: &str, decided: String) -> Difference {
    Difference {
        key: "decision",
        expected: Conclusion::Refused(format!("...{words}...")).to_string(),
        decided,
    }
}

/// Decides as often as it is asked.
async fn decide(chain: &Chain, manifest: &Manifest, given: &Given) -> Result<Decided, String> {
    if let Some((name, _)) = given.facts.iter().find(|(name, _)| !manifest.reads.contains(name)) {
        return Err(format!(
            "gives the fact {name:?}, and `reads` in {} does not name it: the policy could not ask for it",
            manifest.file.display()
        ));
    }
    let request = Arc::new(given.request()?);
    let mut explanation = chain.explain(&request).await;
    for _ in 1..given.times {
        explanation = chain.explain(&request).await;
    }
    Decided::of(explanation, given, request.arrived).ok_or_else(|| "no policy was asked".to_owned())
}

// === impl Given ===

impl Given {
    /// The request as a server would ask policies about it.
    fn request(&self) -> Result<Request, String> {
        let asked = Asked {
            method: self.method.clone(),
            url: self.url.clone(),
            headers: self.headers.clone(),
            client: Some(self.client),
        };
        let arrival = Arrival {
            scheme: self.scheme,
            ..asked.arrival()
        };
        let refused = |reason: &dyn std::fmt::Display| {
            format!("a server refuses this request before any policy is asked: it {reason}")
        };
        let (host, path, query) = match Target::of(&arrival.head, self.scheme).map_err(|error| refused(&error))? {
            Target::Resource { host, path, query } => (host.name, path, query.map(str::to_owned)),
            Target::Server => return Err("no policy is asked about `OPTIONS *`".to_owned()),
        };
        let path = SitePath::from_uri(path).map_err(|error| refused(&format!("has a path that {error}")))?;
        Ok(Request {
            method: self.method.clone(),
            path,
            query,
            scheme: self.scheme.as_str(),
            host,
            site: SITE.into(),
            client: arrival.client,
            arrived: self.now.unwrap_or(arrival.at),
            facts: self.facts.clone(),
            headers: arrival.head.headers,
        })
    }
}

// === impl Decided ===

impl Decided {
    /// With nothing but a conclusion.
    pub(super) fn new(conclusion: Conclusion) -> Self {
        Self {
            conclusion,
            headers: HeaderMap::new(),
            body: None,
            targets: None,
            place: None,
            missing: None,
            facts: Vec::new(),
            sharing: None,
            pace: None,
            asked: Vec::new(),
            kept: false,
            not_kept: None,
            failure: Vec::new(),
            logged: Vec::new(),
        }
    }

    /// `None`: nobody decided.
    fn of(explanation: Explanation, given: &Given, arrived: SystemTime) -> Option<Self> {
        let Explanation { mut steps, verdict, .. } = explanation;
        let step = steps.pop()?;
        let mut decided = match &verdict.outcome {
            Outcome::Proceed(mapping) => {
                let texts = |paths: &[SitePath]| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
                let place = mapping.place.as_ref();
                Self {
                    targets: Some(texts(&mapping.targets)),
                    place: place.map(|place| (place.root.clone(), place.directory.to_string())),
                    missing: mapping.missing.as_ref().map(ToString::to_string),
                    ..Self::new(Conclusion::Proceed)
                }
            }
            Outcome::Respond(response) => Self {
                headers: response.headers.clone(),
                body: Some(response.body.clone()),
                ..Self::new(Conclusion::Respond(response.status.as_u16().into()))
            },
            Outcome::Fault(fault) => {
                let retry = fault
                    .retry_after
                    .map(|time| (header::RETRY_AFTER, HeaderValue::from(time.as_secs())));
                Self {
                    headers: retry.into_iter().collect::<HeaderMap>(),
                    ..Self::new(Conclusion::Fault)
                }
            }
        };
        let status = match &verdict.outcome {
            Outcome::Respond(response) => response.status,
            Outcome::Fault(fault) => fault.status,
            Outcome::Proceed(_) => given.outcome.status,
        };
        let media_type = match &verdict.outcome {
            Outcome::Proceed(mapping) => given
                .outcome
                .media_type
                .clone()
                .or_else(|| media_type(&mapping.targets)),
            _ => None,
        };
        verdict.apply_at(|| arrived, status, media_type.as_deref(), &mut decided.headers);
        decided.facts = verdict.facts;
        decided.pace = verdict.pace.and_then(|pace| usize::try_from(pace).ok());
        decided.take(step);
        Some(decided)
    }

    /// What `explain` says about the policy.
    fn take(&mut self, step: Step) {
        self.sharing = step.sharing().map(str::to_owned);
        (self.kept, self.not_kept) = match step.keeping {
            Keeping::Kept | Keeping::WouldBe => (true, None),
            Keeping::No(reason) => (false, Some(reason)),
            Keeping::Off => (false, None),
        };
        self.asked = step.asked.into_iter().map(|exchange| exchange.question).collect();
        self.logged = step.said;
        if let Account::Failed { reason, backtrace, .. } = step.decision {
            self.failure = std::iter::once(reason).chain(backtrace).collect();
        }
    }
}

/// That of the first target, as a server tells it by the name; of a folder: its page.
fn media_type(targets: &[SitePath]) -> Option<String> {
    let target = targets.first()?.as_str();
    if target.ends_with('/') {
        return Some("text/html".to_owned());
    }
    let name = target.rsplit('/').next().unwrap_or_default();
    let found = MediaTypes::default().of(name);
    found.to_str().ok().map(str::to_owned)
}
