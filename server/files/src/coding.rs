//! Content codings, and which of them a client wants (RFC 9110, sections 8.4.1 and 12.5.3).
use crate::fields;
use http::{HeaderMap, header};

/// How the bytes that are sent stand to the file's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    Brotli,
    Zstd,
    Gzip,
    /// The bytes themselves.
    Identity,
}

impl Coding {
    /// All codings, the server's favourite first: the order among equals for the client.
    pub const ALL: [Self; 4] = [Self::Brotli, Self::Zstd, Self::Gzip, Self::Identity];

    /// The name of the coding in Accept-Encoding and Content-Encoding.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Identity => "identity",
        }
    }

    /// What is added to a file's name for its sibling in this coding; nothing for identity.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
            Self::Identity => "",
        }
    }

    fn named(token: &[u8]) -> Option<Self> {
        // "A recipient SHOULD consider x-gzip to be equivalent to gzip" (section 8.4.1.3). Names are case-insensitive.
        if token.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL
            .into_iter()
            .find(|coding| token.eq_ignore_ascii_case(coding.token().as_bytes()))
    }
}

/// The codings a client accepts, most wanted first: the first that exists is to be sent.
///
/// Without `Identity` in it, the file's own bytes are refused by the client; when a resource has coded variants and none
/// of the list exists, the answer is 406. A resource that has no coded variant is not negotiated: its own bytes are sent
/// whatever the client says (section 12.1 leaves that to the server), so that a picture stays reachable for a client that
/// insists on gzip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preferences {
    codings: [Coding; Coding::ALL.len()],
    count: usize,
}

impl Preferences {
    pub fn as_slice(&self) -> &[Coding] {
        &self.codings[..self.count]
    }

    /// Whether the file's own bytes may be sent.
    pub fn accepts_identity(&self) -> bool {
        self.as_slice().contains(&Coding::Identity)
    }
}

/// Ranks the codings of `available`, and identity, which always is, by a request's Accept-Encoding.
///
/// Higher q-values first; at equal ones a coding before identity and the order of [`Coding::ALL`]. Identity that is not
/// mentioned, neither by name nor by `*`, is acceptable and comes last. Without the field, or with an empty one, only
/// identity is given: most clients that do not send it cannot decode anything. An element that is malformed is passed
/// over; of two for one coding the first counts.
pub fn preferences(headers: &HeaderMap, available: &[Coding]) -> Preferences {
    let mut ranked = Preferences {
        codings: [Coding::Identity; Coding::ALL.len()],
        count: 1,
    };
    let Some(field) = fields::combined(headers, &header::ACCEPT_ENCODING) else {
        return ranked;
    };
    let accepted = Accepted::read(&field);
    let mut weighed: [(Coding, Weight); Coding::ALL.len()] =
        Coding::ALL.map(|coding| (coding, accepted.weight(coding)));
    // The sort is stable, so that equals keep the server's order.
    weighed.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    ranked.count = 0;
    for (coding, weight) in weighed {
        if weight != Weight::REFUSED && (coding == Coding::Identity || available.contains(&coding)) {
            ranked.codings[ranked.count] = coding;
            ranked.count += 1;
        }
    }
    ranked
}

/// A q-value in thousandths (section 12.4.2), shifted so that identity that nobody mentioned finds a place between
/// "refused" and the smallest weight that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Weight(u16);

impl Weight {
    pub(crate) const REFUSED: Self = Self(0);
    const UNMENTIONED: Self = Self(1);
    /// What is named without a q-value.
    pub(crate) const FULL: Self = Self(1001);

    /// `0`, `1`, `0.5`, `1.000`: at most three digits, none above one.
    fn parse(text: &[u8]) -> Option<Self> {
        let (whole, digits) = match text {
            [whole] | [whole, b'.'] => (whole, &[][..]),
            [whole, b'.', digits @ ..] if digits.len() <= 3 => (whole, digits),
            _ => return None,
        };
        if !matches!(whole, b'0' | b'1') || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let fraction = (0..3).fold(0, |sum, i| sum * 10 + u16::from(digits.get(i).map_or(0, |d| d - b'0')));
        let thousandths = u16::from(whole - b'0') * 1000 + fraction;
        match thousandths {
            0 => Some(Self::REFUSED),
            1..=1000 => Some(Self(thousandths + 1)),
            _ => None,
        }
    }
}

/// What an Accept-Encoding field says of each coding.
#[derive(Default)]
struct Accepted {
    named: [Option<Weight>; Coding::ALL.len()],
    any: Option<Weight>,
}

impl Accepted {
    fn read(field: &[u8]) -> Self {
        let mut accepted = Self::default();
        for element in fields::elements(field) {
            let (token, weight) = match element.iter().position(|b| *b == b';') {
                None => (element, Some(Weight::FULL)),
                Some(semicolon) => (fields::trim(&element[..semicolon]), q_value(&element[semicolon + 1..])),
            };
            let Some(weight) = weight else { continue };
            let place = if token == b"*" {
                &mut accepted.any
            } else if let Some(coding) = Coding::named(token) {
                &mut accepted.named[coding as usize]
            } else {
                continue;
            };
            place.get_or_insert(weight);
        }
        accepted
    }

    fn weight(&self, coding: Coding) -> Weight {
        let unmentioned = if coding == Coding::Identity {
            Weight::UNMENTIONED
        } else {
            Weight::REFUSED
        };
        self.named[coding as usize].or(self.any).unwrap_or(unmentioned)
    }
}

/// The weight of an element, from what follows its semicolon: `q=` in either case and a q-value.
pub(crate) fn q_value(parameter: &[u8]) -> Option<Weight> {
    match fields::trim(parameter) {
        [b'q' | b'Q', b'=', value @ ..] => Weight::parse(value),
        _ => None,
    }
}
