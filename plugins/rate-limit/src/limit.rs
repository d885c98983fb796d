//! One limit, and whom it counts.
use std::net::IpAddr;
use wasmserve_plugin::{Request, counters::Taken};

/// So many requests in so much time, for each of those it counts.
pub struct Limit {
    /// What the RateLimit fields and the buckets call it.
    pub name: String,
    pub by: By,
    /// At least one.
    pub prefixes: Vec<String>,
    pub requests: u64,
    /// Seconds, more than none.
    pub per: f64,
    /// The most that may come at once.
    pub capacity: u64,
}

/// Who is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// Everybody together.
    Site,
    Client,
    /// Whoever an earlier policy established; without the fact, the client.
    Fact(String),
    /// The value of a header field; without it, the client.
    Header(String),
}

/// How many bits of an address are one client.
#[derive(Clone, Copy, Debug)]
pub struct Grouping {
    pub ipv4: u8,
    pub ipv6: u8,
}

/// More of a header's value is not looked at: what is longer shares a bucket with what begins so.
const LONGEST_VALUE: usize = 256;

impl Limit {
    /// The bucket of whoever sent the request. What names it says of which kind it is, so that no header passes for an
    /// address.
    pub fn bucket(&self, request: &Request, grouping: Grouping) -> String {
        let client = || format!("client {}", client(request, grouping));
        let counted = match &self.by {
            By::Site => "site".to_owned(),
            By::Client => client(),
            By::Fact(name) => request.fact(name).map_or_else(client, |value| format!("fact {value}")),
            By::Header(name) => request.header(name).map_or_else(client, |mut value| {
                value.truncate(value.floor_char_boundary(LONGEST_VALUE));
                format!("header {value}")
            }),
        };
        format!("{} {counted}", self.name)
    }

    /// Tokens a second.
    pub fn refill(&self) -> f64 {
        self.requests as f64 / self.per
    }

    /// An item of RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10, section 3): what fits into the bucket, and the
    /// seconds in which it fills.
    pub fn policy(&self) -> String {
        // Multiplied first: a whole number of seconds stays one, where dividing by the tokens a second may end just above.
        let window = (self.capacity as f64 * self.per / self.requests as f64).ceil().max(1.0);
        format!("{:?};q={};w={window}", self.name, self.capacity)
    }

    /// An item of RateLimit (section 4): what is left, and the seconds until all of it is there again.
    pub fn left(&self, taken: &Taken) -> String {
        format!("{:?};r={};t={}", self.name, taken.remaining, seconds(taken.full_after))
    }
}

/// The client's address with all but the grouping's bits cleared. On a Unix socket all clients are one.
fn client(request: &Request, grouping: Grouping) -> String {
    let Some(address) = request.client_address() else {
        return "socket".to_owned();
    };
    match address.parse() {
        Ok(IpAddr::V4(address)) => {
            let kept = u32::MAX.checked_shl(32 - u32::from(grouping.ipv4)).unwrap_or(0);
            std::net::Ipv4Addr::from(u32::from(address) & kept).to_string()
        }
        Ok(IpAddr::V6(address)) => {
            let kept = u128::MAX.checked_shl(128 - u32::from(grouping.ipv6)).unwrap_or(0);
            std::net::Ipv6Addr::from(u128::from(address) & kept).to_string()
        }
        Err(_) => address,
    }
}

/// Whole seconds, rounded up.
pub fn seconds(milliseconds: u64) -> u64 {
    milliseconds.div_ceil(1000)
}
