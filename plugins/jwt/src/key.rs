//! Keys, each bound to its algorithm (RFC 7518, section 3; RFC 8037): a token cannot choose another for it.
use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::pkcs8::DecodePublicKey as _;
use hmac::{Hmac, KeyInit, Mac};
use p256::ecdsa::signature::Verifier;
use rsa::{BigUint, Pkcs1v15Sign, RsaPublicKey, traits::PublicKeyParts};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// A key and what tokens call it.
pub struct Key {
    /// `kid`
    pub id: Option<String>,
    material: Material,
}

enum Material {
    Hs256(Vec<u8>),
    Rs256(Box<RsaPublicKey>),
    Es256(p256::ecdsa::VerifyingKey),
    EdDsa(ed25519_dalek::VerifyingKey),
}

/// A key as an operator writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenKey {
    algorithm: String,
    id: Option<String>,
    secret: Option<String>,
    pem: Option<String>,
}

/// A set of keys as a service publishes it (RFC 7517, section 5).
#[derive(Deserialize)]
pub struct JwkSet {
    pub keys: Vec<Jwk>,
}

/// A key of a set. Members that are not known here are ignored, as section 4 of RFC 7517 has it.
#[derive(Deserialize)]
pub struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

/// The shortest HS256 secret (RFC 7518, section 3.2).
const SHORTEST_SECRET: usize = 32;

/// The fewest bits of an RSA key (RFC 7518, section 3.3).
const SHORTEST_RSA: usize = 2048;

/// What stands before a SHA-256 digest in an RSA signature (RFC 8017, section 9.2, note 1).
const SHA_256: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20,
];

impl Key {
    /// A key of the configuration.
    ///
    /// # Errors
    /// What is wrong with it, without secrets.
    pub fn written(written: WrittenKey) -> Result<Self, String> {
        let WrittenKey {
            algorithm,
            id,
            secret,
            pem,
        } = written;
        let material = match (algorithm.as_str(), secret, pem) {
            ("HS256", Some(secret), None) => hs256(secret.into_bytes())?,
            ("HS256", ..) => return Err("HS256 takes a `secret`, and nothing else".to_owned()),
            ("RS256" | "ES256" | "EdDSA" | "Ed25519", None, Some(pem)) => of_pem(&algorithm, &pem)?,
            ("RS256" | "ES256" | "EdDSA" | "Ed25519", ..) => {
                return Err(format!("{algorithm} takes a public key in `pem`, and nothing else"));
            }
            _ => {
                return Err(format!(
                    "{algorithm:?} is no algorithm here: known are HS256, RS256, ES256 and EdDSA, which is Ed25519 as well"
                ));
            }
        };
        Ok(Self { id, material })
    }

    /// A key of a set; `None` when it is for something else, or of an algorithm that is not known here.
    ///
    /// # Errors
    /// What is wrong with a key that would be used.
    pub fn published(jwk: Jwk) -> Result<Option<Self>, String> {
        if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            return Ok(None);
        }
        let material = match (jwk.kty.as_str(), jwk.crv.as_deref(), jwk.alg.as_deref()) {
            ("RSA", _, None | Some("RS256")) => {
                let (n, e) = (member("n", jwk.n)?, member("e", jwk.e)?);
                rs256(RsaPublicKey::new(
                    BigUint::from_bytes_be(&n),
                    BigUint::from_bytes_be(&e),
                ))?
            }
            ("EC", Some("P-256"), None | Some("ES256")) => {
                let point = [&[4][..], &member("x", jwk.x)?, &member("y", jwk.y)?].concat();
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point);
                Material::Es256(key.map_err(|_| "has an `x` and a `y` that are no point of P-256")?)
            }
            ("OKP", Some("Ed25519"), None | Some("EdDSA" | "Ed25519")) => {
                let x: [u8; 32] = member("x", jwk.x)?
                    .try_into()
                    .map_err(|_| "has an `x` that is not of 32 bytes")?;
                let key = ed25519_dalek::VerifyingKey::from_bytes(&x);
                Material::EdDsa(key.map_err(|_| "has an `x` that is no key of Ed25519")?)
            }
            // Without an algorithm a secret could be meant for anything.
            ("oct", _, Some("HS256")) => hs256(member("k", jwk.k)?)?,
            _ => return Ok(None),
        };
        Ok(Some(Self { id: jwk.kid, material }))
    }

    /// Whether `alg` names the key's algorithm. RFC 9864 gives EdDSA with Ed25519 a name of its own; the older one stays in
    /// use, and both mean the same signature for a key of that curve.
    pub fn is_for(&self, algorithm: &str) -> bool {
        match self.material {
            Material::Hs256(_) => algorithm == "HS256",
            Material::Rs256(_) => algorithm == "RS256",
            Material::Es256(_) => algorithm == "ES256",
            Material::EdDsa(_) => ["EdDSA", "Ed25519"].contains(&algorithm),
        }
    }

    /// Whether this is the key's signature of a message.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Hs256(secret) => {
                let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
                mac.update(message);
                mac.verify_slice(signature).is_ok()
            }
            Material::Rs256(key) => {
                let scheme = Pkcs1v15Sign {
                    hash_len: Some(32),
                    prefix: Box::new(SHA_256),
                };
                key.verify(scheme, &Sha256::digest(message), signature).is_ok()
            }
            Material::Es256(key) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            Material::EdDsa(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
        }
    }
}

fn hs256(secret: Vec<u8>) -> Result<Material, String> {
    if secret.len() < SHORTEST_SECRET {
        return Err(format!(
            "has a secret of fewer than {SHORTEST_SECRET} bytes, which could be guessed"
        ));
    }
    Ok(Material::Hs256(secret))
}

fn rs256(key: rsa::Result<RsaPublicKey>) -> Result<Material, String> {
    let key = key.map_err(|error| format!("is no RSA key: {error}"))?;
    // Of the modulus, not of the bytes that hold it: 2041 bits fill as many bytes as 2048.
    let bits = key.n().bits();
    if bits < SHORTEST_RSA {
        return Err(format!("is an RSA key of {bits} bits: expected {SHORTEST_RSA} or more"));
    }
    Ok(Material::Rs256(Box::new(key)))
}

/// `-----BEGIN PUBLIC KEY-----` (RFC 7468, section 13).
fn of_pem(algorithm: &str, pem: &str) -> Result<Material, String> {
    let wrong = |error: &dyn std::fmt::Display| {
        format!(
            "has a `pem` that is no public key for {algorithm}, beginning with `-----BEGIN PUBLIC KEY-----`: {error}"
        )
    };
    match algorithm {
        "RS256" => {
            use rsa::pkcs8::DecodePublicKey as _;
            rs256(Ok(
                RsaPublicKey::from_public_key_pem(pem).map_err(|error| wrong(&error))?
            ))
        }
        "ES256" => {
            use p256::pkcs8::DecodePublicKey as _;
            let key = p256::ecdsa::VerifyingKey::from_public_key_pem(pem);
            Ok(Material::Es256(key.map_err(|error| wrong(&error))?))
        }
        _ => {
            let key = ed25519_dalek::VerifyingKey::from_public_key_pem(pem);
            Ok(Material::EdDsa(key.map_err(|error| wrong(&error))?))
        }
    }
}

/// A member of a key that has to be there, in base64url.
fn member(name: &str, value: Option<String>) -> Result<Vec<u8>, String> {
    let text = value.ok_or_else(|| format!("has no `{name}`"))?;
    Base64UrlUnpadded::decode_vec(&text).map_err(|_| format!("has a `{name}` that is not base64url without padding"))
}
