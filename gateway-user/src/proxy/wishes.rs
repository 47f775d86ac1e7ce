//! What is kept of wishes: a hash under the node's key.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::call::Digest;

/// HMAC-SHA256 under a key, which has been taken in already: that is done once, not for each wish.
pub(super) struct Wishes(Hmac<Sha256>);

impl Wishes {
    pub(super) fn under(key: &[u8; 32]) -> Self {
        // A key that is shorter than a block counts as filled up with zeros (RFC 2104, section 2).
        let mut block = [0; 64];
        block[..key.len()].copy_from_slice(key);
        Self(Hmac::new(&block.into()))
    }

    /// In hex.
    pub(super) fn hash(&self, wish: &str) -> String {
        let mac = self.0.clone().chain_update(wish);
        Digest(mac.finalize().into_bytes().into()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_hashed_under_the_key() {
        // RFC 4231 has no case with a key of 32 bytes; this one was computed with OpenSSL:
        // printf hello | openssl dgst -sha256 -mac HMAC -macopt hexkey:0101…01
        let hash = |key, wish| Wishes::under(&[key; 32]).hash(wish);
        assert_eq!(
            hash(1, "hello"),
            "3a4d75699f355339725ecf666241ddd9c5ca105542c40a7f5607efc7ece5f67e"
        );
        assert_ne!(hash(2, "hello"), hash(1, "hello"));
    }
}
