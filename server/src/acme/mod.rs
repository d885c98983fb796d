//! Certificates that this server orders and renews by itself (ACME, RFC 8555).
//!
//! In the order of events: names come with a configuration ([`Acme::follow`]), those of tenants with their first handshake
//! ([`Acme::on_demand`]), and after that with each start ([`Acme::remember`]); what is stored ([`store`]) is shown at once; [`schedule`] says when which name is due; one
//! [`order`] at a time is made for it, whose [`challenges`] the listeners answer before any policy is asked; what came is
//! stored and shown from the next handshake on. Where an order fails, all stays as it is, an expired certificate included,
//! and it is tried again later.

pub mod binding;
pub mod challenges;
pub mod order;
mod remember;
pub mod schedule;
pub mod store;

pub use binding::Binding;
pub use challenges::{Challenges, Method};

use crate::{
    limits::{Bucket, Rate},
    net::outgoing::TrustError,
};
use binding::BindingError;
use order::{Authority, OrderError};
use rustls::sign::CertifiedKey;
use schedule::{Lifetime, Setback};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    error::Error,
    fmt::Write,
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use store::{Store, StoreError, Stored};
use tokio::{sync::Notify, task::JoinSet};

/// `[acme]`, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct AcmeSettings {
    /// The URL of the authority's directory.
    pub directory: String,
    /// Such as `mailto:admin@example.org`.
    pub contact: Vec<String>,
    pub storage: PathBuf,
    /// How the authority knows the operator, where it makes accounts for nobody else.
    pub binding: Option<Binding>,
    /// Who vouches for the authority itself; `None`: the public authorities.
    pub authorities: Option<PathBuf>,
    /// In the order in which they are tried; at least one.
    pub challenges: Vec<Method>,
    /// How many certificates may be ordered for tenants who have none.
    pub on_demand: Rate,
}

/// What is ordered, what came of it, and what is answered to authorities.
#[derive(Default)]
pub struct Acme {
    pub challenges: Challenges,
    /// Shown to whoever asks for the name.
    certificates: RwLock<HashMap<Box<str>, Arc<CertifiedKey>>>,
    state: Mutex<State>,
    /// Something may be due earlier than it was.
    wake: Notify,
    done: AtomicU64,
    failed: AtomicU64,
}

#[derive(Default)]
struct State {
    authority: Option<Arc<Authority>>,
    names: BTreeMap<Box<str>, Standing>,
    demand: Option<Bucket>,
    told: Option<Bucket>,
}

/// What is known of a name.
#[derive(Clone, Debug)]
struct Standing {
    wanted: Wanted,
    lifetime: Option<Lifetime>,
    due: SystemTime,
    setbacks: u32,
    error: Option<String>,
    under_way: bool,
}

/// Why a name has a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    ByConfiguration,
    /// A tenant was asked for.
    OnDemand,
}

/// A name, for operators.
#[derive(Clone, Debug, serde::Serialize)]
pub struct CertificateReport {
    pub name: String,
    /// Milliseconds since 1970; `None`: there is no certificate yet.
    pub expires_at: Option<u64>,
    /// When it is ordered or renewed next.
    pub next_at: u64,
    /// Why the last order failed.
    pub error: Option<String>,
}

/// What happened since the start, and how many names there are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub done: u64,
    pub failed: u64,
    pub names: usize,
    /// Names without a certificate.
    pub missing: usize,
    /// Names whose last order failed.
    pub failing: usize,
    /// When the first of the certificates expires.
    pub soonest: Option<SystemTime>,
}

