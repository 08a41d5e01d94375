//! Makes the table behind `hearthctl limits` from the constants and comments of `src/limits.rs`, so that
//! nobody writes a limit twice.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src/limits.rs");
    let mut table = String::from("&[\n");
    let mut meaning: Vec<&str> = Vec::new();
    let source = std::fs::read_to_string("src/limits.rs")?;
    for line in source.lines() {
        if let Some(text) = line.strip_prefix("/// ") {
            meaning.push(text);
        } else if let Some((name, _)) = line.strip_prefix("pub const ").and_then(|line| line.split_once(':')) {
            // Links of rustdoc mean nothing to an operator.
            let meaning = meaning.join(" ").replace("[`", "`").replace("`]", "`");
            writeln!(table, "    ({name:?}, {meaning:?}, crate::limits::{name} as u64),")?;
        } else if line.is_empty() {
            meaning.clear();
        }
    }
    table.push_str("]\n");
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    std::fs::write(Path::new(&out).join("limits.rs"), table)?;
    Ok(())
}
