//! Signing: what the certificates of an authority and of a name say.

use std::{net::IpAddr, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, ServerName};

use super::AuthorityError;
use crate::call::{Micros, Timestamp};

/// How long an authority is good for.
pub(super) const AUTHORITY_LIFE: Micros = days(3650);
/// An authority that expires sooner is replaced when it is opened.
pub(super) const RENEWAL: Micros = days(30);
/// How long a leaf is good for.
pub(super) const LEAF_LIFE: Micros = days(7);
/// How far a certificate reaches back: clocks of virtual machines and containers' tools go wrong.
pub(super) const BACKDATED: Micros = days(1);

/// A key, and the name under which it signs.
#[derive(Debug)]
pub(super) struct Issuer(rcgen::Issuer<'static, KeyPair>);

/// A new authority.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) issuer: Issuer,
    pub(super) certificate: CertificateDer<'static>,
    /// Says the same as its certificate, signed by its predecessor: who trusts that one alone trusts
    /// the new one's leaves with it.
    pub(super) bridge: Option<CertificateDer<'static>>,
}

impl Issuer {
    /// A new authority.
    pub(super) fn make(now: Timestamp, predecessor: Option<&Self>) -> Result<Made, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = authority(now)?;
        let certificate = params.self_signed(&key)?.into();
        let bridge = match predecessor {
            Some(Self(predecessor)) => {
                params.serial_number = Some(serial()?);
                Some(params.signed_by(&key, predecessor)?.into())
            }
            None => None,
        };
        Ok(Made { issuer: Self(rcgen::Issuer::new(params, key)), certificate, bridge })
    }

    /// One that was made before.
    pub(super) fn load(
        certificate: &CertificateDer<'_>,
        key: KeyPair,
    ) -> Result<Self, AuthorityError> {
        Ok(Self(rcgen::Issuer::from_ca_cert_der(certificate, key)?))
    }

    /// Its private key, PKCS#8 in DER.
    pub(super) fn key(&self) -> Vec<u8> {
        self.0.key().serialize_der()
    }

    /// A certificate for a server of this name, as strict verifiers want it (RFC 5280, section
    /// 4.2.1): with the identifiers of both keys, and the name as an alternative one.
    pub(super) fn leaf(
        &self,
        name: &ServerName<'_>,
        key: &KeyPair,
        now: Timestamp,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        let (alternative, text) = subject(name)?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![alternative];
        params.distinguished_name = distinguished(&text);
        // Saying that it is none is what brings its key's identifier with it.
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial()?);
        set_validity(&mut params, now, LEAF_LIFE);
        Ok(params.signed_by(key, &self.0)?.into())
    }
}

fn authority(now: Timestamp) -> Result<CertificateParams, AuthorityError> {
    let number = serial()?;
    // A rotation must not leave two authorities of one name.
    let digits: String = number.to_bytes().iter().take(4).map(|b| format!("{b:02x}")).collect();
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished(&format!("turnpike CA {digits}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(number);
    set_validity(&mut params, now, AUTHORITY_LIFE);
    Ok(params)
}

/// Never empty, since then the alternative name would have to be critical, which few clients know.
fn distinguished(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::OrganizationName, "turnpike");
    if name.len() <= COMMON_NAME {
        distinguished.push(DnType::CommonName, name);
    }
    distinguished
}

/// Characters of a common name (RFC 5280, appendix A.1, `ub-common-name`).
const COMMON_NAME: usize = 64;

fn subject(name: &ServerName<'_>) -> Result<(SanType, String), AuthorityError> {
    let unfit = || AuthorityError::Name(format!("{name:?}"));
    match name {
        ServerName::DnsName(dns) => {
            let text = dns.as_ref().trim_end_matches('.').to_ascii_lowercase();
            Ok((SanType::DnsName(text.clone().try_into().map_err(|_| unfit())?), text))
        }
        ServerName::IpAddress(address) => {
            let address = IpAddr::from(*address);
            Ok((SanType::IpAddress(address), address.to_string()))
        }
        _ => Err(unfit()),
    }
}

/// 16 bytes that nobody can guess, positive (RFC 5280, section 4.1.2.2). Clients refuse two
/// certificates of one issuer and number, and leaves have one key, so it can't come from that.
fn serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| AuthorityError::Random(std::io::Error::other(error)))?;
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, life: Micros) {
    let date = |micros| date_time_ymd(1970, 1, 1) + Duration::from_micros(micros);
    params.not_before = date(now.0.saturating_sub(BACKDATED.0));
    params.not_after = date(now.after(life).0);
}

pub(super) const fn days(days: u64) -> Micros {
    Micros(days * 24 * 60 * 60 * 1_000_000)
}
