//! Budgets of sites and clients as they are typed: what they may use of the server beside the processor time of policies.

use super::{
    ConfigErrors,
    document::Section,
    units::{exact_size, size},
};
use crate::limits::{ClientBudget, Rate, SiteBudget};
use ipnet::IpNet;
use std::{
    net::IpAddr,
    num::{NonZeroU32, NonZeroU64},
};
use toml::{Table, Value};

/// `[site.budget]`, the part that is about requests and bytes; the keys that were given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GivenTraffic {
    /// `connections`: connections at once whose last request was for the site; beyond, 503 with Retry-After. Default:
    /// `"unlimited"`.
    connections: Option<Option<NonZeroU32>>,
    /// `requests`: requests under way at once, until the last byte of the answer is sent; beyond, 503 with Retry-After.
    /// Default: `"unlimited"`.
    requests: Option<Option<NonZeroU32>>,
    /// `rate`: requests in a time, such as `"100/s"`, `"30/min"` or `"5/h"`; beyond, 503 with Retry-After. Default:
    /// `"unlimited"`.
    rate: Option<Option<Rate>>,
    /// `burst`: requests that may come at once within `rate`. Default: as many as come in a second.
    burst: Option<NonZeroU32>,
    /// `bandwidth`: bytes of content a second, such as `"10MiB/s"`; beyond, answers wait. Default: `"unlimited"`.
    bandwidth: Option<Option<NonZeroU64>>,
    /// `weight`: the site's part of the server's `bandwidth` when that is used up, beside the weights of the others that
    /// are sending. Default: `1`.
    weight: Option<NonZeroU32>,
}

/// `[server.client]`: what each client may do, whichever site it asks. A client is an IPv4 address or a /64 of IPv6.
#[derive(Debug)]
struct GivenClient {
    /// `connections`: connections at once; a further one is answered 429 with Retry-After and closed (under TLS: closed).
    /// Default: `"unlimited"`.
    connections: Option<NonZeroU32>,
    /// `requests`: requests under way at once, over all its connections, until the last byte of their answers is sent;
    /// beyond, 429 with Retry-After. Default: `"unlimited"`.
    requests: Option<NonZeroU32>,
    /// `rate`: requests in a time, such as `"50/s"`; beyond, 429 with Retry-After. Default: `"unlimited"`.
    rate: Option<Rate>,
    /// `burst`: requests that may come at once within `rate`. Default: as many as come in a second.
    burst: Option<NonZeroU32>,
    /// `exempt`: networks that none of this holds for, such as `["10.0.0.0/8", "192.0.2.7"]`: proxies in front, monitoring.
    /// Default: `[]`.
    exempt: Vec<IpNet>,
}

const UNLIMITED: &str = "unlimited";

// === impl GivenTraffic ===

impl GivenTraffic {
    /// Takes what it knows of `[site.budget]`.
    pub fn read(section: &mut Section<'_>, errors: &mut ConfigErrors) -> Self {
        Self {
            connections: limit(section, "connections", positive, errors),
            requests: limit(section, "requests", positive, errors),
            rate: limit(section, "rate", str::parse, errors),
            burst: count(section, "burst", errors),
            bandwidth: limit(section, "bandwidth", bandwidth, errors),
            weight: count(section, "weight", errors),
        }
    }

    /// These keys where they are given, the others from `base`.
    pub fn over(self, base: &Self) -> Self {
        Self {
            connections: self.connections.or(base.connections),
            requests: self.requests.or(base.requests),
            rate: self.rate.or(base.rate),
            burst: self.burst.or(base.burst),
            bandwidth: self.bandwidth.or(base.bandwidth),
            weight: self.weight.or(base.weight),
        }
    }

    pub fn resolve(&self) -> SiteBudget {
        let places = |limit: Option<NonZeroU32>| limit.map(|count| usize::try_from(count.get()).unwrap_or(usize::MAX));
        SiteBudget {
            connections: places(self.connections.flatten()),
            requests: places(self.requests.flatten()),
            rate: self.rate.flatten(),
            burst: self.burst,
            bandwidth: self.bandwidth.flatten(),
            weight: self.weight.unwrap_or(NonZeroU32::MIN),
        }
    }
}

