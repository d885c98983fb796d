//! A loaded chain: its policies in order, and what they make of a request together.
use crate::{
    Budget, CodeFrom, Fault, Grants, Health, Limits, Mapping, Observers, Outcome, Place, PolicySpec, Request, Response,
    Verdict,
    component::Role,
    counters::{Counts, Room},
    crowd::Crowd,
    decided::{Decided, NotKept},
    decision::{Changes, Decision, HeaderChange, Respond, Sharing},
    dependence::Dependence,
    evidence::{Evidence, Keeping, Key},
    explain::{self, Explanation, Step},
    policy::{Policy, Ran, Trail},
    questions::{Circumstances, Established},
    services::Sites,
    shadow::{self, ShadowInfo},
    start::Configured,
    usage::Usage,
    verdict::{Standing, Targets},
    withheld::{Withheld, Withholding},
};
use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};
use wasmserve_files::Missing;

/// The policies of a site in one generation.
pub struct Chain {
    site: Arc<str>,
    policies: Vec<Arc<Policy>>,
    observers: Arc<Observers>,
    evidence: Evidence,
    facts_are_read: bool,
    usage: Arc<Usage>,
    /// How many policies, from the first, are the operator's own; `None`: nobody else has any.
    ring: Option<usize>,
    retired: AtomicBool,
}

/// A request of which a policy has to be asked.
pub struct Undecided(Stand);

/// How far it was decided.
enum Stand {
    /// Not at all: the first policy keeps nothing.
    Nowhere(Arc<Request>),
    Somewhere {
        progress: Box<Progress>,
        /// By its position in the chain: nothing is kept for it that holds.
        at: usize,
    },
}

/// How far kept decisions led.
enum Led {
    ToTheEnd,
    /// To a policy that ended the chain.
    Out(Outcome, Standing),
    /// To the policy at this position, for which nothing is kept that holds.
    To(usize),
}

/// What `wasmserve check` prints of a policy.
#[derive(Clone, Debug)]
pub struct PolicyInfo {
    pub name: String,
    pub wasm: std::path::PathBuf,
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// The reference that it was fetched by, if it was.
    pub reference: Option<String>,
    /// The contract that it exports, such as `wasmserve:policy/guest@0.1.0`.
    pub contract: String,
    pub imports: Vec<String>,
    pub limits: Limits,
    pub grants: Grants,
    pub configured: Configured,
    /// Where the machine code that its calls run came from when it was loaded.
    pub code: CodeFrom,
    /// The candidate that runs beside it.
    pub shadow: Option<ShadowInfo>,
}

impl Chain {
    /// A chain of no policies: everything proceeds as it is.
    pub fn empty(site: Arc<str>) -> Self {
        Self::empty_among(site, &Arc::default())
    }

    /// As [`Chain::empty`], of a site that shares the processors with these.
    pub fn empty_among(site: Arc<str>, crowd: &Arc<Crowd>) -> Self {
        let budget = Budget {
            evidence: 0,
            ..Budget::default()
        };
        let usage = Usage::new(&site, &budget, &Sites::default(), crowd);
        Self::new(site, Vec::new(), Observers::default(), Key::random(), &budget, usage)
    }

    pub(crate) fn new(
        site: Arc<str>,
        policies: Vec<Arc<Policy>>,
        observers: Observers,
        key: Key,
        budget: &Budget,
        usage: Arc<Usage>,
    ) -> Self {
        let keeps: Vec<bool> = policies.iter().map(|policy| policy.keeps()).collect();
        let facts_are_read = policies.iter().any(|policy| !policy.spec.reads.is_empty());
        Self {
            site,
            policies,
            observers: Arc::new(observers),
            evidence: Evidence::new(key, budget.evidence, &keeps),
            facts_are_read,
            usage,
            ring: None,
            retired: AtomicBool::new(false),
        }
    }

    /// The same chain, whose first policies are the operator's and whose others are a tenant's. What the operator's
    /// change in the head applies after what the tenant's change, and where they place a request it stays.
    #[must_use]
    pub fn with_ring(self, policies: usize) -> Self {
        Self {
            ring: Some(policies),
            ..self
        }
    }

    /// Whether a policy is a tenant's own, beside the operator's ring.
    pub fn is_tenants(&self, at: usize) -> bool {
        self.ring.is_some_and(|ring| at >= ring)
    }

    /// What the policies did is counted elsewhere from now on. Whether this is the first time that somebody says so.
    pub fn retire(&self) -> bool {
        !self.retired.swap(true, Relaxed)
    }

    pub fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    /// Whose word a policy's is.
    fn standing(&self, at: usize) -> Standing {
        match self.ring.is_some_and(|ring| at < ring) {
            true => Standing::Operator,
            false => Standing::Alike,
        }
    }

