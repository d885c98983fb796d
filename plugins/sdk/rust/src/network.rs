//! [`Network`]: a block of addresses in a configuration.
use std::{net::IpAddr, str::FromStr};

/// A CIDR block (RFC 4632, RFC 4291) or a single address, checked: what
/// [`Request::client_within`](crate::Request::client_within) takes without trapping.
///
/// ```
/// # use wasmserve_plugin::Network;
/// assert!("10.0.0.0/8".parse::<Network>().is_ok());
/// assert!("10.0.0.0/33".parse::<Network>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network(String);

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let Ok(address) = address.parse::<IpAddr>() else {
            return Err("is neither an address nor a CIDR block such as 10.0.0.0/8 or 2001:db8::/32");
        };
        // Clients' addresses are compared in their canonical form, which such a block would never hold.
        if address.to_canonical() != address {
            return Err("is an IPv4 address in IPv6 form: write it as IPv4");
        }
        let bits = if address.is_ipv4() { 32 } else { 128 };
        match length.map(prefix_length) {
            None => Ok(Self(text.to_owned())),
            Some(Some(length)) if length <= bits => Ok(Self(text.to_owned())),
            Some(_) if bits == 32 => Err("has a length that is not 0 to 32"),
            Some(_) => Err("has a length that is not 0 to 128"),
        }
    }
}

/// Digits, without a sign or leading zeros.
fn prefix_length(text: &str) -> Option<u8> {
    let length: u8 = text.parse().ok()?;
    (length.to_string() == text).then_some(length)
}

impl AsRef<str> for Network {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_addresses_and_neither() {
        for text in [
            "10.0.0.0/8",
            "0.0.0.0/0",
            "192.0.2.1",
            "::1",
            "2001:db8::/32",
            "::/0",
            "10.1.2.3/32",
        ] {
            assert!(text.parse::<Network>().is_ok(), "{text}");
        }
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "10.0.0/8",
            "::/129",
            "::1%lo",
            "localhost",
            "10.0.0.0/255.0.0.0",
            "::ffff:10.0.0.1",
            "::ffff:10.0.0.0/104",
            " 10.0.0.1",
            "10.0.0.0-10.0.0.9",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    /// What is accepted here is what the question takes.
    #[test]
    fn every_block_can_be_asked_for() {
        for text in ["10.1.2.3/8", "::1", "2001:db8::1/32", "192.0.2.1", "0.0.0.0/0"] {
            let network: Network = text.parse().unwrap();
            crate::testing::Request::get("/").asking(|request| request.client_within(network.as_ref()));
        }
    }
}