/// Why certificates cannot be ordered.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("[acme] `ca-file` cannot be used")]
    Trust(#[from] TrustError),
    #[error("[acme] `eab-key-file` cannot be used")]
    Binding(#[from] BindingError),
}

/// Orders under way at once: authorities limit them too.
const AT_ONCE: usize = 4;

/// The longest that nothing is looked at.
const LOOK: Duration = Duration::from_secs(3600);

/// How long a name is left alone that another process orders for.
const ELSEWHERE: Duration = Duration::from_secs(10);

/// Lines about failures that the log takes: the rest is in the status and the metrics.
const TOLD: u32 = 20;

// === impl Acme ===

impl Acme {
    /// The authority of a configuration, ready to be used by [`Acme::follow`]. The one of before is taken over when nothing
    /// of it changed. Blocks.
    ///
    /// # Errors
    /// A folder that is open to others or cannot be written, a file of authorities that cannot be used.
    pub fn authority(&self, settings: Option<&AcmeSettings>) -> Result<Option<Arc<Authority>>, AcmeError> {
        let Some(settings) = settings else { return Ok(None) };
        let before = self.state().authority.clone();
        if let Some(before) = before.filter(|before| before.settings == *settings) {
            return Ok(Some(before));
        }
        let store = Store::open(&settings.storage, &settings.directory)?;
        Ok(Some(Arc::new(Authority::new(settings.clone(), store)?)))
    }

    /// Sees to these names from now on, beside those that were asked for. What is stored is shown at once. Blocks.
    pub fn follow<'a>(&self, authority: Option<Arc<Authority>>, names: impl Iterator<Item = &'a str>) {
        let names: BTreeSet<&str> = names.collect();
        let known: BTreeSet<Box<str>> = {
            let state = self.state();
            match is_same(&state.authority, &authority) {
                true => state.names.keys().cloned().collect(),
                false => BTreeSet::new(),
            }
        };
        // The disk is read without the lock: whoever shakes hands asks for it.
        let fresh = names.iter().filter(|name| !known.contains(**name));
        let fresh = fresh.map(|name| {
            let standing = self.begin(name, Wanted::ByConfiguration, authority.as_deref());
            (Box::from(*name), standing)
        });
        let fresh: BTreeMap<Box<str>, Standing> = fresh.collect();
        let mut state = self.state();
        let mut standings = match is_same(&state.authority, &authority) {
            true => std::mem::take(&mut state.names),
            false => BTreeMap::new(),
        };
        standings.retain(|name, standing| names.contains(&**name) || standing.wanted == Wanted::OnDemand);
        for (name, standing) in fresh {
            standings.entry(name).or_insert(standing);
        }
        for name in names {
            if let Some(standing) = standings.get_mut(name) {
                standing.wanted = Wanted::ByConfiguration;
            }
        }
        // A certificate of another authority is shown until there is one of this.
        self.shown_mut().retain(|name, _| standings.contains_key(name));
        state.authority = authority;
        state.names = standings;
        drop(state);
        self.wake.notify_one();
    }

    /// The certificate of a name that is ready.
    pub fn ready(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let certificates = self.certificates.read().unwrap_or_else(PoisonError::into_inner);
        certificates.get(name).cloned()
    }

    /// The certificate of a name that is not of the configuration, but may have one: it is read from the store, or ordered
    /// if not too many are. `None`: there is none yet.
    pub async fn on_demand(self: &Arc<Self>, name: &str) -> Option<Arc<CertifiedKey>> {
        let known = self.state().names.get(name).map(|standing| standing.lifetime.is_some());
        if let Some(has_certificate) = known {
            let ready = self.ready(name);
            // One of an earlier start is not read before it is asked for.
            if ready.is_some() || !has_certificate {
                return ready;
            }
        }
        let (acme, owned) = (self.clone(), name.to_owned());
        // A panic of it is the log's, and a handshake without a certificate.
        tokio::task::spawn_blocking(move || acme.demand(&owned)).await.ok()?;
        self.ready(name)
    }

    fn demand(&self, name: &str) {
        let Some(authority) = self.state().authority.clone() else {
            return;
        };
        if !is_certifiable(name) {
            return;
        }
        if self.state().names.contains_key(name) {
            return self.show_stored(name, &authority);
        }
        let standing = self.begin(name, Wanted::OnDemand, Some(&authority));
        let mut state = self.state();
        let state = &mut *state;
        if state.names.contains_key(name) {
            return;
        }
        if standing.lifetime.is_none() {
            let now = Instant::now();
            let rate = authority.settings.on_demand;
            let bucket = state.demand.get_or_insert_with(|| Bucket::new(now));
            if let Err(wait) = bucket.take(rate, rate.count(), now) {
                tracing::debug!(name, ?wait, "no certificate is ordered: [acme] on-demand is used up");
                return;
            }
        }
        state.names.insert(name.into(), standing);
        self.wake.notify_one();
    }

    /// Looks at what is stored for a name, and shows it.
    fn begin(&self, name: &str, wanted: Wanted, authority: Option<&Authority>) -> Standing {
        let stored = authority.and_then(|authority| match authority.store.certificate(name) {
            Ok(stored) => stored,
            Err(error) => {
                let error = told(&error);
                tracing::warn!(name, error, "the stored certificate cannot be used: another is ordered");
                None
            }
        });
        let standing = Standing::new(wanted);
        match stored {
            Some(stored) => standing.with(name, &self.show(name, stored)),
            None => standing,
        }
    }

    fn show(&self, name: &str, stored: Stored) -> Lifetime {
        self.shown_mut().insert(name.into(), stored.key);
        stored.lifetime
    }

    /// Orders what is due, until it is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut orders = JoinSet::new();
        loop {
            let (due, wait) = self.due(SystemTime::now(), AT_ONCE.saturating_sub(orders.len()));
            for name in due {
                let acme = self.clone();
                orders.spawn(async move { acme.order(&name).await });
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.wake.notified() => {}
                Some(_) = orders.join_next() => {}
            }
        }
    }

    /// Names to order for now, at most so many, and how long until the next is due.
    fn due(&self, now: SystemTime, most: usize) -> (Vec<Box<str>>, Duration) {
        let mut state = self.state();
        let mut due = Vec::new();
        let mut wait = LOOK;
        if state.authority.is_none() {
            return (due, wait);
        }
        for (name, standing) in state.names.iter_mut().filter(|(_, standing)| !standing.under_way) {
            match standing.due.duration_since(now) {
                Ok(later) if !later.is_zero() => wait = wait.min(later),
                // The end of one of those under way wakes this.
                _ if due.len() == most => {}
                _ => {
                    standing.under_way = true;
                    due.push(name.clone());
                }
            }
        }
        (due, wait)
    }

    /// Orders for a name that is marked as under way, and notes what came of it.
    async fn order(self: Arc<Self>, name: &str) {
        let under_way = UnderWay { acme: &self, name };
        let (authority, setbacks) = {
            let state = self.state();
            let Some(standing) = state.names.get(name) else { return };
            let Some(authority) = state.authority.clone() else {
                return;
            };
            (authority, standing.setbacks)
        };
        let ordered = self.ordered(&authority, name, setbacks).await;
        drop(under_way);
        if !is_same(&self.state().authority, &Some(authority)) {
            // Another authority is asked now: what this one says is nothing to it.
            return self.note(name, |standing| standing.due = SystemTime::now());
        }
        match ordered {
            Ok(Some(stored)) => {
                self.done.fetch_add(1, Ordering::Relaxed);
                let until = humantime::format_rfc3339_seconds(stored.lifetime.until).to_string();
                tracing::info!(name, until, "a certificate came");
                self.note(name, |standing| {
                    *standing = standing.clone().with(name, &stored.lifetime)
                });
                self.show(name, stored);
            }
            Ok(None) => self.note(name, |standing| standing.due = SystemTime::now() + ELSEWHERE),
            Err(error) => self.fail(name, &error),
        }
    }

    async fn ordered(
        &self,
        authority: &Arc<Authority>,
        name: &str,
        attempt: u32,
    ) -> Result<Option<Stored>, OrderError> {
        let (with, of) = (authority.clone(), name.to_owned());
        let begun = tokio::task::spawn_blocking(move || {
            let lock = with.store.lock(&of)?;
            Ok::<_, OrderError>((lock, with.store.certificate(&of).ok().flatten()))
        });
        let (lock, stored) = begun.await.map_err(|_| OrderError::BrokenOff)??;
        // Another process that shares the folder may have ordered it.
        if let Some(stored) = stored.filter(|stored| renewal(name, &stored.lifetime) > SystemTime::now()) {
            return Ok(Some(stored));
        }
        let Some(_lock) = lock else { return Ok(None) };
        authority.order(name, attempt, &self.challenges).await.map(Some)
    }

    fn fail(&self, name: &str, error: &OrderError) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let line = told(error);
        let setback = error.setback();
        let mut wait = Duration::ZERO;
        self.note(name, |standing| {
            standing.setbacks = standing.setbacks.saturating_add(1);
            wait = setback.wait(standing.setbacks, luck(&(name, standing.setbacks, std::process::id())));
            standing.due = SystemTime::now() + wait;
            standing.error = Some(line.clone());
        });
        let now = Instant::now();
        let rate = Rate::per_minute(TOLD);
        let may_tell = self
            .state()
            .told
            .get_or_insert_with(|| Bucket::new(now))
            .take(rate, rate.count(), now);
        if may_tell.is_ok() {
            let again_in = humantime::format_duration(Duration::from_secs(wait.as_secs())).to_string();
            match setback {
                Setback::Unreachable => tracing::warn!(name, error = line, again_in, "no certificate was ordered"),
                _ => tracing::error!(name, error = line, again_in, "no certificate was ordered"),
            }
        }
    }

    fn note(&self, name: &str, change: impl FnOnce(&mut Standing)) {
        if let Some(standing) = self.state().names.get_mut(name) {
            change(standing);
        }
        self.wake.notify_one();
    }

    /// Every name, those that fail first, at most so many.
    pub fn report(&self, most: usize) -> Vec<CertificateReport> {
        let state = self.state();
        let mut names: Vec<_> = state.names.iter().collect();
        names.sort_by_key(|(_, standing)| (standing.error.is_none(), standing.due));
        let names = names.into_iter().take(most);
        names
            .map(|(name, standing)| CertificateReport {
                name: name.to_string(),
                expires_at: standing.lifetime.map(|lifetime| milliseconds(lifetime.until)),
                next_at: milliseconds(standing.due),
                error: standing.error.clone(),
            })
            .collect()
    }

    pub fn counts(&self) -> Counts {
        let state = self.state();
        let standings = || state.names.values();
        Counts {
            done: self.done.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            names: state.names.len(),
            missing: standings().filter(|standing| standing.lifetime.is_none()).count(),
            failing: standings().filter(|standing| standing.error.is_some()).count(),
            soonest: standings().filter_map(|standing| Some(standing.lifetime?.until)).min(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown_mut(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<Box<str>, Arc<CertifiedKey>>> {
        self.certificates.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_same(one: &Option<Arc<Authority>>, other: &Option<Arc<Authority>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

/// The mark of a name whose order is under way; dropping it takes the mark away, however the order ended.
struct UnderWay<'a> {
    acme: &'a Acme,
    name: &'a str,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(standing) = self.acme.state().names.get_mut(self.name) {
            standing.under_way = false;
            // Whatever comes of it says when it is due; a panic says nothing.
            standing.due = SystemTime::now() + LOOK;
        }
    }
}

// === impl Standing ===

impl Standing {
    /// Without a certificate: one is due.
    fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            lifetime: None,
            due: SystemTime::UNIX_EPOCH,
            setbacks: 0,
            error: None,
            under_way: false,
        }
    }

    /// With a certificate.
    fn with(self, name: &str, lifetime: &Lifetime) -> Self {
        Self {
            lifetime: Some(*lifetime),
            due: renewal(name, lifetime),
            setbacks: 0,
            error: None,
            ..self
        }
    }
}

/// The same for the same certificate, in every process and after every start.
fn renewal(name: &str, lifetime: &Lifetime) -> SystemTime {
    lifetime.renewal(luck(&(name, lifetime.until)))
}

/// A number from 0 to 1 that belongs to a value.
fn luck(of: &impl Hash) -> f64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish() as f64 / u64::MAX as f64
}

