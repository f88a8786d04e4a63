//! TLS with libpq's semantics (PostgreSQL manual, 34.19), through rustls.
//!
//! rustls is stricter than libpq in three ways: TLS 1.2 is the minimum, a certificate's name is read only from its
//! subjectAltName, and a certificate to be verified must be X.509 version 3.

mod verify;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use tokio_postgres_rustls::MakeRustlsConnect;

use self::verify::{Check, Verifier};
use crate::error::{Error, Kind, Phase, Result};

/// `sslmode`. `allow` is treated as [`SslMode::Prefer`], which connects wherever `allow` does, and more securely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SslMode {
    /// Plain text.
    Disable,
    /// TLS if the server supports it; an attacker in between can prevent it.
    Prefer,
    /// TLS with any server.
    Require,
    /// TLS with a server whose certificate is signed by a trusted authority.
    VerifyCa,
    /// The same, and the certificate must match the host name.
    VerifyFull,
}

impl SslMode {
    /// Returns the mode of that name.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "disable" => Self::Disable,
            "allow" | "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        })
    }
}

/// The source of trusted certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Roots {
    /// Not specified.
    None,
    /// A file in PEM format.
    File(PathBuf),
    /// The operating system's certificates.
    System,
}

/// A client certificate and its key, as files in PEM format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientCertificate {
    /// The certificate, followed by its chain to an authority.
    pub(super) certificate: PathBuf,
    /// Its unencrypted private key.
    pub(super) key: PathBuf,
}

/// All TLS settings except `sslmode`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    /// `sslrootcert`
    pub(super) roots: Roots,
    /// `sslcert` and `sslkey`
    pub(super) client: Option<ClientCertificate>,
    /// `sslnegotiation=direct`: TLS from the first byte, servers 17 and later
    pub(super) direct: bool,
    /// `sslsni`
    pub(super) sni: bool,
    /// `ssl_min_protocol_version` is above TLS 1.2
    pub(super) only_13: bool,
    /// `ssl_max_protocol_version` is below TLS 1.3
    pub(super) only_12: bool,
}

/// The TLS settings for one host.
#[derive(Clone)]
pub(super) struct Tls {
    /// The effective mode: `require` with trusted roots becomes `verify-ca`, as in libpq.
    pub(super) mode: SslMode,
    /// Whether the handshake begins without a request to the server.
    pub(super) direct: bool,
    /// The connector that performs the handshake.
    pub(super) connector: MakeRustlsConnect,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("mode", &self.mode).field("direct", &self.direct).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files named in `options`. `None` for `disable`.
    ///
    /// # Errors
    /// A missing or invalid file, or an insecure combination of settings.
    pub(super) fn new(mode: SslMode, options: &Options) -> Result<Option<Self>> {
        if mode == SslMode::Disable {
            return Ok(None);
        }
        if options.direct && mode < SslMode::Require {
            return Err(config_error("sslnegotiation=direct requires sslmode=require or stronger"));
        }
        let mode = match (mode, &options.roots) {
            (SslMode::Require, Roots::File(_)) => SslMode::VerifyCa,
            (mode, Roots::System) if mode != SslMode::VerifyFull => {
                return Err(config_error(format!("sslmode={mode} is too weak for sslrootcert=system"))
                    .hint("Anyone can get a certificate from a public authority. Use sslmode=verify-full."));
            }
            (mode, _) => mode,
        };
        let connector = MakeRustlsConnect::new(client_config(mode, options)?);
        Ok(Some(Self { mode, direct: options.direct, connector }))
    }
}

fn client_config(mode: SslMode, options: &Options) -> Result<ClientConfig> {
    static ONLY_12: &[&SupportedProtocolVersion] = &[&version::TLS12];
    static ONLY_13: &[&SupportedProtocolVersion] = &[&version::TLS13];
    let versions = match (options.only_12, options.only_13) {
        (true, true) => return Err(config_error("no TLS version lies between the minimum and the maximum")),
        (true, false) => ONLY_12,
        (false, true) => ONLY_13,
        (false, false) => rustls::DEFAULT_VERSIONS,
    };
    let check = match mode {
        SslMode::Disable | SslMode::Prefer | SslMode::Require => Check::Nothing,
        SslMode::VerifyCa => Check::Chain(trusted(mode, &options.roots)?),
        SslMode::VerifyFull => Check::ChainAndName(trusted(mode, &options.roots)?),
    };
    // The provider is explicit, because the process-wide default may be missing or different.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new(check, provider.signature_verification_algorithms);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| Error::new(Phase::Connect, Kind::Internal, format!("TLS setup failed: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &options.client {
        None => builder.with_no_client_auth(),
        Some(client) => builder
            .with_client_auth_cert(certificates(&client.certificate, "sslcert")?, private_key(&client.key)?)
            .map_err(|error| {
                config_error(format!(
                    "certificate {} does not match key {}: {error}",
                    client.certificate.display(),
                    client.key.display()
                ))
            })?,
    };
    config.enable_sni = options.sni;
    if options.direct {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(config)
}

/// Returns the trusted certificates, also in their original form, for servers that present one of them as their own.
fn trusted(mode: SslMode, roots: &Roots) -> Result<verify::Trusted> {
    let certificates = match roots {
        Roots::None => {
            return Err(config_error(format!(
                "sslmode={mode} requires a root certificate, and none was found"
            ))
            .hint(
                "Give sslrootcert=FILE (Supabase: the certificate from the dashboard), place the \
                     certificate in ~/.postgresql/root.crt, or use sslrootcert=system for a server with a \
                     publicly trusted certificate.",
            ));
        }
        Roots::File(path) => certificates(path, "sslrootcert")?,
        Roots::System => {
            let found = rustls_native_certs::load_native_certs();
            if found.certs.is_empty() {
                return Err(config_error("the operating system has no trusted certificates")
                    .hint("Install the package ca-certificates, or name a file with sslrootcert."));
            }
            found.certs
        }
    };
    let mut store = RootCertStore::empty();
    let (usable, _) = store.add_parsable_certificates(certificates.iter().cloned());
    if usable == 0 {
        return Err(config_error(format!("no certificate of {roots:?} can be used as an authority")));
    }
    Ok(verify::Trusted { store, certificates })
}

fn certificates(path: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>> {
    let unreadable = |why: String| {
        config_error(format!("{key} {}: {why}", path.display()))
            .hint("The file must be readable and contain -----BEGIN CERTIFICATE-----.")
    };
    let pem = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let list = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| unreadable("it is not in PEM format".to_owned()))?;
    if list.is_empty() { Err(unreadable("it contains no certificate".to_owned())) } else { Ok(list) }
}

/// Reads a private key. As in libpq, other users must not be able to read it.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    use std::os::unix::fs::MetadataExt as _;
    let shown = path.display();
    let error = |why: String| config_error(format!("sslkey {shown}: {why}"));
    let found = std::fs::metadata(path).map_err(|e| error(e.to_string()))?;
    let forbidden = if found.uid() == 0 { 0o037 } else { 0o077 };
    if found.mode() & forbidden != 0 {
        return Err(error(format!("its mode is {:04o}, so other users can read it", found.mode() & 0o7777))
            .hint(format!("Run chmod 600 {shown}.")));
    }
    let pem = std::fs::read(path).map_err(|e| error(e.to_string()))?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        error("it contains no usable private key".to_owned())
            .hint("The key must be in PEM format and not encrypted with a passphrase.")
    })
}

fn config_error(message: impl Into<String>) -> Error {
    Error::new(Phase::Config, Kind::Config, message)
}
