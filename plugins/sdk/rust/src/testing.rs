//! Policies under test, natively: made-up configurations and requests.
//!
//! ```
//! use wasmserve_plugin::testing::{Question, Request, configure};
//! # use wasmserve_plugin::{Config, Decision, Policy, deny, proceed};
//! # struct Members;
//! # impl Policy for Members {
//! #     fn configure(_: &Config) -> Result<Self, String> { Ok(Self) }
//! #     fn decide(&self, request: &wasmserve_plugin::Request) -> Result<Decision, String> {
//! #         Ok(if request.cookie("member").is_some() { proceed().into() } else { deny(403).into() })
//! #     }
//! # }
//!
//! let policy: Members = configure([("key", "value")]).unwrap();
//! let stranger = Request::get("/club/");
//! assert_eq!(stranger.decide(&policy), Ok(deny(403).into()));
//! assert_eq!(stranger.asked(), [Question::Cookie("member".into())]);
//! let member = Request::get("/club/").header("cookie", "a=b; member=7");
//! assert_eq!(member.decide(&policy), Ok(proceed().into()));
//! ```
//!
//! What the server checks of a decision (canonical paths, header values, facts that the manifest lists) is not checked
//! here.
use crate::{Config, Decision, Policy};
use std::{
    cell::RefCell,
    net::IpAddr,
    rc::Rc,
    time::{SystemTime, UNIX_EPOCH},
};

thread_local! {
    static REQUEST: RefCell<Option<Request>> = const { RefCell::new(None) };
    static CONFIGURATION: RefCell<Vec<(String, String)>> = const { RefCell::new(Vec::new()) };
}

/// A question that a policy asked.
#[allow(missing_docs)]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    Method,
    Path,
    Targets,
    Query,
    QueryParameter(String),
    QueryParameterValues(String),
    Header(String),
    HeaderValues(String),
    Cookie(String),
    Scheme,
    Host,
    Site,
    ClientAddress,
    ClientWithin(String),
    Fact(String),
    Now,
    Before(u64),
}

/// A policy, configured as if by these keys. What is not a string in the configuration file is given as JSON text.
///
/// # Errors
/// What the policy's `configure` says.
pub fn configure<P: Policy>(
    configuration: impl IntoIterator<Item = (&'static str, &'static str)>,
) -> Result<P, String> {
    configured(configuration, P::configure)
}

/// Calls a `configure` with these keys. Services begin anew.
fn configured<T>(
    configuration: impl IntoIterator<Item = (&'static str, &'static str)>,
    configure: impl FnOnce(&Config) -> Result<T, String>,
) -> Result<T, String> {
    let entries = configuration
        .into_iter()
        .map(|(key, text)| (key.to_owned(), text.to_owned()))
        .collect();
    #[cfg(feature = "counters")]
    tokens::forget();
    #[cfg(feature = "key-value")]
    pairs::forget();
    CONFIGURATION.replace(entries);
    let made = configure(&Config::new());
    CONFIGURATION.take();
    made
}

/// A made-up request and, once it was decided, the questions that were asked about it.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    path: String,
    targets: Vec<String>,
    query: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
    scheme: String,
    host: String,
    site: String,
    client: Option<IpAddr>,
    facts: Vec<(String, String)>,
    now: u64,
    asked: Rc<RefCell<Vec<Question>>>,
}

