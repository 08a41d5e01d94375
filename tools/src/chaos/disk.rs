//! A small disk in memory for the core's store, that can be filled. Mounting takes root.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILLER: &str = "filler";

pub(super) struct Disk(PathBuf);

impl Disk {
    /// Mounts a disk of so many MiB on a new folder.
    pub(super) fn mount(at: &Path, mib: u32) -> Result<Disk, String> {
        fs::create_dir(at).map_err(|error| format!("{}: {error}", at.display()))?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=700"), "hearth-chaos"]).arg(at);
        let done = mount.output().map_err(|error| format!("mount: {error}"))?;
        if !done.status.success() {
            let why = String::from_utf8_lossy(&done.stderr).into_owned();
            return Err(format!("--disk mounts a tmpfs, which takes root: {}", why.trim()));
        }
        Ok(Disk(at.to_owned()))
    }

    /// Takes all that is left.
    pub(super) fn fill(&self) -> Result<(), String> {
        let mut file = File::create(self.0.join(FILLER)).map_err(|error| format!("filling the disk: {error}"))?;
        for size in [1 << 20, 1 << 12, 1] {
            let block = vec![7; size];
            while file.write_all(&block).is_ok() {}
        }
        Ok(())
    }

    pub(super) fn free(&self) -> Result<(), String> {
        match fs::remove_file(self.0.join(FILLER)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("freeing the disk: {error}")),
            _ => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: it goes when the last process that uses it has ended.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
