//! Which addresses outbound requests do not reach unless the operator names them: all that is not the public internet.
//!
//! After the IANA special-purpose registries (RFC 6890 and its updates). Whoever resolves a name decides where it leads, so
//! what counts is the address, and an IPv4 address counts in whatever IPv6 form it comes.
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const fn v4(a: u8, b: u8, c: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), length)
}

const fn v6(first: u16, second: u16, third: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0), length)
}

const V4: [(Ipv4Net, &str); 16] = [
    (v4(0, 0, 0, 8), "unspecified"),
    (v4(10, 0, 0, 8), "private"),
    (v4(100, 64, 0, 10), "shared by a carrier"),
    (v4(127, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 16), "link-local"),
    (v4(172, 16, 0, 12), "private"),
    (v4(192, 0, 0, 24), "for protocols"),
    (v4(192, 0, 2, 24), "for documentation"),
    (v4(192, 88, 99, 24), "for relays"),
    (v4(192, 168, 0, 16), "private"),
    (v4(198, 18, 0, 15), "for benchmarks"),
    (v4(198, 51, 100, 24), "for documentation"),
    (v4(203, 0, 113, 24), "for documentation"),
    (v4(224, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 4), "reserved"),
    (v4(168, 63, 129, 24), "of a cloud's own"),
];

/// Within 2000::/3, which is all that is public.
const V6: [(Ipv6Net, &str); 4] = [
    // Teredo among them, which is a tunnel to any IPv4 address.
    (v6(0x2001, 0, 0, 23), "for protocols"),
    (v6(0x2001, 0xdb8, 0, 32), "for documentation"),
    (v6(0x2002, 0, 0, 16), "a tunnel (6to4)"),
    (v6(0x3fff, 0, 0, 20), "for documentation"),
];
const PUBLIC_V6: Ipv6Net = v6(0x2000, 0, 0, 3);
/// The well-known prefix of NAT64 (RFC 6052): the last four bytes are an IPv4 address.
const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Why an address is not reached; `None`: it is public.
pub(super) fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => V4
            .iter()
            .find(|(block, _)| block.contains(&address))
            .map(|(_, what)| *what),
        IpAddr::V6(address) => special_v6(address),
    }
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return special(mapped.into());
    }
    if NAT64.contains(&address) {
        let [.., a, b, c, d] = address.octets();
        return special(Ipv4Addr::new(a, b, c, d).into());
    }
    if !PUBLIC_V6.contains(&address) {
        return Some(match address.segments()[0] {
            0 if address.is_loopback() => "loopback",
            0 if address.is_unspecified() => "unspecified",
            0xfc00..=0xfdff => "private",
            0xfe80..=0xfebf => "link-local",
            0xff00..=0xffff => "multicast",
            _ => "reserved",
        });
    }
    V6.iter()
        .find(|(block, _)| block.contains(&address))
        .map(|(_, what)| *what)
}

/// Why an address is not reached although the operator names these blocks; `None`: it is.
pub(super) fn refused(address: IpAddr, named: &[IpNet]) -> Option<&'static str> {
    let address = address.to_canonical();
    special(address).filter(|_| !named.iter().any(|block| block.contains(&address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_address_is_told() {
        for (address, expected) in [
            ("0.0.0.0", Some("unspecified")),
            ("0.1.2.3", Some("unspecified")),
            ("10.255.0.1", Some("private")),
            ("100.63.255.255", None),
            ("100.64.0.0", Some("shared by a carrier")),
            ("100.127.255.255", Some("shared by a carrier")),
            ("100.128.0.0", None),
            ("127.0.0.1", Some("loopback")),
            ("127.255.255.255", Some("loopback")),
            ("169.254.169.254", Some("link-local")),
            ("168.63.129.16", Some("of a cloud's own")),
            ("172.15.255.255", None),
            ("172.16.0.1", Some("private")),
            ("172.31.255.255", Some("private")),
            ("172.32.0.0", None),
            ("192.0.0.170", Some("for protocols")),
            ("192.0.2.1", Some("for documentation")),
            ("192.168.1.1", Some("private")),
            ("198.17.255.255", None),
            ("198.19.255.255", Some("for benchmarks")),
            ("224.0.0.1", Some("multicast")),
            ("239.255.255.255", Some("multicast")),
            ("255.255.255.255", Some("reserved")),
            ("1.1.1.1", None),
            ("223.255.255.255", None),
            ("::", Some("unspecified")),
            ("::1", Some("loopback")),
            ("::2", Some("reserved")),
            ("::127.0.0.1", Some("reserved")),
            ("::ffff:127.0.0.1", Some("loopback")),
            ("::ffff:10.0.0.1", Some("private")),
            ("::ffff:1.1.1.1", None),
            ("::ffff:0:127.0.0.1", Some("reserved")),
            ("64:ff9b::7f00:1", Some("loopback")),
            ("64:ff9b::a9fe:a9fe", Some("link-local")),
            ("64:ff9b::101:101", None),
            ("64:ff9b:1::101:101", Some("reserved")),
            ("100::1", Some("reserved")),
            ("2001::1", Some("for protocols")),
            ("2001:1ff::1", Some("for protocols")),
            ("2001:200::1", None),
            ("2001:db8::1", Some("for documentation")),
            ("2002:7f00:1::", Some("a tunnel (6to4)")),
            ("2606:4700::1111", None),
            ("3fff:fff::1", Some("for documentation")),
            ("5f00::1", Some("reserved")),
            ("fc00::1", Some("private")),
            ("fd12:3456::1", Some("private")),
            ("fe80::1", Some("link-local")),
            ("fec0::1", Some("reserved")),
            ("ff02::1", Some("multicast")),
        ] {
            assert_eq!(refused(address.parse().unwrap(), &[]), expected, "{address}");
        }
    }

    #[test]
    fn what_the_operator_names_is_reached_in_every_form() {
        let named = ["127.0.0.0/8".parse().unwrap(), "fd00::/16".parse().unwrap()];
        for (address, reached) in [
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("fd00::1", true),
            ("fd01::1", false),
            ("::1", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(
                refused(address.parse().unwrap(), &named).is_none(),
                reached,
                "{address}"
            );
        }
    }
}
