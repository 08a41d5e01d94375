use super::*;
use crate::config::SelfSigned;

const NOW_MS: u64 = 1_800_000_000_000;

fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

/// A chain and a key in `folder`, until the end of `year`.
fn put(folder: &Path, domain: &str, year: i32) -> Certificate {
    let mut params = rcgen::CertificateParams::new(vec![hearth_wire::jid::domain_to_ascii(domain)]).unwrap();
    params.not_before = rcgen::date_time_ymd(1999, 1, 1);
    params.not_after = rcgen::date_time_ymd(year, 12, 31);
    let key = rcgen::KeyPair::generate().unwrap();
    let chain = params.self_signed(&key).unwrap().pem();
    std::fs::create_dir_all(folder).unwrap();
    let here = of_folder(domain, folder);
    std::fs::write(&here.chain, chain).unwrap();
    std::fs::write(&here.key, key.serialize_pem()).unwrap();
    here
}

fn load(config: &Config) -> Result<Certificates, String> {
    Certificates::load(config, &provider(), NOW_MS).map_err(|error| error.to_string())
}

fn again(config: &Config, announced: &[&str], before: &Certificates) -> (Certificates, Vec<String>) {
    let search = Search { config, provider: &provider(), now_ms: NOW_MS };
    let announced = announced.iter().map(|domain| (*domain).to_owned()).collect();
    let (found, errors) = search.all(&announced, before);
    (found, errors.iter().map(ToString::to_string).collect())
}

fn shown(certificates: &Certificates, sni: Option<&str>, to: Option<&str>) -> Option<Vec<u8>> {
    certificates.choose(sni, to).map(|served| served.key.cert[0].to_vec())
}

#[test]
fn made_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let self_signed =
        SelfSigned { folder: folder.path().join("deep/tls"), domains: vec!["localhost".into(), "ö.example".into()] };
    let config = Config { self_signed, ..Config::default() };
    let (first, second) = (load(&config).unwrap(), load(&config).unwrap());
    let of = |all, name| shown(all, Some(name), None).unwrap();
    assert_eq!(of(&first, "localhost"), of(&second, "localhost"));
    assert_eq!(of(&first, "xn--nda.example"), of(&first, "ö.example"));
    // Its issuer and subject: the common name, a UTF8String of nine bytes.
    let name = b"\x06\x03\x55\x04\x03\x0c\x09localhost";
    assert_eq!(of(&first, "localhost").windows(name.len()).filter(|bytes| bytes == name).count(), 2);
    let mode = std::fs::metadata(config.self_signed.folder.join("self-signed.key")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    // A domain that the core announces has one of its own, at once and from then on.
    let (third, errors) = again(&config, &["new.example", "ü.example", "../evil", ".", "localhost"], &first);
    assert_eq!(errors, Vec::<String>::new());
    let new = of(&third, "new.example");
    assert!(new != of(&third, "localhost") && new != of(&third, "xn--tda.example"));
    assert_eq!(of(&third, "localhost"), of(&first, "localhost"));
    let (fourth, _) = again(&config, &["new.example"], &Certificates::default());
    assert_eq!(of(&fourth, "new.example"), new);
    assert!(!folder.path().join("deep/evil").exists());
}

#[test]
fn the_name_chooses() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, at: &str| put(&folder.path().join(at), name, 2060);
    let config = Config { certificates: vec![make("a.example", "a"), make("*.b.example", "b")], ..Config::default() };
    let all = load(&config).unwrap();
    let (a, b) = (shown(&all, Some("a.example"), None), shown(&all, Some("x.b.example"), None));
    assert_ne!(a, b);
    for (sni, to, want) in [
        (Some("A.Example"), None, &a),
        (Some("a.example."), None, &a),
        (Some("X.b.example"), None, &b),
        (Some("b.example"), None, &a),
        (None, None, &a),
        (None, Some("x.b.example"), &b),
        (Some("other.example"), Some("x.b.example"), &b),
        (Some("a.example"), Some("x.b.example"), &a),
        (None, Some("other.example"), &a),
    ] {
        assert_eq!(&shown(&all, sni, to), want, "{sni:?} {to:?}");
    }
    assert!(all.has("a.example") && all.has("y.b.example") && !all.has("b.example"));
}

