//! Several ranges in one body: the framing of `multipart/byteranges` (RFC 9110, section 14.6; RFC 2046, section 5.1).
use crate::Representation;
use crate::range::ByteRange;
use bytes::Bytes;
use http::HeaderValue;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// The line that separates parts: 32 hexadecimal digits.
///
/// Nobody can write it into a file ahead of time: it is hashed with a key of this process from the validators and ranges
/// it is used with, so that a file whose bytes were chosen after seeing one gets another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary(String);

impl Boundary {
    pub fn new(representation: &Representation, ranges: &[ByteRange]) -> Self {
        static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(|| [RandomState::new(), RandomState::new()]);
        let ranges: Vec<(u64, u64)> = ranges.iter().map(|range| (range.first, range.last)).collect();
        let [high, low] = [0, 1].map(|i| KEYS[i].hash_one((representation.etag.as_bytes(), &ranges)));
        Self(format!("{high:016x}{low:016x}"))
    }

    /// The Content-Type of the whole body.
    pub fn content_type(&self) -> HeaderValue {
        HeaderValue::try_from(format!("multipart/byteranges; boundary={}", self.0))
            .expect("hexadecimal digits are visible ASCII")
    }

    /// What stands before the bytes of each range, in order. The Content-Encoding of a coded variant belongs to the bytes
    /// of the parts; in the head of the answer it would say that the framing was coded too.
    pub fn frames<'a>(
        &'a self,
        representation: &'a Representation,
        ranges: &'a [ByteRange],
    ) -> impl Iterator<Item = Bytes> + 'a {
        ranges.iter().enumerate().map(move |(index, range)| {
            let mut frame = Vec::with_capacity(160);
            let mut push = |pieces: &[&[u8]]| pieces.iter().for_each(|piece| frame.extend_from_slice(piece));
            // The line break before a separator belongs to the separator (RFC 2046, section 5.1.1).
            push(&[if index == 0 { b"--" } else { b"\r\n--" }, self.0.as_bytes()]);
            push(&[b"\r\nContent-Type: ", representation.content_type.as_bytes()]);
            if let Some(coding) = representation.coding {
                push(&[b"\r\nContent-Encoding: ", coding.as_bytes()]);
            }
            push(&[
                b"\r\nContent-Range: ",
                range.content_range(representation.length).as_bytes(),
                b"\r\n\r\n",
            ]);
            Bytes::from(frame)
        })
    }

    /// What ends the body.
    pub fn end(&self) -> Bytes {
        Bytes::from(format!("\r\n--{}--\r\n", self.0))
    }
}
