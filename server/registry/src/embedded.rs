//! The manifest that travels within a plugin: a custom section of the WebAssembly file holds the text of `plugin.toml`.
//!
//! So one digest pins it and one signature covers it, whatever the plugin travels by. Components and core modules frame
//! their sections alike (WebAssembly core specification, "Modules"; component model, Binary.md), and runtimes pass over
//! custom sections that they do not know.

use std::ops::Range;
use wasmparser::BinaryReader;

/// The name of the section.
pub const SECTION: &str = "wasmserve:plugin";

/// No manifest is longer.
pub const LONGEST: usize = 64 << 10;

/// Magic, version and layer.
const PREAMBLE: usize = 8;

/// The number of a custom section.
const CUSTOM: u8 = 0;

/// A section of the file's top level.
struct Section<'a> {
    /// With its number and length.
    whole: Range<usize>,
    /// The name and what follows it, of a custom one.
    custom: Option<(&'a str, &'a [u8])>,
}

/// The text of the manifest within a plugin, if there is one.
///
/// # Errors
/// When the file is not WebAssembly as far as it was read, or holds several or a text that is none.
pub fn manifest(wasm: &[u8]) -> Result<Option<&str>, String> {
    let sections = sections(wasm)?;
    let mut found = sections
        .iter()
        .filter_map(|section| section.custom.filter(|(name, _)| *name == SECTION));
    let Some((_, text)) = found.next() else {
        return Ok(None);
    };
    if found.next().is_some() {
        return Err(format!(
            "has several sections {SECTION:?}: nobody knows which manifest is meant"
        ));
    }
    if text.len() > LONGEST {
        return Err(format!("has a manifest of more than {LONGEST} bytes"));
    }
    match str::from_utf8(text) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err("has a manifest that is not UTF-8".into()),
    }
}

/// The plugin with this manifest in place of any other.
///
/// # Errors
/// When the file is not WebAssembly.
pub fn embed(wasm: &[u8], manifest: &str) -> Result<Vec<u8>, String> {
    if manifest.len() > LONGEST {
        return Err(format!("has a manifest of more than {LONGEST} bytes"));
    }
    let sections = sections(wasm)?;
    let mut with = wasm[..PREAMBLE].to_vec();
    let is_ours = |section: &&Section<'_>| section.custom.is_none_or(|(name, _)| name != SECTION);
    for section in sections.iter().filter(is_ours) {
        with.extend_from_slice(&wasm[section.whole.clone()]);
    }
    let mut content = Vec::with_capacity(manifest.len() + SECTION.len() + 5);
    write_length(&mut content, SECTION.len());
    content.extend_from_slice(SECTION.as_bytes());
    content.extend_from_slice(manifest.as_bytes());
    with.push(CUSTOM);
    write_length(&mut with, content.len());
    with.append(&mut content);
    Ok(with)
}

fn sections(wasm: &[u8]) -> Result<Vec<Section<'_>>, String> {
    if !wasm.starts_with(b"\0asm") || wasm.len() < PREAMBLE {
        return Err("is not WebAssembly".into());
    }
    let framed = || {
        let mut reader = BinaryReader::new(&wasm[PREAMBLE..], PREAMBLE);
        let mut sections = Vec::new();
        while !reader.eof() {
            let start = reader.original_position();
            let number = reader.read_u8()?;
            let length = reader.read_var_u32()? as usize;
            let content = reader.read_bytes(length)?;
            let custom = match number {
                CUSTOM => {
                    let mut content = BinaryReader::new(content, 0);
                    let name = content.read_string()?;
                    let rest = content.bytes_remaining();
                    Some((name, content.read_bytes(rest)?))
                }
                _ => None,
            };
            sections.push(Section {
                whole: start..reader.original_position(),
                custom,
            });
        }
        Ok(sections)
    };
    framed().map_err(|error: wasmparser::BinaryReaderError| format!("is not whole WebAssembly: {}", error.message()))
}

/// A length as LEB128. Lengths here fit 32 bits: what is embedded is bounded.
fn write_length(bytes: &mut Vec<u8>, mut length: usize) {
    loop {
        // The lowest seven bits.
        let low = (length & 0x7f) as u8;
        length >>= 7;
        if length == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &[u8] = b"\0asm\x01\0\0\0";
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn a_manifest_travels_within() {
        for wasm in [EMPTY, COMPONENT] {
            assert_eq!(manifest(wasm), Ok(None));
            let long = "x".repeat(LONGEST);
            for text in ["", "name = \"ä\"\n", &long] {
                let with = embed(wasm, text).unwrap();
                assert_eq!(manifest(&with), Ok(Some(text)));
                // In place of the one before, and nothing else is touched.
                let again = embed(&with, "other").unwrap();
                assert_eq!(manifest(&again), Ok(Some("other")));
                assert_eq!(again.len(), embed(wasm, "other").unwrap().len());
            }
            assert!(embed(wasm, &"x".repeat(LONGEST + 1)).is_err());
        }
    }

    #[test]
    fn other_sections_stay() {
        let mut wasm = EMPTY.to_vec();
        wasm.extend_from_slice(b"\0\x05\x04name\x01\x01\0");
        let with = embed(&wasm, "m").unwrap();
        assert!(with.starts_with(&wasm));
    }

    #[test]
    fn two_manifests_are_none() {
        let one = embed(EMPTY, "a").unwrap();
        let two = [&one[..], &one[EMPTY.len()..]].concat();
        assert!(manifest(&two).unwrap_err().contains("several"));
    }

    #[test]
    fn whatever_is_cut_or_changed_is_an_error_or_a_text() {
        let whole = embed(COMPONENT, "name = \"a\"").unwrap();
        for end in 0..whole.len() {
            let cut = manifest(&whole[..end]);
            assert!(
                cut.is_err() || (end == COMPONENT.len() && cut == Ok(None)),
                "{end}: {cut:?}"
            );
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                // Whatever it says, it says it.
                let _ = manifest(&changed);
                let _ = embed(&changed, "m");
            }
        }
        let mut lying = EMPTY.to_vec();
        lying.extend_from_slice(b"\0\xff\xff\xff\xff\x0f");
        assert!(manifest(&lying).is_err());
    }
}
