//! The questions of the contract and their answers.
//!
//! One function answers a question, whoever asks: a policy that runs, or the host itself when it looks for a kept decision.
//! So the two can never disagree. Everything here is pure: the answer depends on the [`Circumstances`] alone.
use crate::{Request, dependence::Dependence, withheld::Withholding};
use http::{HeaderName, header};
use ipnet::IpNet;
use percent_encoding::percent_decode;
use std::{
    borrow::Cow,
    fmt,
    net::IpAddr,
    str::FromStr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use wasmserve_files::SitePath;

/// A question whose answer can be found again from the request alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    Method,
    Path,
    Targets,
    Query,
    QueryParameter(String),
    QueryParameterValues(String),
    Header(FieldName),
    HeaderValues(FieldName),
    Cookie(String),
    Scheme,
    Host,
    Site,
    ClientAddress,
    ClientWithin(IpNet),
    Fact(String),
    Before(u64),
}

/// The name of a header field, as a policy gave it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FieldName {
    Valid(HeaderName),
    /// No field can have it, so it is always absent.
    Impossible(String),
}

/// What a question is answered with. Borrowed wherever the request has it in the right form.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer<'a> {
    Text(Cow<'a, str>),
    Optional(Option<Cow<'a, str>>),
    Texts(Vec<Cow<'a, str>>),
    Values(Vec<&'a [u8]>),
    Flag(bool),
}

/// What an earlier policy established.
#[derive(Clone, Debug)]
pub(crate) struct Established {
    pub name: String,
    pub value: String,
}

/// Everything that a policy's answers can come from: the request and what the chain made of it so far.
#[derive(Clone, Debug)]
pub(crate) struct Circumstances {
    pub request: Arc<Request>,
    /// Seconds since 1970, frozen when the request arrived.
    pub now: u64,
    /// `None`: the request's own path.
    pub targets: Option<Vec<SitePath>>,
    pub facts: Vec<Established>,
    /// What each policy that has run depended on, by its position in the chain.
    pub dependences: Vec<Arc<Dependence>>,
    /// What is not to be told.
    pub withholding: Option<Withholding>,
}

impl Question {
    /// The CIDR block of a `client-within`; a single address is a block of its own. `None`: neither.
    pub fn client_within(cidr: &str) -> Option<Self> {
        let block = match IpNet::from_str(cidr) {
            Ok(block) => block,
            Err(_) => IpNet::from(IpAddr::from_str(cidr).ok()?),
        };
        Some(Self::ClientWithin(block.trunc()))
    }

    /// Bytes that keeping the question takes beside its own size.
    pub fn text_length(&self) -> usize {
        match self {
            Self::QueryParameter(name) | Self::QueryParameterValues(name) | Self::Cookie(name) | Self::Fact(name) => {
                name.len()
            }
            Self::Header(name) | Self::HeaderValues(name) => name.as_str().len(),
            _ => 0,
        }
    }
}

impl FieldName {
    pub fn new(name: &str) -> Self {
        HeaderName::from_bytes(name.as_bytes()).map_or_else(|_| Self::Impossible(name.into()), Self::Valid)
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Valid(name) => name.as_str(),
            Self::Impossible(name) => name,
        }
    }
}

/// As the contract writes a call.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str("method()"),
            Self::Path => f.write_str("path()"),
            Self::Targets => f.write_str("targets()"),
            Self::Query => f.write_str("query()"),
            Self::QueryParameter(name) => write!(f, "query-parameter({name:?})"),
            Self::QueryParameterValues(name) => write!(f, "query-parameter-values({name:?})"),
            Self::Header(name) => write!(f, "header({:?})", name.as_str()),
            Self::HeaderValues(name) => write!(f, "header-values({:?})", name.as_str()),
            Self::Cookie(name) => write!(f, "cookie({name:?})"),
            Self::Scheme => f.write_str("scheme()"),
            Self::Host => f.write_str("host()"),
            Self::Site => f.write_str("site()"),
            Self::ClientAddress => f.write_str("client-address()"),
            Self::ClientWithin(block) => write!(f, "client-within(\"{block}\")"),
            Self::Fact(name) => write!(f, "fact({name:?})"),
            Self::Before(moment) => write!(f, "before({moment})"),
        }
    }
}

impl fmt::Display for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Optional(Some(text)) => write!(f, "{text:?}"),
            Self::Optional(None) => f.write_str("none"),
            Self::Texts(texts) => write!(f, "{texts:?}"),
            Self::Values(values) => {
                let values: Vec<_> = values.iter().map(|value| String::from_utf8_lossy(value)).collect();
                write!(f, "{values:?}")
            }
            Self::Flag(flag) => write!(f, "{flag}"),
        }
    }
}

impl Answer<'_> {
    /// Bytes that the answer hands to the guest: text and eight bytes for each entry of a list.
    pub fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Optional(text) => text.as_ref().map_or(0, |t| t.len()),
            Self::Texts(texts) => texts.iter().map(|t| t.len() + 8).sum(),
            Self::Values(values) => values.iter().map(|v| v.len() + 8).sum(),
            Self::Flag(_) => 1,
        }
    }
}

