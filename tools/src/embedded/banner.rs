//! What a new user reads once the server runs: where it is, and what to type next.

use super::Args;
use super::args::DATA;
use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// `addresses` as the edge said them: for each address to listen on the STARTTLS one, then the TLS one.
pub(super) fn text(args: &Args, addresses: &str) -> String {
    let domain = args.domain.first().map_or("localhost", String::as_str);
    let ctl = ctl_command(args);
    let mut text = format!("Hearth {} serves {}\n\n", env!("CARGO_PKG_VERSION"), args.domain.join(", "));
    for (index, address) in addresses.split(' ').filter_map(|text| text.parse::<SocketAddr>().ok()).enumerate() {
        let how = if index % 2 == 0 { "STARTTLS" } else { "TLS from the start" };
        let _ = writeln!(text, "  clients      {:<22} {how}", address.to_string());
    }
    let _ = writeln!(text, "  data         {}", args.data.display());
    if let Some((path, fingerprint)) = certificate(args) {
        let _ =
            writeln!(text, "  certificate  {}, self-signed; SHA-256:\n               {fingerprint}", path.display());
    }
    let _ = write!(
        text,
        "\nIn another terminal, add two accounts:\n  {ctl} user add ada@{domain}\n  {ctl} user add grace@{domain}\n\
         then log in with any XMPP client as ada@{domain}, and accept the certificate above.\n\
         `{ctl} status` shows how the server does. Ctrl-C stops it.\n"
    );
    text
}

/// How to call hearthctl from where the user is.
fn ctl_command(args: &Args) -> String {
    let this = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("hearth"));
    let beside = this.with_file_name("hearthctl");
    let mut command = if beside.exists() { from_here(&beside) } else { format!("{} ctl", from_here(&this)) };
    if args.data != Path::new(DATA) {
        let _ = write!(command, " --data {}", args.data.display());
    }
    command
}

/// A path as short as it can be typed in the working directory.
fn from_here(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    match here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned)) {
        Some(below) => format!("./{}", below.display()),
        None => path.display().to_string(),
    }
}

/// The self-signed certificate and its fingerprint, as clients show it.
fn certificate(args: &Args) -> Option<(PathBuf, String)> {
    let path = args.data.join("tls/self-signed.pem");
    let certificate = CertificateDer::from_pem_file(&path).ok()?;
    let digest = digest::digest(&digest::SHA256, &certificate);
    let bytes: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    Some((path, bytes.join(":")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_where_and_what_next() {
        let args = Args::read(&["--domain".into(), "a.example".into(), "--data".into(), "d".into()]).unwrap();
        let text = text(&args, "127.0.0.1:5222 127.0.0.1:5223");
        for part in ["127.0.0.1:5222         STARTTLS", "127.0.0.1:5223         TLS", "--data d user add ada@a.example"]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
}
