//! Makes the table behind `hearthctl limits` from the constants and comments of every `limits.rs`, so that nobody
//! writes a limit twice. An edge's crate is none of the core's dependencies: its constants are taken over as they are
//! written, and are those of an edge of this build.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

/// Who has the limits of a file, and the file.
const FILES: [(&str, &str); 5] = [
    ("core", "src/limits.rs"),
    ("edge", "../connmgr/src/limits.rs"),
    ("storage", "../storage/src/limits.rs"),
    ("link", "../link/src/limits.rs"),
    ("wire", "../wire/src/limits.rs"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut table = String::from("&[\n");
    let mut modules = String::new();
    for (of, file) in FILES {
        println!("cargo::rerun-if-changed={file}");
        let source = std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
        let mut meaning: Vec<&str> = Vec::new();
        writeln!(modules, "#[allow(dead_code, unused_imports)]\nmod {of} {{\n    use hearth_wire::limits::*;")?;
        for line in source.lines() {
            if let Some(text) = line.strip_prefix("/// ") {
                meaning.push(text);
            } else if let Some((name, _)) = line.strip_prefix("pub const ").and_then(|line| line.split_once(':')) {
                // Links of rustdoc mean nothing to an operator.
                let meaning = meaning.join(" ").replace("[`", "`").replace("`]", "`");
                writeln!(table, "    ({of:?}, {name:?}, {meaning:?}, {of}::{name} as f64),")?;
                let line = line.replace("hearth_storage::limits::", "super::storage::");
                writeln!(modules, "    pub(super) {}", line.trim_start_matches("pub "))?;
            } else if line.is_empty() {
                meaning.clear();
            }
        }
        modules.push_str("}\n");
    }
    table.push(']');
    let text = format!("{modules}\n#[allow(clippy::unnecessary_cast)]\nconst BUILT_IN: &[BuiltIn] = {table};\n");
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    std::fs::write(Path::new(&out).join("limits.rs"), text)?;
    Ok(())
}