impl Request {
    /// A request of any method for a canonical path: over `http` to the host `localhost` of the site `default`, from
    /// 127.0.0.1, now, without query, headers or facts.
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            targets: vec![path.to_owned()],
            query: None,
            headers: Vec::new(),
            scheme: "http".to_owned(),
            host: "localhost".to_owned(),
            site: "default".to_owned(),
            client: Some(IpAddr::from([127, 0, 0, 1])),
            facts: Vec::new(),
            now: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            asked: Rc::default(),
        }
    }

    /// A GET request for a canonical path.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// As mapped by earlier policies.
    pub fn targets<const N: usize>(mut self, targets: [&str; N]) -> Self {
        self.targets = targets.map(str::to_owned).to_vec();
        self
    }

    /// The raw query, without `?`.
    pub fn query(mut self, query: &str) -> Self {
        self.query = Some(query.to_owned());
        self
    }

    /// One more header field.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// `http` or `https`.
    pub fn scheme(mut self, scheme: &str) -> Self {
        self.scheme = scheme.to_owned();
        self
    }

    /// Lower case, without port.
    pub fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    /// The site's name.
    pub fn site(mut self, site: &str) -> Self {
        self.site = site.to_owned();
        self
    }

    /// The client's address; `None` for a Unix socket.
    pub fn client(mut self, address: impl Into<Option<IpAddr>>) -> Self {
        self.client = address.into();
        self
    }

    /// As established by an earlier policy.
    pub fn fact(mut self, name: &str, value: &str) -> Self {
        self.facts.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn now(mut self, unix_seconds: u64) -> Self {
        self.now = unix_seconds;
        self
    }

    /// What the policy decides.
    ///
    /// # Errors
    /// What the policy's `decide` says.
    pub fn decide<P: Policy>(&self, policy: &P) -> Result<Decision, String> {
        self.asking(|request| policy.decide(request))
    }

    /// Calls a function that asks questions about this request, for tests of parts of a policy.
    pub fn asking<T>(&self, ask: impl FnOnce(&crate::Request) -> T) -> T {
        self.asked.borrow_mut().clear();
        let outer = REQUEST.replace(Some(self.clone()));
        let answer = ask(&crate::Request::new());
        REQUEST.replace(outer);
        answer
    }

    /// The questions of the last decision, in order, each as often as it was asked.
    pub fn asked(&self) -> Vec<Question> {
        self.asked.borrow().clone()
    }

    fn header_fields(&self, name: &str) -> Vec<Vec<u8>> {
        let named = |(field, _): &&(String, Vec<u8>)| field.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .filter(named)
            .map(|(_, value)| value.clone())
            .collect()
    }

    fn joined_header(&self, name: &str) -> Option<String> {
        let values = self.header_fields(name);
        let separator: &[u8] = if name.eq_ignore_ascii_case("cookie") {
            b"; "
        } else {
            b", "
        };
        (!values.is_empty()).then(|| String::from_utf8_lossy(&values.join(separator)).into_owned())
    }

    fn parameters(&self, name: &str) -> Vec<String> {
        let query = self.query.as_deref().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes());
        pairs
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
            .collect()
    }
}

/// The time of the current made-up request; 0 without one, as for an observer.
#[cfg(feature = "counters")]
fn now() -> u64 {
    REQUEST.with_borrow(|request| request.as_ref().map_or(0, |request| request.now))
}

/// The current made-up request, after noting the question.
fn ask<T>(question: Question, answer: impl FnOnce(&Request) -> T) -> T {
    REQUEST.with_borrow(|request| {
        let request = request
            .as_ref()
            .expect("there is no request: questions can be asked while one is decided");
        request.asked.borrow_mut().push(question);
        answer(request)
    })
}

/// Stands in for the contract's `request` on machines that build and test.
pub(crate) mod questions {
    use super::{Question, ask};
    use std::net::IpAddr;

    pub fn method() -> String {
        ask(Question::Method, |request| request.method.clone())
    }
    pub fn path() -> String {
        ask(Question::Path, |request| request.path.clone())
    }
    pub fn targets() -> Vec<String> {
        ask(Question::Targets, |request| request.targets.clone())
    }
    pub fn query() -> Option<String> {
        ask(Question::Query, |request| request.query.clone())
    }
    pub fn query_parameter(name: &str) -> Option<String> {
        ask(Question::QueryParameter(name.into()), |request| {
            request.parameters(name).into_iter().next()
        })
    }
    pub fn query_parameter_values(name: &str) -> Vec<String> {
        ask(Question::QueryParameterValues(name.into()), |request| {
            request.parameters(name)
        })
    }
    pub fn header(name: &str) -> Option<String> {
        ask(Question::Header(name.into()), |request| request.joined_header(name))
    }
    pub fn header_values(name: &str) -> Vec<Vec<u8>> {
        ask(Question::HeaderValues(name.into()), |request| {
            request.header_fields(name)
        })
    }
    pub fn cookie(name: &str) -> Option<String> {
        ask(Question::Cookie(name.into()), |request| {
            let cookies = request.joined_header("cookie")?;
            let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
            let (_, value) = pairs.find(|(key, _)| *key == name)?;
            let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            Some(quoted.unwrap_or(value).to_owned())
        })
    }
    pub fn scheme() -> String {
        ask(Question::Scheme, |request| request.scheme.clone())
    }
    pub fn host() -> String {
        ask(Question::Host, |request| request.host.clone())
    }
    pub fn site() -> String {
        ask(Question::Site, |request| request.site.clone())
    }
    pub fn client_address() -> Option<String> {
        ask(Question::ClientAddress, |request| {
            request.client.map(|address| address.to_canonical().to_string())
        })
    }
    pub fn client_within(cidr: &str) -> bool {
        let block: ipnet::IpNet = cidr
            .parse()
            .or_else(|_| cidr.parse::<IpAddr>().map(ipnet::IpNet::from))
            .unwrap_or_else(|_| panic!("{cidr:?} is neither a CIDR block nor an address"));
        ask(Question::ClientWithin(cidr.into()), |request| {
            request
                .client
                .is_some_and(|address| block.contains(&address.to_canonical()))
        })
    }
    pub fn fact(name: &str) -> Option<String> {
        ask(Question::Fact(name.into()), |request| {
            let established = request.facts.iter().rev().find(|(key, _)| key == name);
            established.map(|(_, value)| value.clone())
        })
    }

