//! Programs that don't trust this node's CA.

use std::{fmt, io, os::unix::fs::MetadataExt as _, path::PathBuf, time::Duration};

use rustls::AlertDescription;

use super::{alert, recent::Recent};
use crate::{call::Timestamp, limits};

/// What runs in a process. The path is as the process itself would write it; the rest says which
/// file it is, whatever lies there now.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Binary {
    pub path: PathBuf,
    pub device: u64,
    pub inode: u64,
}

/// A program that did not take a certificate of this node's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distrust {
    /// None if the process was gone before it was looked at.
    pub binary: Option<Binary>,
    /// Whose certificate it was.
    pub host: Box<str>,
    /// The process that did so last.
    pub pid: u32,
    /// How often it did.
    pub count: u64,
    pub why: Why,
    pub last: Timestamp,
}

/// How a client refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It said so, by an alert (RFC 8446, section 6.2) of this number.
    Alert(u8),
    /// It left.
    Left,
    /// It offers nothing that this node could answer with, or speaks no TLS.
    Incompatible,
}

/// Those of one agent.
#[derive(Debug)]
pub(in crate::proxy) struct Distrusts(Recent<(Option<Binary>, Box<str>), Distrust>);

impl Binary {
    /// Of a process. None if it is gone.
    pub(in crate::proxy) fn of(pid: u32) -> Option<Self> {
        let link = format!("/proc/{pid}/exe");
        let (path, file) = (std::fs::read_link(&link).ok()?, std::fs::metadata(&link).ok()?);
        Some(Self { path, device: file.dev(), inode: file.ino() })
    }
}

impl Default for Distrusts {
    fn default() -> Self {
        Self(Recent::new(limits::DISTRUSTS_PER_AGENT))
    }
}

impl Distrusts {
    pub(in crate::proxy) fn note(
        &mut self,
        (binary, pid): (Option<Binary>, u32),
        host: &str,
        why: Why,
        now: Timestamp,
    ) {
        let key = (binary.clone(), host.into());
        let fresh = || Distrust { binary, host: host.into(), pid, count: 0, why, last: now };
        let known = self.0.entry(key, fresh);
        known.count += 1;
        (known.pid, known.why, known.last) = (pid, why, now);
    }

    /// Whether the program would not trust us, as far as is known.
    pub(in crate::proxy) fn expects(
        &self,
        binary: Option<&Binary>,
        host: &str,
        now: Timestamp,
    ) -> bool {
        let known = self.0.get(&(binary.cloned(), host.into()));
        known.is_some_and(|known| now < known.last.after(known.why.age().into()))
    }

    pub(super) const fn forgotten(&self) -> u64 {
        self.0.forgotten()
    }

    pub(super) fn all(&self) -> Vec<Distrust> {
        self.0.values().cloned().collect()
    }
}

impl Why {
    /// How long it is remembered.
    #[must_use]
    pub const fn age(self) -> Duration {
        match self {
            Self::Left => limits::LEAVING_AGE,
            Self::Alert(_) | Self::Incompatible => limits::DISTRUST_AGE,
        }
    }

    /// By the error with which a stream or handshake ended.
    pub(in crate::proxy) fn of(error: &io::Error) -> Self {
        match alert::received(error) {
            Some(alert) => Self::Alert(alert.into()),
            None if alert::is_about_tls(error) => Self::Incompatible,
            None => Self::Left,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alert = match self {
            Self::Left => return f.write_str("it left"),
            Self::Incompatible => return f.write_str("it offers nothing that can be answered"),
            Self::Alert(alert) => *alert,
        };
        // As in RFC 8446, appendix B.2: those that speak of a certificate.
        let name = match AlertDescription::from(alert) {
            AlertDescription::BadCertificate => "bad_certificate",
            AlertDescription::UnsupportedCertificate => "unsupported_certificate",
            AlertDescription::CertificateRevoked => "certificate_revoked",
            AlertDescription::CertificateExpired => "certificate_expired",
            AlertDescription::CertificateUnknown => "certificate_unknown",
            AlertDescription::UnknownCA => "unknown_ca",
            AlertDescription::AccessDenied => "access_denied",
            AlertDescription::HandshakeFailure => "handshake_failure",
            AlertDescription::EncryptedClientHelloRequired => "ech_required",
            _ => return write!(f, "alert {alert}"),
        };
        write!(f, "alert {alert} ({name})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1);

    #[test]
    fn a_program_is_remembered_by_file_and_host_for_a_while() {
        let own = Binary::of(std::process::id());
        assert!(own.is_some(), "this program runs");
        let mut distrusts = Distrusts::default();
        distrusts.note((own.clone(), 7), "a.example", Why::Left, START);
        distrusts.note((own.clone(), 8), "a.example", Why::Alert(48), START);
        assert!(distrusts.expects(own.as_ref(), "a.example", START));
        assert!(!distrusts.expects(own.as_ref(), "b.example", START));
        assert!(!distrusts.expects(None, "a.example", START));
        let later = START.after(limits::DISTRUST_AGE.into());
        assert!(!distrusts.expects(own.as_ref(), "a.example", later));
        let [distrust] = &distrusts.all()[..] else { panic!("one") };
        assert_eq!((distrust.pid, distrust.count), (8, 2));
        assert_eq!(distrust.why.to_string(), "alert 48 (unknown_ca)");
    }

    #[test]
    fn there_is_room_for_so_many() {
        let mut distrusts = Distrusts::default();
        for host in 0..limits::DISTRUSTS_PER_AGENT + 3 {
            distrusts.note((None, 1), &format!("{host}.example"), Why::Left, START);
        }
        assert_eq!(distrusts.all().len(), limits::DISTRUSTS_PER_AGENT);
        assert_eq!(distrusts.forgotten(), 3);
        assert!(!distrusts.expects(None, "2.example", START));
        assert!(distrusts.expects(None, "3.example", START));
    }
}
