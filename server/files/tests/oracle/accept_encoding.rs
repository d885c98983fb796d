//! Accept-Encoding: a table of all that was said, asked for each coding (RFC 9110, section 12.5.3).
use super::input::Input;
use http::{HeaderMap, HeaderValue, header};
use wasmserve_files::{Coding, preferences};

const WORDS: &[&str] = &[
    "gzip", "x-gzip", "br", "zstd", "identity", "*", ",", ",", ", ", ";q=", ";q=", "; Q=", " ; q=", "0", "1", "0.5",
    "0.501", "0.001", "0.", "1.0", "1.000", "1.001", "0.1234", "2", "deflate", "GZIP", "Br", ";", "q", "=", " ", "\t",
    ".5", ";level=1",
];

/// The server's own order.
const SERVED: [(&str, Coding); 4] = [
    ("br", Coding::Brotli),
    ("zstd", Coding::Zstd),
    ("gzip", Coding::Gzip),
    ("identity", Coding::Identity),
];

/// `qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )`, in thousandths.
fn qvalue(text: &str) -> Option<u32> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{digits:0<3}");
    if digits.len() > 3 || !digits.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    match (whole, &*digits) {
        ("0", digits) => digits.parse().ok(),
        ("1", "000") => Some(1000),
        _ => None,
    }
}

/// Coding and weight of every well-formed element.
fn said(field: &str) -> Vec<(String, u32)> {
    let white = [' ', '\t'];
    let mut said = Vec::new();
    for element in field.split(',') {
        let mut pieces = element.splitn(2, ';');
        let coding = pieces
            .next()
            .unwrap_or_default()
            .trim_matches(white)
            .to_ascii_lowercase();
        let weight = match pieces
            .next()
            .map(|weight| weight.trim_matches(white).to_ascii_lowercase())
        {
            None => Some(1000),
            Some(weight) => weight.strip_prefix("q=").and_then(qvalue),
        };
        if let Some(weight) = weight {
            said.push((if coding == "x-gzip" { "gzip".to_owned() } else { coding }, weight));
        }
    }
    said
}

pub fn read(fields: &[String], available: &[Coding]) -> Vec<Coding> {
    if fields.is_empty() {
        return vec![Coding::Identity];
    }
    let said = said(&fields.join(", "));
    let weight_of = |name: &str| {
        said.iter()
            .find(|(coding, _)| coding == name)
            .map(|(_, weight)| *weight)
    };
    let mut ranking = Vec::new();
    // From the most wanted to the least that can be said; "0" is never reached.
    for wanted in (1..=1000).rev() {
        for (name, coding) in SERVED {
            if weight_of(name).or(weight_of("*")) == Some(wanted)
                && (coding == Coding::Identity || available.contains(&coding))
            {
                ranking.push(coding);
            }
        }
    }
    if weight_of("identity").or(weight_of("*")).is_none() {
        ranking.push(Coding::Identity);
    }
    ranking
}

fn element(input: &mut Input<'_>) -> String {
    let coding = input.one_of(&["gzip", "br", "zstd", "identity", "*", "x-gzip", "deflate", "GZip"]);
    let weight = input.one_of(&[
        "",
        ";q=0",
        ";q=1",
        ";q=0.5",
        "; q=0.501",
        " ;Q=0.001",
        ";q=0.",
        ";q=1.000",
        ";q=2",
    ]);
    format!("{coding}{weight}")
}

pub fn check(data: &[u8]) -> &'static str {
    let mut input = Input::new(data);
    let available: Vec<Coding> = Coding::ALL.into_iter().filter(|_| input.below(4) > 0).collect();
    let mut fields = Vec::new();
    let mut headers = HeaderMap::new();
    for _ in 0..input.below(3) {
        let field = input.list(WORDS, 6, element);
        let value = HeaderValue::from_bytes(field.as_bytes()).expect("a field value");
        headers.append(header::ACCEPT_ENCODING, value);
        fields.push(field);
    }
    let expected = read(&fields, &available);
    let ranked = preferences(&headers, &available);
    assert_eq!(ranked.as_slice(), expected, "{fields:?} among {available:?}");
    assert_eq!(ranked.accepts_identity(), expected.contains(&Coding::Identity));
    expected.first().map_or("nothing", |coding| coding.token())
}