    /// Stands in for the contract's `clock`.
    pub(crate) mod clock {
        use super::{Question, ask};

        pub fn now() -> u64 {
            ask(Question::Now, |request| request.now)
        }
        pub fn before(unix_seconds: u64) -> bool {
            ask(Question::Before(unix_seconds), |request| request.now < unix_seconds)
        }
    }
}

/// Stands in for `wasi:config/store`.
pub(crate) mod store {
    pub use crate::bindings::wasi::config::store::Error;

    pub fn get(key: &str) -> Result<Option<String>, Error> {
        let entries = get_all()?;
        Ok(entries.into_iter().find(|(name, _)| name == key).map(|(_, text)| text))
    }
    pub fn get_all() -> Result<Vec<(String, String)>, Error> {
        Ok(super::CONFIGURATION.with_borrow(Vec::clone))
    }
}

/// Stands in for `counters`: token buckets that fill with the time of the request that is decided.
#[cfg(feature = "counters")]
pub(crate) mod tokens {
    use crate::counters::Taken;
    use std::{cell::RefCell, collections::HashMap};

    thread_local! {
        /// Levels, and the second at which they were.
        static BUCKETS: RefCell<HashMap<String, (f64, u64)>> = RefCell::default();
        static FAILURE: RefCell<Option<String>> = const { RefCell::new(None) };
    }

    pub fn take(key: &str, capacity: u64, refill: f64) -> Result<Taken, String> {
        assert!(
            capacity > 0 && refill.is_finite() && refill >= 0.0,
            "a token bucket cannot hold {capacity} tokens and gain {refill} a second"
        );
        if let Some(reason) = FAILURE.with_borrow(Clone::clone) {
            return Err(reason);
        }
        let (now, full) = (super::now(), capacity as f64);
        BUCKETS.with_borrow_mut(|buckets| {
            let (level, at) = buckets.get(key).copied().unwrap_or((full, now));
            let level = (level + now.saturating_sub(at) as f64 * refill).min(full);
            let granted = level >= 1.0;
            let left = if granted { level - 1.0 } else { level };
            buckets.insert(key.to_owned(), (left, now));
            let until = |tokens: f64| ((tokens - left).max(0.0) / refill * 1000.0).ceil() as u64;
            Ok(Taken {
                granted,
                remaining: left as u64,
                retry_after: if left >= 1.0 { 0 } else { until(1.0) },
                full_after: until(full),
            })
        })
    }

    pub(super) fn forget() {
        BUCKETS.take();
        FAILURE.take();
    }

    pub(super) fn fail(reason: &str) {
        FAILURE.set(Some(reason.to_owned()));
    }
}

/// From now on, on this thread, no bucket of tokens can be had, for this reason: until [`configure`] is called again.
#[cfg(feature = "counters")]
pub fn fail_counters(reason: &str) {
    tokens::fail(reason);
}

/// Stands in for `wasi:keyvalue`.
#[cfg(feature = "key-value")]
pub(crate) mod pairs {
    use std::{cell::RefCell, collections::BTreeMap};

    thread_local! {
        static PAIRS: RefCell<BTreeMap<(String, String), Vec<u8>>> = RefCell::default();
    }

    pub struct Bucket(String);

    impl Bucket {
        fn at(&self, key: &str) -> (String, String) {
            (self.0.clone(), key.to_owned())
        }
    }

