//! What an artifact's manifest says (OCI image specification, "Image Manifest"), in the layout of the CNCF's technical
//! advisory group Runtime for WebAssembly: a configuration of the type [`CONFIG`] and a single layer of the type [`LAYER`].

use crate::{digest::Digest, signature};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The type of the manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The type of a list of manifests, which is asked for so that it can be told from what is wanted.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The type of the configuration.
pub const CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// The type of the plugin itself.
pub const LAYER: &str = "application/wasm";

/// Types that tools used before there was a common one.
const OLDER_LAYERS: [&str; 2] = [
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.module.wasm.content.layer.v1+wasm",
];

/// The annotation that says what something is called.
const TITLE: &str = "org.opencontainers.image.title";

/// No manifest is longer: registries need not take longer ones (distribution specification, "Pushing Manifests").
pub const LONGEST: u64 = 4 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// What an artifact is, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub plugin: Digest,
    pub size: u64,
    pub signature: Option<String>,
}

/// What is said of a plugin that is published.
#[derive(Clone, Debug, Default)]
pub struct Description {
    /// What it imports and exports, as the component model names them.
    pub imports: Vec<String>,
    pub exports: Vec<String>,
    pub title: Option<String>,
    pub version: Option<String>,
    pub description: Option<String>,
    /// A signature of minisign of the plugin.
    pub signature: Option<String>,
}

/// What is sent to a registry, beside the plugin.
pub struct Documents {
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
}

/// Reads a manifest.
///
/// # Errors
/// Why it is not that of a plugin, to follow the name of the artifact.
pub fn read(bytes: &[u8]) -> Result<Content, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let no_manifest = |error: serde_json::Error| format!("has a manifest that cannot be read: {error}");
    let kind: Kind = serde_json::from_slice(bytes).map_err(no_manifest)?;
    if kind.manifests.is_some() || kind.media_type.as_deref() == Some(INDEX) {
        return Err("is a list of several artifacts: name one of them by its digest".into());
    }
    if let Some(other) = kind.media_type.filter(|kind| kind != MANIFEST) {
        return Err(format!("has a manifest of the type {other:?}, not {MANIFEST}"));
    }
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(no_manifest)?;
    if manifest.schema_version != 2 {
        return Err(format!("has a manifest of version {}, not 2", manifest.schema_version));
    }
    let [layer] = &manifest.layers[..] else {
        return Err(format!(
            "has {} layers: a plugin is a single one",
            manifest.layers.len()
        ));
    };
    if layer.media_type != LAYER && !OLDER_LAYERS.contains(&&*layer.media_type) {
        return Err(format!("holds {:?}, not {LAYER}: it is no plugin", layer.media_type));
    }
    Ok(Content {
        plugin: layer.digest.parse()?,
        size: layer.size,
        signature: manifest.annotations.get(signature::ANNOTATION).cloned(),
    })
}

/// Writes the configuration and the manifest of a plugin. The same plugin always makes the same.
pub fn write(plugin: &[u8], said: &Description) -> Documents {
    let plugin_digest = Digest::of(plugin).to_string();
    // "Wasm OCI Artifact Layout", version 0 of the configuration.
    let config = serde_json::json!({
        // Reproducible: what is the same has the same digest.
        "created": "1970-01-01T00:00:00Z",
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [plugin_digest],
        "component": { "imports": said.imports, "exports": said.exports, "target": null },
    });
    let config = config.to_string().into_bytes();
    let annotations = [
        (TITLE, &said.title),
        ("org.opencontainers.image.version", &said.version),
        ("org.opencontainers.image.description", &said.description),
        (signature::ANNOTATION, &said.signature),
    ];
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(MANIFEST.to_owned()),
        config: Descriptor {
            media_type: CONFIG.to_owned(),
            digest: Digest::of(&config).to_string(),
            size: config.len() as u64,
            annotations: BTreeMap::new(),
        },
        layers: vec![Descriptor {
            media_type: LAYER.to_owned(),
            digest: plugin_digest,
            size: plugin.len() as u64,
            // The name of the file that oras makes of it; without one it makes none.
            annotations: said
                .title
                .iter()
                .map(|name| (TITLE.to_owned(), format!("{name}.wasm")))
                .collect(),
        }],
        annotations: annotations
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)))
            .collect(),
    };
    let manifest = serde_json::to_vec(&manifest).expect("texts and numbers are always JSON");
    Documents { config, manifest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let said = Description {
            title: Some("guard".into()),
            signature: Some("a\nb\n".into()),
            ..Description::default()
        };
        let documents = write(b"plugin", &said);
        let content = read(&documents.manifest).unwrap();
        assert_eq!((content.plugin, content.size), (Digest::of(b"plugin"), 6));
        assert_eq!(content.signature.as_deref(), Some("a\nb\n"));
        assert_eq!(
            write(b"plugin", &said).manifest,
            documents.manifest,
            "the same is the same"
        );
        let config: serde_json::Value = serde_json::from_slice(&documents.config).unwrap();
        assert_eq!(config["layerDigests"][0], Digest::of(b"plugin").to_string());
        assert_eq!(
            (&config["architecture"], &config["os"]),
            (&"wasm".into(), &"wasip2".into())
        );
    }

    #[test]
    fn what_is_no_plugin_is_said() {
        let good = String::from_utf8(write(b"plugin", &Description::default()).manifest).unwrap();
        let layer = &good[good.find("\"layers\":[").unwrap() + 10..good.find(']').unwrap()];
        for (text, says) in [
            ("", "cannot be read"),
            ("[]", "cannot be read"),
            ("{}", "cannot be read"),
            (r#"{"schemaVersion":2,"manifests":[]}"#, "list of several"),
            (&good.replace(MANIFEST, INDEX), "list of several"),
            (&good.replace(MANIFEST, "application/json"), "of the type"),
            (&good.replace("schemaVersion\":2", "schemaVersion\":1"), "version 1"),
            (
                &good.replace(LAYER, "application/vnd.oci.image.layer.v1.tar+gzip"),
                "no plugin",
            ),
            (&good.replace(layer, ""), "0 layers"),
            (&good.replace(layer, &format!("{layer},{layer}")), "2 layers"),
            (&good.replace("sha256:", "sha512:"), "no digest"),
        ] {
            let said = read(text.as_bytes()).unwrap_err();
            assert!(said.contains(says), "{says}: {said}");
        }
        // The type may be left out of the manifest, and an older one of the layer is understood.
        let older = good
            .replace(&format!("\"mediaType\":\"{MANIFEST}\","), "")
            .replace(LAYER, OLDER_LAYERS[0]);
        assert!(read(older.as_bytes()).is_ok(), "{older}");
    }
}
