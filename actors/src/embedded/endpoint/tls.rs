//! TLS on the endpoint's port, with rustls.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use telemill_engine::stage::BuildError;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

use super::settings::TlsSpec;

/// Reads certificates and key.
///
/// # Errors
/// When a file cannot be read now, or has something else in it. Nothing of the key is said.
pub(crate) fn acceptor(spec: &TlsSpec) -> Result<TlsAcceptor, BuildError> {
    let provider = Arc::new(crypto::ring::default_provider());
    let key = spec.key.resolve(&|name| std::env::var(name).ok(), &|path| std::fs::read_to_string(path));
    let key = PrivateKeyDer::from_pem_slice(key?.expose().as_bytes())
        .map_err(|_| BuildError::Impossible("the endpoint's `tls.key` is not a private key in PEM form".to_owned()))?;
    let chain = certificates(&spec.certificate)?;
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| impossible("the endpoint cannot speak TLS", error))?;
    let config = match &spec.client_ca {
        None => config.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| impossible(&path.display().to_string(), error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            config.with_client_cert_verifier(verifier.map_err(|error| impossible(&path.display().to_string(), error))?)
        }
    };
    let config = config
        .with_single_cert(chain, key)
        .map_err(|error| impossible("the endpoint's certificate and key do not go together", error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let place = path.display();
    let pem = std::fs::read(path).map_err(|error| BuildError::Unavailable(format!("cannot read {place}: {error}")))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(BuildError::Impossible(format!("{place} has no certificate in PEM form in it"))),
    }
}

fn impossible(what: &str, error: impl Display) -> BuildError {
    BuildError::Impossible(format!("{what}: {error}"))
}

/// The DNS names in a client's certificate, which TLS has verified.
pub(crate) fn names(certificates: Option<&[CertificateDer<'_>]>) -> Vec<String> {
    let first = certificates.and_then(<[_]>::first).and_then(|der| webpki::EndEntityCert::try_from(der).ok());
    first.map(|certificate| certificate.valid_dns_names().map(str::to_owned).collect()).unwrap_or_default()
}
