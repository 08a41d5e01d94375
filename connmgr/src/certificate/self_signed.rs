//! Certificates that nobody vouches for, so that a server runs before it has others.

use super::CertificateError;
use crate::config::{Certificate, SelfSigned};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The one for all configured domains, made if it is not there.
pub(super) fn of_configured(options: &SelfSigned) -> Result<Vec<Certificate>, CertificateError> {
    let (chain, key) = (options.folder.join("self-signed.pem"), options.folder.join("self-signed.key"));
    if !options.domains.is_empty() && (!chain.exists() || !key.exists()) {
        make(&options.domains, &options.folder, &chain, &key)?;
    }
    let certificate = |domain: &String| Certificate { domain: domain.clone(), chain: chain.clone(), key: key.clone() };
    Ok(options.domains.iter().map(certificate).collect())
}

/// The one of a domain that the core announced, made if it is not there.
pub(super) fn of_announced(options: &SelfSigned, domain: &str) -> Result<Certificate, CertificateError> {
    let folder = options.folder.join(domain);
    let (chain, key) = (folder.join("fullchain.pem"), folder.join("privkey.pem"));
    if !chain.exists() || !key.exists() {
        make(&[domain.to_owned()], &folder, &chain, &key)?;
    }
    Ok(Certificate { domain: domain.to_owned(), chain, key })
}

fn make(domains: &[String], folder: &Path, chain: &Path, key: &Path) -> Result<(), CertificateError> {
    let io = |path: &Path, doing| {
        let path = path.to_owned();
        move |error| CertificateError::Io { path, doing, error }
    };
    std::fs::create_dir_all(folder).map_err(io(folder, "make the folder"))?;
    let names: Vec<String> = domains.iter().map(|name| hearth_wire::jid::domain_to_ascii(name)).collect();
    let (private, certificate) = sign(names).map_err(CertificateError::Make)?;
    let write = |path: &Path, mode, text: &str| {
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .map_err(io(path, "write"))
    };
    // The certificate last: if it is there, so is its key.
    write(key, 0o600, &private.serialize_pem())?;
    write(chain, 0o644, &certificate.pem())?;
    tracing::info!(event = "certificate_made", chain = %chain.display(), ?domains);
    Ok(())
}

/// A new key and its certificate for these domains. Clients show its subject to the person who is to accept it, so
/// that is the first domain, if it is as short as the field demands (RFC 5280 Appendix A.1: 64 characters).
fn sign(names: Vec<String>) -> Result<(rcgen::KeyPair, rcgen::Certificate), rcgen::Error> {
    let subject = names.first().filter(|name| name.len() <= 64).cloned();
    let mut params = rcgen::CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(subject) = subject {
        params.distinguished_name.push(rcgen::DnType::CommonName, subject);
    }
    let private = rcgen::KeyPair::generate()?;
    let certificate = params.self_signed(&private)?;
    Ok((private, certificate))
}