    /// Who is told of the finished exchanges of the site.
    pub fn observers(&self) -> &Arc<Observers> {
        &self.observers
    }

    /// Never fails: a fault is a verdict. Dropping the future ends the call under way and leaves nothing behind.
    pub async fn decide(&self, request: &Arc<Request>) -> Verdict {
        match self.decide_known(request) {
            Ok(verdict) => verdict,
            Err(undecided) => self.decide_rest(undecided).await,
        }
    }

    /// The verdict, when every policy's decision is kept: nothing is waited for. Otherwise what
    /// [`Chain::decide_rest`] goes on with.
    ///
    /// # Errors
    /// A policy has to run.
    pub fn decide_known(&self, request: &Arc<Request>) -> Result<Verdict, Undecided> {
        self.usage.begin();
        match self.policies.first() {
            None => return Ok(Verdict::proceed(request)),
            Some(first) if !first.keeps() => return Err(Undecided(Stand::Nowhere(request.clone()))),
            Some(_) => {}
        }
        let mut progress = Progress::new(request, self.facts_are_read);
        match self.use_kept(&mut progress, 0, None) {
            Led::ToTheEnd => {
                progress.arrive();
                Ok(progress.verdict)
            }
            Led::Out(outcome, standing) => {
                progress.break_off(outcome, standing);
                Ok(progress.verdict)
            }
            Led::To(at) => Err(Undecided(Stand::Somewhere {
                progress: Box::new(progress),
                at,
            })),
        }
    }

    /// The verdict on what [`Chain::decide_known`] could not decide.
    pub async fn decide_rest(&self, undecided: Undecided) -> Verdict {
        match undecided.0 {
            Stand::Nowhere(request) => {
                let mut progress = Progress::new(&request, self.facts_are_read);
                self.follow(&mut progress, Led::To(0), None).await;
                progress.verdict
            }
            Stand::Somewhere { mut progress, at } => {
                self.follow(&mut progress, Led::To(at), None).await;
                progress.verdict
            }
        }
    }

    /// As [`Chain::decide`], and writes down what each policy did, without the answers that are withheld.
    pub async fn decide_noting(&self, request: &Arc<Request>, withheld: Arc<Withheld>) -> (Verdict, Vec<Step>) {
        let mut progress = Progress::new(request, self.facts_are_read);
        progress.circumstances.withholding = Some(Withholding::FromTranscript(withheld));
        let mut steps = Vec::new();
        self.usage.begin();
        let led = self.use_kept(&mut progress, 0, Some(&mut steps));
        self.follow(&mut progress, led, Some(&mut steps)).await;
        (progress.verdict, steps)
    }

    /// Uses what is kept, from the policy `from` on.
    fn use_kept(&self, progress: &mut Progress, from: usize, mut notes: Option<&mut Vec<Step>>) -> Led {
        for (at, policy) in self.policies.iter().enumerate().skip(from) {
            if !policy.keeps() {
                return Led::To(at);
            }
            let Some(kept) = self.evidence.find(at, &progress.circumstances) else {
                return Led::To(at);
            };
            policy.tell(kept.said.as_deref());
            policy.counters.reused();
            progress.verdict.effort.reused += 1;
            if let Some(steps) = notes.as_deref_mut() {
                steps.push(Step::kept(policy.spec.name.clone(), &kept.decision));
            }
            if let Some((outcome, standing)) = self.take(at, policy, Ok(kept), progress) {
                return Led::Out(outcome, standing);
            }
        }
        Led::ToTheEnd
    }

    /// Takes what a policy decided. `Some`: it ends the chain.
    fn take(
        &self,
        at: usize,
        policy: &Arc<Policy>,
        decided: Result<Arc<Decided>, Fault>,
        progress: &mut Progress,
    ) -> Option<(Outcome, Standing)> {
        if let Some(shadow) = &policy.shadow {
            shadow.offer(&progress.circumstances, &decided);
        }
        let outcome = match decided {
            Ok(decided) => {
                let dependence = self.dependence(&progress.circumstances, &decided);
                progress.take(&decided, dependence, self.standing(at))?
            }
            Err(fault) => Outcome::Fault(fault),
        };
        progress.verdict.effort.end_with(policy);
        Some((outcome, self.standing(at)))
    }

    /// Goes on from where kept decisions led.
    async fn follow(&self, progress: &mut Progress, mut led: Led, mut notes: Option<&mut Vec<Step>>) {
        loop {
            let at = match led {
                Led::ToTheEnd => return progress.arrive(),
                Led::Out(outcome, standing) => return progress.break_off(outcome, standing),
                Led::To(at) => at,
            };
            let policy = &self.policies[at];
            let decided = self.run(at, policy, progress, notes.as_deref_mut()).await;
            led = match self.take(at, policy, decided, progress) {
                Some((outcome, standing)) => Led::Out(outcome, standing),
                None => self.use_kept(progress, at + 1, notes.as_deref_mut()),
            };
        }
    }