    pub fn open(name: &str) -> Result<Bucket, String> {
        Ok(Bucket(name.to_owned()))
    }
    pub fn get(bucket: &Bucket, key: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(PAIRS.with_borrow(|pairs| pairs.get(&bucket.at(key)).cloned()))
    }
    pub fn set(bucket: &Bucket, key: &str, value: &[u8]) -> Result<(), String> {
        PAIRS.with_borrow_mut(|pairs| pairs.insert(bucket.at(key), value.to_owned()));
        Ok(())
    }
    pub fn delete(bucket: &Bucket, key: &str) -> Result<(), String> {
        PAIRS.with_borrow_mut(|pairs| pairs.remove(&bucket.at(key)));
        Ok(())
    }
    pub fn exists(bucket: &Bucket, key: &str) -> Result<bool, String> {
        Ok(PAIRS.with_borrow(|pairs| pairs.contains_key(&bucket.at(key))))
    }
    pub fn increment(bucket: &Bucket, key: &str, delta: u64) -> Result<u64, String> {
        let before = match get(bucket, key)? {
            None => 0,
            Some(value) => String::from_utf8(value)
                .ok()
                .and_then(|text| text.parse::<u64>().ok())
                .ok_or("the value is not a number in decimal digits")?,
        };
        let sum = before.checked_add(delta).ok_or("the sum is larger than 64 bits hold")?;
        set(bucket, key, sum.to_string().as_bytes())?;
        Ok(sum)
    }

    pub(super) fn forget() {
        PAIRS.take();
    }
}

/// An observer, configured as if by these keys: the counterpart of [`configure`].
///
/// # Errors
/// What the observer's `configure` says.
#[cfg(feature = "observer")]
pub fn configure_observer<O: crate::observer::Observer>(
    configuration: impl IntoIterator<Item = (&'static str, &'static str)>,
) -> Result<O, String> {
    configured(configuration, O::configure)
}

/// A finished exchange to change and to tell an observer of: `GET /` with 200 and no body.
#[cfg(feature = "observer")]
pub fn exchange() -> crate::observer::Exchange {
    crate::observer::Exchange {
        arrived: 0,
        duration: 0,
        site: "default".into(),
        host: "localhost".into(),
        scheme: "http".into(),
        method: "GET".into(),
        path: "/".into(),
        client_address: Some("127.0.0.1".into()),
        status: 200,
        body_bytes: 0,
        ending: crate::observer::Ending::Completed,
        facts: Vec::new(),
    }
}

/// Stands in for `wasi:logging`: lines appear in the test's output.
#[cfg(feature = "logging")]
pub(crate) fn log(level: impl std::fmt::Debug, context: &str, message: &str) {
    eprintln!("{level:?} {context} {message}");
}

#[cfg(all(test, feature = "counters", feature = "key-value"))]
mod tests {
    use super::*;
    use crate::{counters, key_value::Bucket};

    #[test]
    fn token_buckets_fill_with_the_time_of_the_request() {
        let take = |now| {
            let request = Request::get("/").now(now);
            request.asking(|_| {
                counters::take("stand-in", 2, 0.5).map(|taken| (taken.granted, taken.remaining, taken.retry_after))
            })
        };
        assert_eq!(take(100), Ok((true, 1, 0)));
        assert_eq!(take(100), Ok((true, 0, 2000)));
        assert_eq!(take(101), Ok((false, 0, 1000)));
        assert_eq!(take(102), Ok((true, 0, 2000)));
        fail_counters("none is left");
        assert_eq!(take(200), Err("none is left".into()));
        tokens::forget();
        assert_eq!(take(200), Ok((true, 1, 0)));
    }

    #[test]
    fn pairs_are_kept_apart_by_bucket() {
        let (ours, theirs) = (Bucket::open("default").unwrap(), Bucket::open("common").unwrap());
        assert_eq!(ours.increment("n", 2), Ok(2));
        assert_eq!(ours.increment("n", 3), Ok(5));
        assert_eq!((ours.get("n"), theirs.get("n")), (Ok(Some(b"5".to_vec())), Ok(None)));
        ours.set("n", "many").unwrap();
        assert!(ours.increment("n", 1).is_err());
        ours.delete("n").unwrap();
        assert_eq!(ours.exists("n"), Ok(false));
    }
}
