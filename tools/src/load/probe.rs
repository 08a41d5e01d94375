//! What the server's processes cost: CPU time from `/proc/PID/stat`, memory from `/proc/PID/smaps_rollup`.

use super::error::LoadError;
use std::fs;
use std::io;
use std::str::FromStr;

/// Linux reports process times to user space in hundredths of a second on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// One observed process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Process {
    pub name: String,
    pub pid: u32,
}

/// The processes that make up the server, as given with `--pids edge=12,core=34` (a bare number is its own name).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Processes(pub Vec<Process>);

impl FromStr for Processes {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, String> {
        let one = |word: &str| {
            let (name, pid) = word.split_once('=').unwrap_or((word, word));
            let pid = pid.parse().map_err(|_| format!("{word} is not NAME=PID"))?;
            Ok(Process { name: name.to_owned(), pid })
        };
        list.split(',').filter(|word| !word.is_empty()).map(one).collect::<Result<_, _>>().map(Self)
    }
}

/// CPU seconds of each process, in the order of the list.
#[derive(Clone, Debug)]
pub(crate) struct Cpu {
    pub(crate) seconds: Vec<f64>,
}

/// Proportional set size of each process in bytes, in the order of the list.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) bytes: Vec<f64>,
}

impl Processes {
    pub(crate) fn cpu(&self) -> Result<Cpu, LoadError> {
        let one = |process: &Process| {
            let text = read(process.pid, "stat", "reading its CPU time")?;
            cpu_seconds(&text).ok_or_else(|| malformed(process.pid, "reading its CPU time"))
        };
        self.0.iter().map(one).collect::<Result<_, _>>().map(|seconds| Cpu { seconds })
    }

    pub(crate) fn memory(&self) -> Result<Memory, LoadError> {
        let one = |process: &Process| {
            let text = read(process.pid, "smaps_rollup", "reading its memory")?;
            pss_bytes(&text).ok_or_else(|| malformed(process.pid, "reading its memory"))
        };
        self.0.iter().map(one).collect::<Result<_, _>>().map(|bytes| Memory { bytes })
    }
}

impl Processes {
    /// Bytes that each process has had written to disks, in the order of the list.
    pub(crate) fn written(&self) -> Result<Vec<f64>, LoadError> {
        let one = |process: &Process| {
            let text = read(process.pid, "io", "reading what it wrote")?;
            written_bytes(&text).ok_or_else(|| malformed(process.pid, "reading what it wrote"))
        };
        self.0.iter().map(one).collect()
    }
}

impl Cpu {
    /// CPU seconds of each process since `before`.
    pub(crate) fn since(&self, before: &Self) -> Vec<f64> {
        self.seconds.iter().zip(&before.seconds).map(|(after, before)| after - before).collect()
    }
}

fn read(pid: u32, file: &str, doing: &'static str) -> Result<String, LoadError> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).map_err(|cause| LoadError::Process { pid, doing, cause })
}

fn malformed(pid: u32, doing: &'static str) -> LoadError {
    LoadError::Process { pid, doing, cause: io::ErrorKind::InvalidData.into() }
}

/// proc(5): the command's name may hold anything, so fields are counted from its closing bracket.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11); // fields 14 and 15 of the whole line
    let user: f64 = times.next()?.parse().ok()?;
    let system: f64 = times.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn pss_bytes(rollup: &str) -> Option<f64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

fn written_bytes(io: &str) -> Option<f64> {
    io.lines().find_map(|line| line.strip_prefix("write_bytes:"))?.trim().parse().ok()
}

/// CPU seconds of the load program itself: near the time that passed, it was the bottleneck.
pub(crate) fn own_cpu() -> Result<f64, LoadError> {
    let text = fs::read_to_string("/proc/self/stat").map_err(LoadError::io("reading own CPU time"))?;
    Ok(cpu_seconds(&text).unwrap_or(0.0))
}

/// How many descriptors this process may open.
pub(crate) fn descriptor_limit() -> Result<u64, LoadError> {
    let limits = fs::read_to_string("/proc/self/limits").map_err(LoadError::io("reading own limits"))?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    Ok(soft.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_files_are_read() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 100";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(pss_bytes("55 ---p [rollup]\nRss:  8 kB\nPss:     4 kB\nPss_Anon: 2 kB\n"), Some(4096.0));
        assert_eq!(written_bytes("wchar: 7\nwrite_bytes: 4096\ncancelled_write_bytes: 3\n"), Some(4096.0));
        let own: Processes = format!("me={}", std::process::id()).parse().unwrap();
        assert!(own.cpu().unwrap().seconds[0] >= 0.0);
        assert!(own.memory().unwrap().bytes[0] > 0.0);
        assert!(own.written().unwrap()[0] >= 0.0);
    }

    #[test]
    fn lists_of_processes() {
        let list: Processes = "edge=12,34".parse().unwrap();
        let named = |name: &str, pid| Process { name: name.into(), pid };
        assert_eq!(list.0, [named("edge", 12), named("34", 34)]);
        assert!("edge=x".parse::<Processes>().is_err());
    }
}
