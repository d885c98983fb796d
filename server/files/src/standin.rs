//! Until the rules of HTTP are merged: entity tags and media types.
use crate::stat::Stat;
use http::HeaderValue;

pub(crate) fn entity_tag(stat: &Stat) -> HeaderValue {
    let modified = stat.modified;
    let tag = format!(
        "\"{:x}.{:x}-{:x}-{:x}\"",
        modified.seconds, modified.nanoseconds, stat.length, stat.identity.inode
    );
    HeaderValue::try_from(tag).expect("hexadecimal digits are visible ASCII")
}

pub(crate) fn content_type(name: &str) -> HeaderValue {
    let text = mime_guess::from_path(name).first_or_octet_stream().to_string();
    let text = if text.starts_with("text/") {
        text + "; charset=utf-8"
    } else {
        text
    };
    HeaderValue::try_from(text).expect("media types are visible ASCII")
}