#[test]
fn what_is_wrong_is_said_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let (good, other) =
        (put(&folder.path().join("a"), "a.example", 2060), put(&folder.path().join("b"), "b.example", 2060));
    let text = std::fs::read(&good.chain).unwrap();
    let junk = folder.path().join("junk.pem");
    std::fs::write(&junk, "hello").unwrap();
    let missing = folder.path().join("missing.pem");
    for (certificate, says) in [
        (Certificate { chain: missing.clone(), ..good.clone() }, "missing.pem: cannot read"),
        (Certificate { key: missing, ..good.clone() }, "missing.pem: cannot read"),
        (Certificate { chain: junk.clone(), ..good.clone() }, "junk.pem: expected a certificate chain"),
        (Certificate { key: junk, ..good.clone() }, "junk.pem: expected a private key"),
        (Certificate { key: other.key.clone(), ..good.clone() }, "privkey.pem: expected the key of the certificate in"),
        (put(&folder.path().join("c"), "a.example", 2019), "fullchain.pem: expired on 2019-12-31T00:00:00"),
    ] {
        let config = Config { certificates: vec![certificate.clone()], ..Config::default() };
        let expired = says.contains("expired");
        match load(&config) {
            Ok(all) => assert!(expired && shown(&all, None, None).is_some(), "{says}"),
            Err(error) => assert!(!expired && error.contains(says), "{error}"),
        }
        // Where a good one is in use, it stays.
        let before =
            Certificates::load(&Config { certificates: vec![good.clone()], ..Config::default() }, &provider(), NOW_MS);
        let (after, errors) = again(&config, &[], &before.unwrap());
        assert!(matches!(errors.as_slice(), [error] if error.contains(says)), "{errors:?}");
        assert_eq!(shown(&after, Some("a.example"), None), shown(&load_one(&good), None, None), "{says}");
    }
    assert_eq!(std::fs::read(&good.chain).unwrap(), text);
}

fn load_one(certificate: &Certificate) -> Certificates {
    load(&Config { certificates: vec![certificate.clone()], ..Config::default() }).unwrap()
}

#[test]
fn a_folder_of_an_acme_client() {
    let folder = tempfile::tempdir().unwrap();
    let live = folder.path().join("live");
    put(&live.join("a.example"), "a.example", 2060);
    put(&live.join("xn--nda.example"), "ö.example", 2060);
    std::fs::write(live.join("README"), "not a folder").unwrap();
    std::fs::create_dir(live.join("empty.example")).unwrap();
    let config = Config { certificate_folder: Some(live.clone()), ..Config::default() };
    let first = load(&config).unwrap();
    assert!(first.has("a.example") && first.has("ö.example") && !first.has("empty.example") && !first.has("localhost"));
    // Renewed, and one spoilt, and one new.
    let old = shown(&first, Some("a.example"), None);
    put(&live.join("a.example"), "a.example", 2061);
    put(&live.join("new.example"), "new.example", 2060);
    std::fs::write(live.join("xn--nda.example/privkey.pem"), "spoilt").unwrap();
    let (second, errors) = again(&config, &["missing.example"], &first);
    assert!(matches!(errors.as_slice(), [error] if error.contains("expected a private key")), "{errors:?}");
    assert_ne!(shown(&second, Some("a.example"), None), old);
    assert_eq!(shown(&second, Some("ö.example"), None), shown(&first, Some("ö.example"), None));
    assert!(second.has("new.example") && !second.has("missing.example"));
    // Looked for when it is announced; made if that is wanted too.
    let mut found = second.clone();
    put(&live.join("later.example"), "later.example", 2060);
    let search = Search { config: &config, provider: &provider(), now_ms: NOW_MS };
    assert!(search.one("later.example", &second, &mut found).is_none() && found.has("later.example"));
    let made = SelfSigned { folder: folder.path().join("made"), domains: Vec::new() };
    let both = Config { self_signed: made, self_signed_enabled: Some(true), ..config.clone() };
    let (third, _) = again(&both, &["a.example", "missing.example"], &second);
    assert!(third.has("missing.example") && !folder.path().join("made/a.example").exists());
    // A folder that is away for a moment takes nothing along.
    let away = Config { certificate_folder: Some(folder.path().join("away")), ..config };
    let (fourth, errors) = again(&away, &[], &second);
    assert!(fourth.has("a.example") && errors.iter().any(|error| error.contains("away: cannot read")), "{errors:?}");
    assert!(load(&away).is_err());
}
