//! This node's secret.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The node's key could not be read or made.
#[derive(Debug, thiserror::Error)]
#[error("can't use the node's key {}: {source}; run as root (sudo), or set daemon.state_dir", path.display())]
pub(super) struct KeyError {
    path: PathBuf,
    source: io::Error,
}

/// The key under which wishes are hashed: 32 bytes, made on the first start.
pub(super) fn key(state: &Path) -> Result<[u8; 32], KeyError> {
    let path = state.join("node.key");
    let error = |source| KeyError { path: path.clone(), source };
    match read(&path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(state).map_err(error)?;
            make(&path).map_err(error)?;
            read(&path).map_err(error)
        }
        found => found.map_err(error),
    }
}

/// What lineage hashes under, so that its hashes mean the same to the next gateway, and nothing to who does
/// not have the key: extracted from the key as RFC 5869, section 2.2 does, so that nothing that is hashed
/// under the key tells it.
pub(super) fn lineage_salt(key: &[u8; 32]) -> u128 {
    let mut block = [0; 64];
    block[..LINEAGE.len()].copy_from_slice(LINEAGE);
    let extracted = Hmac::<Sha256>::new(&block.into()).chain_update(key).finalize().into_bytes();
    extracted.iter().take(16).fold(0, |salt, byte| salt << 8 | u128::from(*byte))
}

/// What the salt is for.
const LINEAGE: &[u8] = b"turnpike lineage";

fn read(path: &Path) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    fs::File::open(path)?.read_exact(&mut key)?;
    Ok(key)
}

/// Appears under its name only when it is whole; of two that make it at once, one wins.
fn make(path: &Path) -> io::Result<()> {
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(&random::<32>()?)?;
    file.sync_all()?;
    let linked = fs::hard_link(&fresh, path);
    fs::remove_file(&fresh)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

/// Bytes that nobody can guess.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_salt_follows_from_the_key() {
        // printf '\001%.0s' $(seq 32) | openssl dgst -sha256 -mac HMAC -macopt key:'turnpike lineage'
        assert_eq!(format!("{:032x}", lineage_salt(&[1; 32])), "6cbf5a01a025510ee9fe0cea0449732d");
        assert_ne!(lineage_salt(&[2; 32]), lineage_salt(&[1; 32]));
    }
}
