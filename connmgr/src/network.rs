//! Networks as they are configured: `192.0.2.0/24`, `2001:db8::/32`, or one address.

use std::net::IpAddr;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    /// The first address; bits behind the prefix are 0.
    first: IpAddr,
    /// Bits that addresses share with it.
    prefix: u32,
}

impl Network {
    /// `None` if the text is no network, or bits behind its prefix are set: such a one is rarely what was meant.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().ok()?;
        let prefix = match prefix {
            None => bits(first),
            Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => prefix.parse().ok()?,
            Some(_) => return None,
        };
        let sound = prefix <= bits(first) && (number(first) & !mask(first, prefix)) == 0;
        sound.then_some(Network { first, prefix })
    }

    /// Whether the address is in it. An IPv4 address is never in a network of IPv6.
    pub fn contains(&self, address: IpAddr) -> bool {
        let mask = mask(self.first, self.prefix);
        self.first.is_ipv4() == address.is_ipv4() && number(address) & mask == number(self.first)
    }
}

fn bits(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn mask(address: IpAddr, prefix: u32) -> u128 {
    let free = bits(address).saturating_sub(prefix);
    u128::MAX.checked_shl(free).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_the_addresses_they_say() {
        let rows = [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("::1", "::1", true),
        ];
        for (network, address, inside) in rows {
            let parsed = Network::parse(network).unwrap();
            assert_eq!(parsed.contains(address.parse().unwrap()), inside, "{network} {address}");
        }
        for text in ["", "192.0.2.0/33", "192.0.2.1/24", "192.0.2.0/+8", "192.0.2.0/", "::/129", "x/8", "192.0.2/24"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
