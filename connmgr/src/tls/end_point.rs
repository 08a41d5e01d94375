//! `tls-server-end-point` (RFC 5929 §4): the hash of the certificate that a server shows.
//!
//! The hash is that of the certificate's own signature algorithm, so just enough of X.509 (RFC 5280
//! §4.1) is read here to find that algorithm.

use aws_lc_rs::digest;

/// Channel binding data of one certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EndPoint {
    bytes: [u8; digest::MAX_OUTPUT_LEN],
    len: u8,
}

impl EndPoint {
    /// §4.1, of a certificate in DER. `None` if its signature algorithm uses no single hash function
    /// (Ed25519), or one that is not known here: then this type of binding is not defined.
    pub fn of(certificate: &[u8]) -> Option<EndPoint> {
        let hash = digest::digest(hash_of(certificate)?, certificate);
        let mut bytes = [0; digest::MAX_OUTPUT_LEN];
        bytes.get_mut(..hash.as_ref().len())?.copy_from_slice(hash.as_ref());
        Some(EndPoint { bytes, len: u8::try_from(hash.as_ref().len()).ok()? })
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl std::fmt::Debug for EndPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

type Hash = &'static digest::Algorithm;

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// Object identifiers of signature algorithms, and what §4.1 hashes with: MD5 and SHA-1 give way to SHA-256.
const SIGNATURES: [(&[u8], Hash); 11] = [
    // PKCS #1 v1.5 (RFC 8017): MD5, SHA-1, SHA-224, SHA-256, SHA-384, SHA-512.
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4], &digest::SHA256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5], &digest::SHA256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 14], &digest::SHA224),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11], &digest::SHA256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12], &digest::SHA384),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13], &digest::SHA512),
    // ECDSA (RFC 5758): SHA-1, SHA-224, SHA-256, SHA-384, SHA-512.
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1], &digest::SHA256),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 1], &digest::SHA224),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], &digest::SHA256),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3], &digest::SHA384),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4], &digest::SHA512),
];

/// RSASSA-PSS, whose parameters name its hash functions (RFC 4055 §3.1).
const RSASSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
const MGF1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8];
const SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 26];
const HASHES: [(&[u8], Hash); 5] = [
    (SHA1, &digest::SHA256),
    (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 4], &digest::SHA224),
    (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1], &digest::SHA256),
    (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2], &digest::SHA384),
    (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3], &digest::SHA512),
];

fn hash_of(certificate: &[u8]) -> Option<Hash> {
    let (certificate, _) = read(certificate, SEQUENCE)?;
    let (_to_be_signed, rest) = read(certificate, SEQUENCE)?;
    let (algorithm, _) = read(rest, SEQUENCE)?;
    let (identifier, parameters) = read(algorithm, OBJECT_IDENTIFIER)?;
    if identifier == RSASSA_PSS { hash_of_pss(parameters) } else { find(&SIGNATURES, identifier) }
}

/// One hash for the message and, in the mask generation, the same: with two of them §4.1 defines nothing.
fn hash_of_pss(parameters: &[u8]) -> Option<Hash> {
    let (parameters, _) = read(parameters, SEQUENCE)?;
    let (hash, rest) = match read(parameters, 0xa0) {
        Some((tagged, rest)) => (algorithm_identifier(tagged)?, rest),
        None => (SHA1, parameters),
    };
    let mask_hash = match read(rest, 0xa1) {
        Some((tagged, _)) => {
            let (mask, _) = read(tagged, SEQUENCE)?;
            let (identifier, parameters) = read(mask, OBJECT_IDENTIFIER)?;
            (identifier == MGF1).then(|| algorithm_identifier(parameters))??
        }
        None => SHA1,
    };
    if hash == mask_hash { find(&HASHES, hash) } else { None }
}

fn algorithm_identifier(der: &[u8]) -> Option<&[u8]> {
    let (algorithm, _) = read(der, SEQUENCE)?;
    read(algorithm, OBJECT_IDENTIFIER).map(|(identifier, _)| identifier)
}

fn find(table: &[(&[u8], Hash)], identifier: &[u8]) -> Option<Hash> {
    table.iter().find(|(known, _)| *known == identifier).map(|(_, hash)| *hash)
}

/// The value that DER begins with, if it has this tag, and what follows it.
fn read(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, rest) = rest.split_first().filter(|_| *found == tag)?;
    let (len, rest) = match usize::from(*first) {
        short @ 0..=0x7f => (short, rest),
        long @ 0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(long & 0x7f)?;
            (bytes.iter().fold(0, |len, byte| (len << 8) | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    /// Name, certificate, and another implementation's digest of it.
    fn samples() -> Vec<(&'static str, CertificateDer<'static>, Option<&'static str>)> {
        let text = include_str!("end_point.pem");
        let labels = text.split("\n\n").skip(1).map(|part| part.lines().next().unwrap().split_once(' ').unwrap());
        let certificates = CertificateDer::pem_slice_iter(text.as_bytes()).map(Result::unwrap);
        let row = |((name, digest), der)| (name, der, (digest != "none").then_some(digest));
        labels.zip(certificates).map(row).collect()
    }

    #[test]
    fn as_another_implementation_has_it() {
        assert_eq!(samples().len(), 11);
        for (name, certificate, expected) in samples() {
            let found = EndPoint::of(&certificate).map(|end_point| format!("{end_point:?}"));
            assert_eq!(found.as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn cut_or_changed_certificates_do_no_harm() {
        for (_, certificate, _) in samples() {
            for len in 0..certificate.len() {
                assert!(EndPoint::of(&certificate[..len]).is_none());
                let mut changed = certificate.to_vec();
                changed[len] ^= 0xff;
                let _ = EndPoint::of(&changed);
            }
        }
        assert!(EndPoint::of(&[SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff, SEQUENCE, 0x80]).is_none());
    }
}