impl Circumstances {
    pub fn new(request: Arc<Request>) -> Self {
        let now = unix_seconds(request.arrived);
        Self {
            request,
            now,
            targets: None,
            facts: Vec::new(),
            dependences: Vec::new(),
            withholding: None,
        }
    }

    pub fn targets(&self) -> &[SitePath] {
        self.targets
            .as_deref()
            .unwrap_or(std::slice::from_ref(&self.request.path))
    }

    pub fn fact(&self, name: &str) -> Option<&str> {
        let established = self.facts.iter().find(|f| f.name == name).map(|f| f.value.as_str());
        established.or_else(|| {
            self.request
                .facts
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, value)| value.as_str())
        })
    }

    /// The answer to a question.
    pub fn answer(&self, question: &Question) -> Answer<'_> {
        let request = &*self.request;
        match question {
            Question::Method => Answer::Text(request.method.as_str().into()),
            Question::Path => Answer::Text(request.path.as_str().into()),
            Question::Targets => Answer::Texts(self.targets().iter().map(|t| t.as_str().into()).collect()),
            Question::Query => Answer::Optional(request.query.as_deref().map(Cow::from)),
            Question::QueryParameter(name) => Answer::Optional(parameters(request, name).next()),
            Question::QueryParameterValues(name) => Answer::Texts(parameters(request, name).collect()),
            Question::Header(name) => Answer::Optional(joined(request, name)),
            Question::HeaderValues(name) => Answer::Values(values(request, name).collect()),
            Question::Cookie(name) => Answer::Optional(cookie(request, name)),
            Question::Scheme => Answer::Text(request.scheme.into()),
            Question::Host => Answer::Text((*request.host).into()),
            Question::Site => Answer::Text((&*request.site).into()),
            Question::ClientAddress => Answer::Optional(request.client.map(|a| unmapped(a).to_string().into())),
            Question::ClientWithin(block) => Answer::Flag(request.client.is_some_and(|a| within(a, block))),
            Question::Fact(name) => Answer::Optional(self.fact(name).map(Cow::from)),
            Question::Before(moment) => Answer::Flag(self.now < *moment),
        }
    }
}

/// Whole seconds since 1970; a clock before that counts as 1970.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

fn unmapped(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// A block of IPv4-mapped addresses is the IPv4 block it maps, because clients are told apart in that form.
fn within(address: IpAddr, block: &IpNet) -> bool {
    let mapped = |net: &ipnet::Ipv6Net| {
        let address = net.network().to_ipv4_mapped()?;
        ipnet::Ipv4Net::new(address, net.prefix_len().checked_sub(96)?).ok()
    };
    match (block, unmapped(address)) {
        (IpNet::V6(net), IpAddr::V4(v4)) => {
            mapped(net).is_some_and(|net| net.contains(&v4)) || net.contains(&v4.to_ipv6_mapped())
        }
        (net, address) => net.contains(&address),
    }
}

/// The values of a query parameter, decoded as `application/x-www-form-urlencoded` (WHATWG URL, section 5.1).
fn parameters<'a>(request: &'a Request, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
    let query = request.query.as_deref().unwrap_or_default();
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .filter_map(move |pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (form_decoded(key) == name).then(|| form_decoded(value))
        })
}

pub(crate) fn form_decoded(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return Cow::Owned(percent_decode(spaced.as_bytes()).decode_utf8_lossy().into_owned());
    }
    percent_decode(text.as_bytes()).decode_utf8_lossy()
}

fn values<'a>(request: &'a Request, name: &FieldName) -> impl Iterator<Item = &'a [u8]> {
    let name = match name {
        FieldName::Valid(name) => Some(name),
        FieldName::Impossible(_) => None,
    };
    name.into_iter()
        .flat_map(|name| request.headers.get_all(name))
        .map(|value| value.as_bytes())
}

/// What is not UTF-8 becomes U+FFFD. Nearly everything is, and checking that is faster.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// RFC 9110, section 5.3; cookies are joined as RFC 6265, section 4.2.1 separates them.
fn joined<'a>(request: &'a Request, name: &FieldName) -> Option<Cow<'a, str>> {
    let mut all = values(request, name);
    let first = lossy(all.next()?);
    let separator = if *name == FieldName::Valid(header::COOKIE) {
        "; "
    } else {
        ", "
    };
    Some(all.fold(first, |joined, value| joined + separator + lossy(value)))
}

/// The first cookie of a name (RFC 6265, section 5.4), without the quotes that section 4.1.1 allows around its value.
fn cookie<'a>(request: &'a Request, name: &str) -> Option<Cow<'a, str>> {
    let pairs = request
        .headers
        .get_all(header::COOKIE)
        .into_iter()
        .flat_map(|v| v.as_bytes().split(|b| *b == b';'));
    pairs.map(|pair| pair.trim_ascii()).find_map(|pair| {
        let at = pair.iter().position(|b| *b == b'=')?;
        let (key, value) = (pair[..at].trim_ascii_end(), pair[at + 1..].trim_ascii_start());
        let bare = value
            .strip_prefix(b"\"")
            .and_then(|v| v.strip_suffix(b"\""))
            .unwrap_or(value);
        (key == name.as_bytes()).then(|| lossy(bare))
    })
}
