//! All an edge needs to dial the core, as one file to carry over.

use crate::key::{KeyError, PrivateKey, PublicKey, write_secret};
use serde::Deserialize;
use std::fmt::Write;
use std::path::Path;

/// What `hearthctl edge add` makes and an edge's `link_key` names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bundle {
    /// The edge's name, bound to its key by the core's list.
    pub name: String,
    /// Where the core listens: `HOST:PORT`.
    pub core: String,
    pub key: PrivateKey,
    pub core_key: PublicKey,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    core: String,
    key: String,
    core_key: String,
}

impl Bundle {
    /// The file's text (TOML).
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let _ = write!(
            text,
            "# Key of a Hearth edge: whoever has this file may speak to the core as {name:?}.\n\
             # In the edge's connmgr.toml: link_key = \"this file\"\n\
             name = {name:?}\ncore = {core:?}\nkey = '''\n{key}'''\ncore_key = '''\n{core_key}'''\n",
            name = self.name,
            core = self.core,
            key = self.key.to_pem(),
            core_key = self.core_key.to_pem(),
        );
        text
    }

    /// Reads the text of a file. The message names the key that is wrong, never a secret.
    pub fn parse(text: &str) -> Result<Bundle, String> {
        let file: File = toml::from_str(text).map_err(|error| error.message().replace('\n', " "))?;
        if !crate::is_edge_name(&file.name) {
            return Err(format!("name = {:?}: expected letters, digits, '.', '_' or '-'", file.name));
        }
        Ok(Bundle {
            name: file.name,
            core: file.core,
            key: PrivateKey::from_pem(&file.key).map_err(|error| format!("key: {error}"))?,
            core_key: PublicKey::from_pem(&file.core_key).map_err(|error| format!("core_key: {error}"))?,
        })
    }

    /// Reads a file.
    pub fn load(path: &Path) -> Result<Bundle, String> {
        let text =
            std::fs::read_to_string(path).map_err(|error| format!("{}: cannot read: {error}", path.display()))?;
        Bundle::parse(&text).map_err(|message| format!("{}: {message}", path.display()))
    }

    /// Writes a new file, for its owner alone.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        write_secret(path, &self.to_text()).map_err(|cause| KeyError::Io {
            path: path.to_owned(),
            doing: "write",
            cause,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let (core, edge) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
        let core_key = core.public().unwrap();
        let bundle = Bundle { name: "paris-1".into(), core: "[::1]:5270".into(), key: edge, core_key };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("paris-1.hearth-edge");
        bundle.save(&path).unwrap();
        assert_eq!(Bundle::load(&path).unwrap(), bundle);
        assert!(bundle.save(&path).is_err(), "a key is not written over");
        let text = bundle.to_text();
        for (from, to, says) in [
            ("paris-1", "par is", "name = \"par is\""),
            ("PRIVATE KEY", "SECRET KEY", "key: expected an Ed25519"),
            ("PUBLIC KEY", "OPEN KEY", "core_key: expected a public key"),
            ("core = ", "core_at = ", "core_at"),
        ] {
            let error = Bundle::parse(&text.replace(from, to)).unwrap_err();
            assert!(error.contains(says) && !error.contains('\n'), "{error}");
        }
    }
}