    /// Runs a policy, and keeps its decision with its evidence when it may be.
    async fn run(
        &self,
        at: usize,
        policy: &Arc<Policy>,
        progress: &mut Progress,
        notes: Option<&mut Vec<Step>>,
    ) -> Result<Arc<Decided>, Fault> {
        let Progress {
            circumstances, verdict, ..
        } = progress;
        let circumstances = &*circumstances;
        let admission = match policy.admit(&self.usage.account, circumstances).await {
            Ok(admission) => admission,
            Err(refused) => return Err(policy.refuse(refused, circumstances)),
        };
        policy.counters.ran();
        let trail = Trail {
            transcript: notes.is_some(),
            log: true,
        };
        let begun = Instant::now();
        let ran = policy.run_metered(circumstances, trail, &admission.meter).await;
        let now = Instant::now();
        let spent = now - begun;
        self.usage.charge(&admission.meter, spent, now);
        admission.ended(&ran.outcome);
        policy.counters.spent(spent);
        verdict.effort.ran += 1;
        verdict.effort.spent += spent;
        if let Some(steps) = notes {
            steps.push(self.step(at, policy, &ran, begun));
        }
        let Ran { outcome, recorder, .. } = ran;
        let decided = match outcome {
            Ok(decided) => decided,
            Err(failure) => {
                policy.counters.failed();
                return Err(policy.report(&failure, circumstances));
            }
        };
        if policy.keeps()
            && let Some(recorder) = recorder.filter(|_| self.evidence.keeps(at))
            && NotKept::of(&decided, &recorder).is_none()
        {
            match self.evidence.keep(at, &recorder.trace, &decided) {
                Keeping::Kept => policy.counters.kept(),
                Keeping::Declined => policy.counters.declined(),
                Keeping::Tripped => policy.report_contradiction(),
            }
        }
        Ok(decided)
    }

    fn step(&self, at: usize, policy: &Policy, ran: &Ran, begun: Instant) -> Step {
        let microseconds = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let keeping = explain::Keeping::of(ran, self.evidence.keeps(at));
        Step::new(policy.spec.name.clone(), ran, keeping, microseconds)
    }

    /// Decides a request as [`Chain::decide`] would, by running every policy, and says what each one asked and decided.
    /// Writes nothing to the log, and neither uses nor keeps decisions.
    pub async fn explain(&self, request: &Arc<Request>) -> Explanation {
        self.examine(Progress::new(request, self.facts_are_read)).await
    }

    /// As [`Chain::explain`], of a request that is not known as a whole. A policy that asks for what is withheld ends it.
    pub async fn replay(&self, request: &Arc<Request>, withheld: Arc<Withheld>) -> Explanation {
        let mut progress = Progress::new(request, self.facts_are_read);
        progress.circumstances.withholding = Some(Withholding::FromPolicies(withheld));
        self.examine(progress).await
    }

    async fn examine(&self, mut progress: Progress) -> Explanation {
        let mut steps = Vec::new();
        for (at, policy) in self.policies.iter().enumerate() {
            let kept = self.evidence.find(at, &progress.circumstances).is_some();
            let begun = Instant::now();
            let ran = policy.run(&progress.circumstances, true).await;
            let mut step = self.step(at, policy, &ran, begun);
            if kept {
                step.keeping = explain::Keeping::Kept;
            }
            steps.push(step);
            let mut unrecorded = None;
            let outcome = match ran.outcome {
                Ok(decided) => {
                    let dependence = self.dependence(&progress.circumstances, &decided);
                    progress.take(&decided, dependence, self.standing(at))
                }
                Err(failure) => {
                    unrecorded = failure.unrecorded().map(str::to_owned);
                    Some(Outcome::Fault(failure.fault()))
                }
            };
            if let Some(outcome) = outcome {
                progress.break_off(outcome, self.standing(at));
                return Explanation {
                    steps,
                    verdict: progress.verdict,
                    unrecorded,
                };
            }
        }
        progress.arrive();
        Explanation {
            steps,
            verdict: progress.verdict,
            unrecorded: None,
        }
    }

    pub fn policies(&self) -> Vec<PolicyInfo> {
        self.policies.iter().map(|policy| policy.info()).collect()
    }

    /// What the policies, the candidates beside them and the observers were loaded from, with the digests of the files.
    pub(crate) fn origins(&self) -> impl Iterator<Item = (Cow<'_, PolicySpec>, Role, String)> {
        let observers = self.observers.origins();
        let policies = self.policies.iter().flat_map(|policy| {
            let own = (Cow::Borrowed(&policy.spec), Role::Policy, policy.digest().to_owned());
            let candidate = policy.spec.shadow.as_ref().zip(policy.shadow.as_ref());
            let candidate = candidate.map(|(spec, shadow)| {
                let candidate = shadow::candidate(&policy.spec, spec);
                (Cow::Owned(candidate), Role::Policy, shadow.info().digest)
            });
            std::iter::once(own).chain(candidate)
        });
        policies.chain(observers.map(|(spec, digest)| (Cow::Borrowed(spec), Role::Observer, digest.to_owned())))
    }

