//! Media types by file name (RFC 9110, section 8.3).
use http::HeaderValue;
use std::collections::HashMap;

/// The type of every file name: the operator's overrides, then what the field has agreed on.
#[derive(Clone, Debug, PartialEq)]
pub struct MediaTypes {
    /// By extension without its dot, in lower case; may hold dots (`tar.gz`).
    overrides: HashMap<String, HeaderValue>,
    default: HeaderValue,
}

/// An override that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaTypeError {
    #[error("\"{0}\" is not an extension: give it without a leading dot and without a slash")]
    Extension(String),
    #[error("\"{0}\" is not a media type such as \"text/html\" or \"text/html; charset=utf-8\"")]
    Type(String),
}

/// What the list of `mime_guess` 2.0 lacks or has from before the field agreed otherwise (IANA's registry; RFC 9239 for
/// JavaScript, RFC 8081 for fonts, RFC 8216 for HLS, ECMA-426 for source maps), and sources that people read in a browser.
const CORRECTIONS: &[(&str, &str)] = &[
    ("cjs", "text/javascript"),
    ("cur", "image/x-icon"),
    ("deb", "application/vnd.debian.binary-package"),
    ("diff", "text/x-diff"),
    ("go", "text/plain"),
    ("ipynb", "application/x-ipynb+json"),
    ("java", "text/plain"),
    ("jsonl", "application/x-ndjson"),
    ("kt", "text/plain"),
    ("lz4", "application/x-lz4"),
    ("m2ts", "video/mp2t"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("m4a", "audio/mp4"),
    ("map", "application/json"),
    ("mjs", "text/javascript"),
    ("mts", "video/mp2t"),
    ("ndjson", "application/x-ndjson"),
    ("obj", "model/obj"),
    ("otf", "font/otf"),
    ("patch", "text/x-diff"),
    ("rb", "text/plain"),
    ("rpm", "application/x-rpm"),
    ("sqlite", "application/vnd.sqlite3"),
    ("stl", "model/stl"),
    ("swift", "text/plain"),
    ("tgz", "application/gzip"),
    ("ts", "video/mp2t"),
    ("tsx", "text/plain"),
    ("usdz", "model/vnd.usdz+zip"),
    ("vcf", "text/vcard"),
    ("woff", "font/woff"),
    ("zig", "text/plain"),
    ("zst", "application/zstd"),
];

impl Default for MediaTypes {
    fn default() -> Self {
        Self {
            overrides: HashMap::new(),
            default: HeaderValue::from_static("application/octet-stream"),
        }
    }
}

impl MediaTypes {
    /// `overrides`: extension (`md`, `tar.gz`; any case) and type. `default`: what a name without a known extension is;
    /// `application/octet-stream` when `None`.
    pub fn new<'a>(
        overrides: impl IntoIterator<Item = (&'a str, &'a str)>,
        default: Option<&str>,
    ) -> Result<Self, MediaTypeError> {
        let mut types = Self::default();
        for (extension, media_type) in overrides {
            if extension.is_empty() || extension.starts_with('.') || extension.contains('/') {
                return Err(MediaTypeError::Extension(extension.to_owned()));
            }
            types
                .overrides
                .insert(extension.to_ascii_lowercase(), parse(media_type)?);
        }
        if let Some(default) = default {
            types.default = parse(default)?;
        }
        Ok(types)
    }

    /// The operator's overrides: extension and type.
    pub fn overrides(&self) -> impl Iterator<Item = (&str, &str)> {
        let overrides = self.overrides.iter();
        overrides.map(|(extension, media_type)| (extension.as_str(), text(media_type)))
    }

    /// What a name without a known extension is.
    pub fn default_type(&self) -> &str {
        text(&self.default)
    }

    /// The Content-Type of a file called `name`: its last segment, without the suffix of a coding.
    ///
    /// The longest known extension counts, so that an override for `tar.gz` goes before one for `gz`.
    pub fn of(&self, name: &str) -> HeaderValue {
        // A leading dot hides a file; it begins no extension.
        let name = name.strip_prefix('.').unwrap_or(name).to_ascii_lowercase();
        let extensions = || name.match_indices('.').map(|(dot, _)| &name[dot + 1..]);
        if let Some(chosen) = extensions().find_map(|extension| self.overrides.get(extension)) {
            return chosen.clone();
        }
        let Some(extension) = extensions().next_back() else {
            return self.default.clone();
        };
        let corrected = CORRECTIONS
            .iter()
            .find(|(of, _)| *of == extension)
            .map(|(_, media_type)| *media_type);
        match corrected.or_else(|| mime_guess::from_ext(extension).first_raw()) {
            Some(media_type) => with_charset(media_type),
            None => self.default.clone(),
        }
    }
}

fn text(media_type: &HeaderValue) -> &str {
    std::str::from_utf8(media_type.as_bytes()).expect("it was made from text")
}

fn parse(media_type: &str) -> Result<HeaderValue, MediaTypeError> {
    let refused = || MediaTypeError::Type(media_type.to_owned());
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let (kind, subtype) = essence.split_once('/').ok_or_else(refused)?;
    let is_token = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    if !is_token(kind) || !is_token(subtype) {
        return Err(refused());
    }
    if essence.len() == media_type.trim().len() {
        return Ok(with_charset(essence));
    }
    HeaderValue::try_from(media_type.trim()).map_err(|_| refused())
}

/// Adds `charset=utf-8` to types that are text: what files are written in today, and what clients would otherwise guess.
fn with_charset(essence: &str) -> HeaderValue {
    let lower = essence.to_ascii_lowercase();
    let is_text = lower.starts_with("text/")
        || lower.ends_with("+json")
        || lower.ends_with("+xml")
        || ["application/json", "application/javascript", "application/xml"].contains(&&*lower);
    let value = if is_text {
        format!("{essence}; charset=utf-8")
    } else {
        essence.to_owned()
    };
    HeaderValue::try_from(value).expect("media types are tokens and a slash")
}
