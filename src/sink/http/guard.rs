//! Decides which addresses a partner may have if its account, which a producer chose, is part of the host name.
//!
//! Pure. Without this check, an account such as `169.254.169.254` would make octoconf send messages to services that
//! only this machine can reach, and show their answers (server-side request forgery).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Returns whether an address belongs to the public Internet, by the special-purpose registries of IANA (RFC 6890 and
/// its updates), to which one address is added that is public by its number only. An IPv6 address that embeds an IPv4
/// address is judged by the latter.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => embedded_v4(address).map_or_else(|| is_public_v6(address), is_public_v4),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    // The platform services of an Azure machine, which answer to that machine alone.
    const WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        (0, ..) => true,                        // this network
        (10, ..) => true,                       // private
        (100, 64..=127, _) => true,             // shared by a carrier (RFC 6598)
        (127, ..) => true,                      // loopback
        (169, 254, _) => true,                  // link-local, and the metadata services of clouds
        (172, 16..=31, _) => true,              // private
        (192, 0, 0) => true,                    // protocol assignments
        (192, 0, 2) => true,                    // documentation
        (192, 88, 99) => true,                  // 6to4 relays, deprecated
        (192, 168, _) => true,                  // private
        (198, 18..=19, _) => true,              // benchmarks
        (198, 51, 100) | (203, 0, 113) => true, // documentation
        (224.., ..) => true,                    // multicast, reserved, broadcast
        _ => false,
    };
    !special && address != WIRE_SERVER
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Of all assigned addresses, 2000::/3 is the public part; a few ranges in it are special.
    let global_unicast = first & 0xe000 == 0x2000;
    let special = match (first, second) {
        (0x2001, 0x0000..=0x01ff) => true, // protocol assignments: Teredo, ORCHID, benchmarks
        (0x2001, 0x0db8) => true,          // documentation
        (0x3fff, 0x0000..=0x0fff) => true, // documentation (RFC 9637)
        _ => false,
    };
    global_unicast && !special
}

/// Returns the IPv4 address into which a translator would turn an IPv6 address: mapped, compatible, NAT64 (RFC
/// 6052) and 6to4 (RFC 3056).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => Some(from(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(from(high, low)),
        [0x2002, high, low, ..] => Some(from(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_pass() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.0.1",
            "168.63.129.17",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "2606:4700::1111",
            "64:ff9b::808:808",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "3fff::1",
            "100::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }
}
