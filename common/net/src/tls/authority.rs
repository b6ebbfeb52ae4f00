//! The cluster's own certificate authority: makes its certificate, and those of the roles. Where they lie is
//! the caller's matter.

use super::{ROLE_ANY, ROLE_MASTER, ROLE_WORKER};
use firesteel_common::error::{Error, ErrorCode, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use sha2::{Digest, Sha256};
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;

/// What an authority is called in its certificate, and in all that it signs; a part of the hash of its key
/// follows, so that the authorities of two clusters are told apart.
const NAME: &str = "Firesteel cluster authority";
/// Clocks of machines may differ by as much.
const CLOCK_SLACK: Duration = Duration::from_secs(3600);

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A master: it listens, for processes of the cluster and for clients of its HTTP daemon.
    Master,
    /// A worker: it dials the master and other workers, and listens for them.
    Worker,
}

/// A certificate and its key, both PEM. The key is a secret.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority, whose certificate is valid for `valid` from `now` on.
    ///
    /// # Errors
    /// `INTERNAL` if the system gives no random numbers.
    pub fn create(now: SystemTime, valid: Duration) -> Result<(Authority, Issued)> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = of_authority(&key)?;
        params.not_before = instant(now - CLOCK_SLACK);
        params.not_after = instant(now + valid);
        let certificate = params.self_signed(&key).map_err(failed)?;
        let issued = Issued { certificate: certificate.pem(), key: key.serialize_pem() };
        Ok((Authority { issuer: Issuer::new(params, key) }, issued))
    }

    /// The authority whose key this is, PEM.
    ///
    /// # Errors
    /// `CONFIG_INVALID` if it is no key.
    pub fn with_key(key_pem: &str) -> Result<Authority> {
        let key = KeyPair::from_pem(key_pem).map_err(|cause| {
            Error::new(ErrorCode::ConfigInvalid, format!("the key of the authority is none: {cause}"))
        })?;
        Ok(Authority { issuer: Issuer::new(of_authority(&key)?, key) })
    }

    /// A certificate for one part of the cluster on these hosts (names or addresses), valid for `valid` from
    /// `now` on.
    ///
    /// # Errors
    /// `CONFIG_INVALID` if a host is no name.
    pub fn issue(&self, part: Part, hosts: &[String], now: SystemTime, valid: Duration) -> Result<Issued> {
        let (role, usages) = match part {
            Part::Master => (ROLE_MASTER, vec![ExtendedKeyUsagePurpose::ServerAuth]),
            Part::Worker => {
                (ROLE_WORKER, vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth])
            }
        };
        let mut names = vec![ROLE_ANY.to_owned(), role.to_owned()];
        names.extend(hosts.iter().cloned());
        let mut params = params(names)?;
        params.distinguished_name.push(DnType::CommonName, role);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        params.not_before = instant(now - CLOCK_SLACK);
        params.not_after = instant(now + valid);
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn of_authority(key: &KeyPair) -> Result<CertificateParams> {
    let mut params = params(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let hash = Sha256::digest(key.public_key_raw());
    let digits: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name.push(DnType::CommonName, format!("{NAME} {digits}"));
    Ok(params)
}

fn params(names: Vec<String>) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(names).map_err(|cause| {
        Error::new(ErrorCode::ConfigInvalid, format!("a host is no name or address: {cause}"))
    })?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.distinguished_name = rcgen::DistinguishedName::new();
    Ok(params)
}

fn instant(time: SystemTime) -> OffsetDateTime {
    time.into()
}

fn failed(cause: rcgen::Error) -> Error {
    Error::new(ErrorCode::Internal, format!("making a certificate: {cause}"))
}