    /// Whether what was granted to the plugins is as it was, files of certificates among them.
    pub(crate) fn services_are_current(&self) -> bool {
        self.policies.iter().all(|policy| policy.services_are_current()) && self.observers.services_are_current()
    }

    /// What the policies are called, in the order of the chain.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().map(|policy| policy.spec.name.as_str())
    }

    /// What the policies did so far, in the order of the chain.
    pub fn counts(&self) -> Vec<Counts> {
        self.policies.iter().map(|policy| policy.counters.counts()).collect()
    }

    /// How the policies are doing, in the order of the chain.
    pub fn health(&self) -> Vec<Health> {
        self.policies.iter().map(|policy| policy.gate.health()).collect()
    }

    /// The room that kept decisions take.
    pub fn evidence(&self) -> Room {
        self.evidence.room()
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
    circumstances: Circumstances,
    /// Whether a later policy may ask for facts, and so for what they came from.
    remember: bool,
    place: Option<(Place, Standing)>,
    missing: Option<Missing>,
    /// Header changes of the operator's ring: they apply last.
    last: Vec<Arc<[HeaderChange]>>,
    verdict: Verdict,
}

impl Progress {
    fn new(request: &Arc<Request>, remember: bool) -> Self {
        let circumstances = Circumstances::new(request.clone());
        // Fails closed until the chain has come to an end.
        let fault = Fault {
            status: http::StatusCode::INTERNAL_SERVER_ERROR,
            retry_after: None,
        };
        let verdict = Verdict::of(request, Outcome::Fault(fault));
        Self {
            circumstances,
            remember,
            place: None,
            missing: None,
            last: Vec::new(),
            verdict,
        }
    }

    /// Takes a decision in. `Some`: it ends the chain.
    fn take(&mut self, decided: &Decided, dependence: Arc<Dependence>, standing: Standing) -> Option<Outcome> {
        match &decided.decision {
            Decision::Proceed(changes) => {
                self.proceed(changes, dependence, standing);
                None
            }
            Decision::Respond(response) => {
                self.depend(response.sharing, dependence);
                let Respond {
                    status, headers, body, ..
                } = response;
                Some(Outcome::Respond(Response {
                    status: *status,
                    headers: headers.clone(),
                    body: body.clone(),
                }))
            }
        }
    }

    fn proceed(&mut self, changes: &Changes, dependence: Arc<Dependence>, standing: Standing) {
        self.depend(changes.sharing, dependence);
        if !changes.headers.is_empty() {
            let applied = match standing {
                Standing::Operator => &mut self.last,
                Standing::Alike => &mut self.verdict.changes,
            };
            applied.push(changes.headers.clone());
        }
        // Where the operator placed a request is what confines a tenant.
        let is_settled = standing == Standing::Alike && matches!(self.place, Some((_, Standing::Operator)));
        if let Some(place) = changes.place.as_ref().filter(|_| !is_settled) {
            self.place = Some((place.clone(), standing));
        }
        if let Some(missing) = &changes.missing {
            self.missing = Some(missing.clone());
        }
        if let Some(pace) = changes.pace {
            self.verdict.pace = Some(self.verdict.pace.map_or(pace.get(), |lowest| lowest.min(pace.get())));
        }
        let circumstances = &mut self.circumstances;
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
        if self.remember {
            self.circumstances.dependences.push(dependence);
        }
    }

    /// The chain has come to its end.
    fn arrive(&mut self) {
        let circumstances = &mut self.circumstances;
        let targets = match circumstances.targets.take() {
            Some(paths) => Targets::Mapped(paths),
            None => Targets::Path(circumstances.request.path.clone()),
        };
        let place = self.place.take().map(|(place, _)| place);
        let missing = self.missing.take();
        self.end(Outcome::Proceed(Mapping {
            targets,
            place,
            missing,
        }));
    }

    /// A policy ends the chain.
    fn break_off(&mut self, outcome: Outcome, standing: Standing) {
        self.verdict.ended_by = Some(standing);
        self.end(outcome);
    }

    fn end(&mut self, outcome: Outcome) {
        let circumstances = &mut self.circumstances;
        let facts = std::mem::take(&mut circumstances.facts);
        self.verdict.facts = facts.into_iter().map(|fact| (fact.name, fact.value)).collect();
        self.verdict.outcome = outcome;
        self.verdict.alike = self.verdict.changes.len();
        self.verdict.changes.append(&mut self.last);
    }
}
