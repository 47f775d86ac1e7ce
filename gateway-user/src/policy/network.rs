//! Networks: addresses with a common beginning.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A network, or one address of it. An IPv4 network holds IPv4 addresses only, mapped ones included
/// (RFC 4291, section 2.5.5.2), and an IPv6 network none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    /// Bits past the prefix are zero.
    ip: IpAddr,
    prefix: u8,
}

/// Why there is no such network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    #[error("{ip}/{prefix} is not a network: {ip} has fewer bits")]
    Prefix { ip: IpAddr, prefix: u8 },
    #[error(
        "{text:?} is not a network; write an address and a prefix: 10.0.0.0/8 or 2001:db8::/32"
    )]
    Text { text: String },
    #[error("{text} has bits set past its prefix; the network is {network}")]
    Loose { text: String, network: Network },
}

impl Network {
    /// The network of `prefix` bits that the address is in.
    pub fn new(ip: IpAddr, prefix: u8) -> Result<Self, NetworkError> {
        if prefix > bits(ip) {
            return Err(NetworkError::Prefix { ip, prefix });
        }
        let (ip, prefix) = match prefix.checked_sub(MAPPED_BITS) {
            Some(prefix) if ip.is_ipv6() && ip.to_canonical().is_ipv4() => {
                (ip.to_canonical(), prefix)
            }
            _ => (ip, prefix),
        };
        let ip = match ip {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4((v4.to_bits() & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6((v6.to_bits() & mask).into())
            }
        };
        Ok(Self { ip, prefix })
    }

    /// One address.
    #[must_use]
    pub const fn of(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        Self { ip, prefix: bits(ip) }
    }

    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.ip.is_ipv4()
            && Self::new(ip, self.prefix).is_ok_and(|network| network.ip == self.ip)
    }

    /// As the kernel compares: the network's bits and the mask, IPv4 in its mapped form. It can't
    /// tell an IPv6 network that holds all mapped addresses, such as `::/0`, from one that holds
    /// IPv4 too: see [`Network::holds_mapped`].
    #[must_use]
    pub const fn mapped(&self) -> (u128, u128) {
        let (ip, free) = match self.ip {
            IpAddr::V4(v4) => (v4.to_ipv6_mapped(), 32 - self.prefix as u32),
            IpAddr::V6(v6) => (v6, 128 - self.prefix as u32),
        };
        let mask = match u128::MAX.checked_shl(free) {
            Some(mask) => mask,
            None => 0,
        };
        (ip.to_bits(), mask)
    }

    /// Whether it is an IPv6 network in which every mapped IPv4 address is.
    #[must_use]
    pub fn holds_mapped(&self) -> bool {
        let (net, mask) = self.mapped();
        self.ip.is_ipv6() && MAPPED.to_bits() & mask == net && self.prefix <= MAPPED_BITS
    }
}

/// `::ffff:0:0/96`.
const MAPPED: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0);
const MAPPED_BITS: u8 = 96;

const fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// An address, or an address and a prefix. Bits past the prefix are an error: most likely one of
    /// the two was meant otherwise.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError::Text { text: text.into() };
        let Some((ip, prefix)) = text.split_once('/') else {
            return text.parse().map(Self::of).map_err(|_| wrong());
        };
        let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = Some(prefix).filter(|_| digits).ok_or_else(wrong)?;
        let network = Self::new(ip, prefix.parse().map_err(|_| wrong())?)?;
        if network.ip == ip.to_canonical() {
            Ok(network)
        } else {
            Err(NetworkError::Loose { text: text.into(), network })
        }
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == bits(self.ip) {
            self.ip.fmt(f)
        } else {
            write!(f, "{}/{}", self.ip, self.prefix)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_network_holds_what_begins_as_it_does() {
        for (net, address, holds) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("::/0", "::ffff:192.0.2.1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
        ] {
            assert_eq!(network(net).contains(ip(address)), holds, "{net} {address}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_the_reason() {
        for text in ["", "10", "10.0.0.0/", "10.0.0.0/a", "10.0.0.0/+8", "10.0.0.0/999", "a/8"] {
            assert!(matches!(text.parse::<Network>(), Err(NetworkError::Text { .. })), "{text}");
        }
        assert!(matches!("10.0.0.0/33".parse::<Network>(), Err(NetworkError::Prefix { .. })));
        let loose = "10.1.2.3/8".parse::<Network>().expect_err("it is loose");
        assert!(loose.to_string().contains("10.0.0.0/8"), "{loose}");
        assert_eq!(network("10.0.0.0/8").to_string(), "10.0.0.0/8");
        assert_eq!(network("10.0.0.1/32").to_string(), "10.0.0.1");
    }

    #[test]
    fn what_the_kernel_could_not_tell_from_ipv4_is_known() {
        assert!(network("::/0").holds_mapped() && network("::/64").holds_mapped());
        assert!(!network("2000::/3").holds_mapped() && !network("0.0.0.0/0").holds_mapped());
        assert_eq!(network("::ffff:10.0.0.0/104"), network("10.0.0.0/8"));
    }

    proptest! {
        #[test]
        fn the_kernel_compares_as_it_does_here(
            net in any::<u32>(), prefix in 0..=32_u8, address in any::<u32>(),
        ) {
            let (net, address) = (IpAddr::V4(net.into()), IpAddr::V4((net ^ address >> 9).into()));
            let network = Network::new(net, prefix).expect("a prefix");
            let (bits, mask) = network.mapped();
            let IpAddr::V4(v4) = address else { unreachable!() };
            let mapped = v4.to_ipv6_mapped().to_bits();
            prop_assert_eq!(mapped & mask == bits, network.contains(address));
        }
    }
}