/// Reads `[server.client]`.
pub fn client(mut section: Section<'_>, errors: &mut ConfigErrors) -> ClientBudget {
    let connections = limit(&mut section, "connections", positive, errors);
    let requests = limit(&mut section, "requests", positive, errors);
    let rate = limit(&mut section, "rate", str::parse, errors);
    let burst = count(&mut section, "burst", errors);
    let mut exempt = Vec::new();
    for text in section.strings("exempt", errors).unwrap_or_default() {
        let address = || text.value.parse::<IpAddr>().map(IpNet::from);
        match text.value.parse::<IpNet>().or_else(|_| address()) {
            Ok(network) => exempt.push(network),
            Err(_) => {
                let problem = format!(
                    "`exempt`: {:?} is not a network such as \"10.0.0.0/8\", nor an address",
                    text.value
                );
                errors.push(section.error_at(&text, problem));
            }
        }
    }
    section.finish(errors);
    let given = GivenClient {
        connections: connections.flatten(),
        requests: requests.flatten(),
        rate: rate.flatten(),
        burst,
        exempt,
    };
    ClientBudget {
        connections: given.connections,
        requests: given.requests,
        rate: given.rate,
        burst: given.burst,
        exempt: given.exempt,
    }
}

/// Bytes a second.
///
/// # Errors
/// What is wrong, in words for the one who typed it.
pub fn bandwidth(text: &str) -> Result<NonZeroU64, String> {
    let bytes = text
        .strip_suffix("/s")
        .ok_or_else(|| format!("{text:?} is not a bandwidth: a size and a unit of time, such as \"10MiB/s\""))?;
    NonZeroU64::new(size(bytes)?).ok_or_else(|| "must be more than nothing".into())
}

/// A limit, or `"unlimited"`.
pub fn limit<T>(
    section: &mut Section<'_>,
    key: &'static str,
    parse: impl FnOnce(&str) -> Result<T, String>,
    errors: &mut ConfigErrors,
) -> Option<Option<T>> {
    let typed = section.word(key, errors)?;
    if typed.value == UNLIMITED {
        return Some(None);
    }
    match parse(&typed.value) {
        Ok(value) => Some(Some(value)),
        Err(problem) => {
            errors.push(section.error_at(&typed, format!("`{key}`: {problem}")));
            None
        }
    }
}

fn positive(text: &str) -> Result<NonZeroU32, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a whole number, 1 or more, or \"unlimited\""))
}

fn count(section: &mut Section<'_>, key: &'static str, errors: &mut ConfigErrors) -> Option<NonZeroU32> {
    let count = section.count(key, errors)?;
    Some(
        u32::try_from(count)
            .ok()
            .and_then(NonZeroU32::new)
            .unwrap_or(NonZeroU32::MAX),
    )
}

// === Printing ===

/// The keys of a site's budget, as they are typed.
pub fn print_site(budget: &SiteBudget) -> Table {
    let SiteBudget {
        connections,
        requests,
        rate,
        burst,
        bandwidth,
        weight,
    } = budget;
    let mut table = Table::from_iter([
        ("connections".to_owned(), number(*connections)),
        ("requests".to_owned(), number(*requests)),
        ("rate".to_owned(), text(*rate)),
        ("bandwidth".to_owned(), print_bandwidth(*bandwidth)),
        ("weight".to_owned(), i64::from(weight.get()).into()),
    ]);
    table.extend(burst.map(|burst| ("burst".to_owned(), i64::from(burst.get()).into())));
    table
}

/// `[server.client]`, as it is typed.
pub fn print_client(budget: &ClientBudget) -> Table {
    let ClientBudget {
        connections,
        requests,
        rate,
        burst,
        exempt,
    } = budget;
    let exempt: Vec<Value> = exempt.iter().map(|network| network.to_string().into()).collect();
    let mut table = Table::from_iter([
        (
            "connections".to_owned(),
            number(connections.map(|count| count.get() as usize)),
        ),
        (
            "requests".to_owned(),
            number(requests.map(|count| count.get() as usize)),
        ),
        ("rate".to_owned(), text(*rate)),
        ("exempt".to_owned(), exempt.into()),
    ]);
    table.extend(burst.map(|burst| ("burst".to_owned(), i64::from(burst.get()).into())));
    table
}

/// As it is typed.
pub fn print_bandwidth(bandwidth: Option<NonZeroU64>) -> Value {
    bandwidth.map_or_else(
        || UNLIMITED.into(),
        |bytes| format!("{}/s", exact_size(bytes.get())).into(),
    )
}

fn number(limit: Option<usize>) -> Value {
    limit.map_or_else(
        || UNLIMITED.into(),
        |count| i64::try_from(count).unwrap_or(i64::MAX).into(),
    )
}

fn text(limit: Option<impl ToString>) -> Value {
    limit.map_or_else(|| UNLIMITED.into(), |limit| limit.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidths() {
        for (text, expected) in [
            ("10MiB/s", Some(10 << 20)),
            ("1kB/s", Some(1000)),
            ("10MiB", None),
            ("10/s", None),
            ("0B/s", None),
            ("fast", None),
        ] {
            assert_eq!(bandwidth(text).ok().map(NonZeroU64::get), expected, "{text}");
        }
    }
}