/// Whether an authority gives certificates for a host, as far as its form says: a name of letters, digits and hyphens.
pub fn is_certifiable(name: &str) -> bool {
    let is_label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        plain && !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or(name);
    name.len() <= 253 && name.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// An error with its causes on one line.
pub(crate) fn told(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(line, ": {error}");
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_authority_certifies_are_known() {
        for (name, expected) in [
            ("example.org", true),
            ("xn--bcher-kva.example", true),
            ("localhost", true),
            ("a.b.c.d.example", true),
            ("", false),
            ("*.example.org", false),
            ("under_score.example", false),
            ("-a.example", false),
            ("a..example", false),
            ("127.0.0.1", false),
            ("[::1]", false),
            ("../x", false),
            (&"a".repeat(64), false),
            (&["a"; 130].join("."), false),
        ] {
            assert_eq!(is_certifiable(name), expected, "{name}");
        }
    }

    fn acme(folder: &tempfile::TempDir) -> (Arc<Acme>, Option<Arc<Authority>>) {
        let settings = AcmeSettings {
            directory: "https://ca.example/directory".into(),
            contact: Vec::new(),
            storage: folder.path().join("acme"),
            binding: None,
            authorities: None,
            challenges: vec![Method::Http01],
            on_demand: "2/h".parse().expect("a rate"),
        };
        let acme = Arc::new(Acme::default());
        let authority = acme.authority(Some(&settings)).expect("it can be written");
        (acme, authority)
    }

    #[tokio::test]
    async fn tenants_are_ordered_for_at_the_rate_that_is_allowed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (acme, authority) = acme(&folder);
        acme.follow(authority.clone(), ["a.example"].into_iter());
        for name in [
            "b.example",
            "b.example",
            "b.example",
            "c.example",
            "d.example",
            "1.2.3.4",
        ] {
            assert!(acme.on_demand(name).await.is_none());
        }
        let names = |acme: &Acme| -> Vec<String> { acme.report(9).into_iter().map(|report| report.name).collect() };
        assert_eq!(
            names(&acme),
            ["a.example", "b.example", "c.example"],
            "two, and the site's own"
        );
        // A reload keeps them, and takes away what is not configured any more.
        acme.follow(authority, ["x.example"].into_iter());
        assert_eq!(names(&acme), ["b.example", "c.example", "x.example"]);
        acme.follow(None, std::iter::empty());
        assert!(names(&acme).is_empty());
    }

    /// What an earlier start has stored is renewed when it is due, whether it is asked for or not, and read when it is.
    #[tokio::test]
    async fn what_is_stored_is_seen_to_before_it_is_asked_for() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (acme, authority) = acme(&folder);
        acme.follow(authority.clone(), ["a.example"].into_iter());
        let store = &authority.as_ref().expect("there is one").store;
        for name in ["a.example", "b.example", "c.example"] {
            let key = rcgen::KeyPair::generate().expect("a key");
            let params = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
            let chain = params.self_signed(&key).expect("a certificate").pem();
            store.keep(name, &key.serialize_pem(), &chain).expect("it is kept");
        }
        let mut unknown = acme.unknown_in_store();
        unknown.sort();
        assert_eq!(unknown, ["b.example", "c.example"]);
        acme.remember("b.example");
        acme.remember("nothing.example");
        assert_eq!(acme.unknown_in_store(), ["c.example"]);
        let report = acme.report(9);
        let of_b = report
            .iter()
            .find(|report| report.name == "b.example")
            .expect("it is seen to");
        assert!(
            of_b.expires_at.is_some() && of_b.next_at > milliseconds(SystemTime::now()),
            "{of_b:?}"
        );
        assert!(acme.ready("b.example").is_none(), "nobody has asked for it");
        assert!(acme.on_demand("b.example").await.is_some());
        assert!(acme.ready("b.example").is_some());
    }

    #[test]
    fn one_order_at_a_time_is_made_for_a_name_and_few_at_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (acme, authority) = acme(&folder);
        acme.follow(authority.clone(), ["a", "b", "c"].into_iter());
        let now = SystemTime::now();
        let due = |most| acme.due(now, most).0;
        assert_eq!(due(2), ["a".into(), "b".into()] as [Box<str>; 2]);
        assert_eq!(due(2), ["c".into()] as [Box<str>; 1]);
        assert!(due(2).is_empty());
        acme.follow(authority, ["a", "b", "c"].into_iter());
        assert!(due(2).is_empty(), "a reload begins none anew");
        // One that fails is not due again at once, and the others do not wait for it.
        drop(UnderWay { acme: &acme, name: "a" });
        acme.fail("a", &OrderError::Refused("no".into()));
        let (due, wait) = acme.due(now, 2);
        assert!(due.is_empty() && wait >= Duration::from_secs(200), "{wait:?}");
        assert_eq!(acme.report(1)[0].error.as_deref(), Some("no"));
        assert_eq!((acme.counts().failing, acme.counts().missing), (1, 3));
    }
}
