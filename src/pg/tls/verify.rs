//! Verifies server certificates.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::der::{Decode as _, Encode as _};

/// Trusted authorities.
#[derive(Debug)]
pub(super) struct Trusted {
    /// As trust anchors.
    pub(super) store: RootCertStore,
    /// As certificates.
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

/// The check of a server's certificate.
#[derive(Debug)]
pub(super) enum Check {
    /// The server has the certificate's key.
    Nothing,
    /// A trusted authority signed it.
    Chain(Trusted),
    /// The same, and it matches the host's name or address.
    ChainAndName(Trusted),
}

/// The verifier for one [`Check`].
#[derive(Debug)]
pub(super) struct Verifier {
    check: Check,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// Returns a verifier that performs `check`.
    pub(super) fn new(check: Check, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { check, algorithms }
    }

    /// Verifies the chain. A self-signed certificate made by the manual's recipe marks itself as an authority, which webpki
    /// refuses from a server. If it is itself a trusted certificate, it needs no further signature, but its dates are
    /// checked.
    fn chain(
        &self,
        trusted: &Trusted,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let outcome = ParsedCertificate::try_from(own).and_then(|parsed| {
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &trusted.store,
                intermediates,
                now,
                self.algorithms.all,
            )
        });
        match outcome {
            Err(error) if !is_about_time(&error) && trusted.certificates.contains(own) => Ok(()),
            outcome => outcome,
        }
    }
}

fn is_about_time(error: &Error) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(
        error,
        Error::InvalidCertificate(Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
    )
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.check {
            Check::Nothing => {}
            Check::Chain(trusted) => self.chain(trusted, end_entity, intermediates, now)?,
            Check::ChainAndName(trusted) => {
                self.chain(trusted, end_entity, intermediates, now)?;
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    /// Verifies the signature in every mode: channel binding requires that the server has the key.
    ///
    /// webpki reads only certificates of version 3, but `openssl x509 -req`, as in the manual's recipe, long created version
    /// 1. Where only the key matters, the key alone is read from such a certificate.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if ParsedCertificate::try_from(cert).is_ok() {
            return verify_tls13_signature(message, cert, dss, &self.algorithms);
        }
        let unreadable = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
        let key = x509_cert::Certificate::from_der(cert)
            .and_then(|cert| cert.tbs_certificate.subject_public_key_info.to_der())
            .map_err(unreadable)?;
        verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(key),
            dss,
            &self.algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
