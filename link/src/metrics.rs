//! Figures of a daemon for whoever collects them: a page of OpenMetrics 1.0 text, over HTTP on a thread of its own.
//!
//! Collectors are few and ask seldom, so one is answered at a time, and a connection is for one question. What asks
//! too slowly or too long is closed.

use crate::limits::QUESTION_BYTES_MAX;
use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a page is (OpenMetrics 1.0).
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long a question may take, and one write. Reached: the connection is closed.
const PATIENCE: Duration = Duration::from_secs(2);

/// After a connection that could not be taken.
const PAUSE: Duration = Duration::from_millis(100);

/// How a figure behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows, from the start of the process.
    Counter,
    Gauge,
}

/// A page as it is written.
#[derive(Default, Debug)]
pub struct Page {
    text: String,
}

impl Page {
    /// An empty page.
    #[must_use]
    pub fn new() -> Page {
        Page::default()
    }

    /// Begins a figure: its samples follow. The name of a counter goes without `_total`.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let _ = writeln!(self.text, "# TYPE {name} {kind}\n# HELP {name} {}", escaped(help));
    }

    /// One value; that of a counter with `_total` at the end of its name.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{label}=\"{}\"", if index == 0 { '{' } else { ',' }, escaped(text));
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A figure of one value.
    pub fn single(&mut self, name: &str, kind: Kind, help: &str, value: f64) {
        self.family(name, kind, help);
        let suffix = if kind == Kind::Counter { "_total" } else { "" };
        self.sample(&format!("{name}{suffix}"), &[], value);
    }

    /// A histogram: `counts` are of what lies between the bounds, one more than those, `sum` is of all.
    pub fn histogram(&mut self, name: &str, help: &str, bounds: &[f64], counts: &[u64], sum: f64) {
        let _ = writeln!(self.text, "# TYPE {name} histogram\n# HELP {name} {}", escaped(help));
        let mut below = 0_u64;
        let bounds = bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(counts) {
            below = below.saturating_add(*count);
            let _ = writeln!(self.text, "{name}_bucket{{le=\"{bound}\"}} {below}");
        }
        let _ = writeln!(self.text, "{name}_count {below}\n{name}_sum {sum}");
    }

    /// What the process itself takes, as Linux tells: CPU time, memory, descriptors.
    pub fn process(&mut self) {
        let Some((cpu_s, resident)) = std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| usage(&stat))
        else {
            return;
        };
        self.single("process_cpu_seconds", Kind::Counter, "CPU time of this process, user and system.", cpu_s);
        self.single("process_resident_memory_bytes", Kind::Gauge, "Resident memory of this process.", resident);
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            let help = "Open descriptors of this process.";
            self.single("process_open_fds", Kind::Gauge, help, open.count() as f64);
        }
    }

    /// The whole page.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.text.push_str("# EOF\n");
        self.text
    }
}

/// In label values and help: backslash, line feed and quote.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

/// Seconds of CPU and resident bytes, of `/proc/self/stat`: hundredths of a second, and pages of 4 KiB.
fn usage(stat: &str) -> Option<(f64, f64)> {
    // The name of the program, in parentheses, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: f64 = fields.nth(11)?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    let pages: f64 = fields.nth(8)?.parse().ok()?;
    Some(((user + system) / 100.0, pages * 4096.0))
}

/// Upper bounds of [`Times`], seconds; what took longer is behind the last.
const TIME_BOUNDS_S: [f64; 8] = [0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0];

/// How long something of one loop took: its turns, during which all else waits; round trips on its links.
#[derive(Default, Debug)]
pub struct Times {
    counts: [AtomicU64; TIME_BOUNDS_S.len() + 1],
    us: AtomicU64,
}

impl Times {
    /// It took so long once more.
    pub fn note(&self, took: Duration) {
        let at = TIME_BOUNDS_S.partition_point(|bound| *bound < took.as_secs_f64());
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Those of all loops as one histogram.
    pub fn write(loops: &[Arc<Times>], page: &mut Page, name: &str, help: &str) {
        let sum = |of: &dyn Fn(&Times) -> u64| loops.iter().map(|times| of(times)).fold(0_u64, u64::saturating_add);
        let counts: Vec<u64> = (0..=TIME_BOUNDS_S.len())
            .map(|at| sum(&|times| times.counts.get(at).map_or(0, |count| count.load(Ordering::Relaxed))))
            .collect();
        page.histogram(
            name,
            help,
            &TIME_BOUNDS_S,
            &counts,
            sum(&|times| times.us.load(Ordering::Relaxed)) as f64 / 1e6,
        );
    }
}

/// Ends [`serve`].
#[derive(Clone, Debug)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    address: SocketAddr,
}

impl Stop {
    /// For a listener that is served.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn of(listener: &TcpListener) -> io::Result<Stop> {
        Ok(Stop { asked: Arc::default(), address: listener.local_addr()? })
    }

    /// Where the page is served; port 0 has become a real one.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets it return behind the answer under way.
    pub fn stop(&self) {
        self.asked.store(true, Ordering::Release);
        // Whoever waits for a connection gets one.
        let _ = TcpStream::connect_timeout(&self.address, PATIENCE);
    }
}

/// Serves `GET /metrics` until it is stopped; `page` makes the text, `None`: there is none for now (`503`).
pub fn serve(listener: &TcpListener, stop: &Stop, mut page: impl FnMut() -> Option<String>) {
    for stream in listener.incoming() {
        if stop.asked.load(Ordering::Acquire) {
            return;
        }
        match stream {
            // Somebody who went away is nobody's loss.
            Ok(stream) => drop(answer(stream, &mut page)),
            // Descriptors are used up, say: that does not pass at once.
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

fn answer(mut stream: TcpStream, page: &mut impl FnMut() -> Option<String>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let (mut question, mut buffer, begun) = (Vec::new(), [0; 1024], Instant::now());
    while begun.elapsed() < PATIENCE {
        let read = stream.read(&mut buffer)?;
        question.extend_from_slice(buffer.get(..read).unwrap_or_default());
        let whole = question.windows(4).any(|end| end == b"\r\n\r\n");
        if read == 0 || question.len() > QUESTION_BYTES_MAX || whole {
            break;
        }
    }
    let line = question.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
    let (status, body) = match (method, path) {
        _ if question.len() > QUESTION_BYTES_MAX => ("431 Request Header Fields Too Large", None),
        (b"GET" | b"HEAD", b"/metrics") => match page() {
            Some(page) => ("200 OK", Some(page)),
            None => ("503 Service Unavailable", None),
        },
        (b"GET" | b"HEAD", _) => ("404 Not Found", None),
        _ => ("405 Method Not Allowed", None),
    };
    let kind = if body.is_some() { CONTENT_TYPE } else { "text/plain; charset=utf-8" };
    let body = body.unwrap_or_else(|| format!("{status}: the figures are at /metrics\n"));
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    if method != b"HEAD" {
        stream.write_all(body.as_bytes())?;
    }
    stream.shutdown(std::net::Shutdown::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page() {
        let mut page = Page::new();
        page.single("hearth_up_seconds", Kind::Gauge, "For how long.", 1.5);
        page.family("hearth_sessions", Kind::Gauge, "Says \"hello\"\\\n.");
        page.sample("hearth_sessions", &[("state", "a\"b\\c\n"), ("edge", "x")], 3.0);
        page.single("hearth_stanzas", Kind::Counter, "In.", 1e9);
        page.histogram("hearth_turn_seconds", "Turns.", &[0.001, 0.01], &[5, 0, 2], 0.25);
        assert_eq!(
            page.finish(),
            "# TYPE hearth_up_seconds gauge\n# HELP hearth_up_seconds For how long.\nhearth_up_seconds 1.5\n\
             # TYPE hearth_sessions gauge\n# HELP hearth_sessions Says \\\"hello\\\"\\\\\\n.\n\
             hearth_sessions{state=\"a\\\"b\\\\c\\n\",edge=\"x\"} 3\n\
             # TYPE hearth_stanzas counter\n# HELP hearth_stanzas In.\nhearth_stanzas_total 1000000000\n\
             # TYPE hearth_turn_seconds histogram\n# HELP hearth_turn_seconds Turns.\n\
             hearth_turn_seconds_bucket{le=\"0.001\"} 5\nhearth_turn_seconds_bucket{le=\"0.01\"} 5\n\
             hearth_turn_seconds_bucket{le=\"+Inf\"} 7\nhearth_turn_seconds_count 7\nhearth_turn_seconds_sum 0.25\n# EOF\n"
        );
    }

    #[test]
    fn times_of_all_loops_are_one_histogram() {
        let loops = [Arc::new(Times::default()), Arc::new(Times::default())];
        for (times, ms) in [(0, 1), (0, 2), (1, 2), (1, 5_000)] {
            loops[times].note(Duration::from_millis(ms));
        }
        let mut page = Page::new();
        Times::write(&loops, &mut page, "t", "h");
        let text = page.finish();
        for line in [
            "t_bucket{le=\"0.0003\"} 0\n",
            "t_bucket{le=\"0.001\"} 1\n",
            "le=\"0.003\"} 3\n",
            "le=\"1\"} 3\n",
            "le=\"+Inf\"} 4\n",
            "t_sum 5.005\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }

    #[test]
    fn what_the_kernel_tells() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 99 8192 321 18446744073709551615";
        assert_eq!(usage(stat), Some((3.0, 321.0 * 4096.0)));
        assert_eq!(usage("7 (a"), None);
    }

    fn ask(address: SocketAddr, question: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(question).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // What is closed ahead of all that was asked is reset.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    #[test]
    fn questions_are_answered_one_by_one_until_it_stops() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stop = Stop::of(&listener).unwrap();
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || {
                let mut asked = 0;
                serve(&listener, &stop, || {
                    asked += 1;
                    (asked < 4).then(|| format!("page {asked}\n# EOF\n"))
                });
            }
        });
        let at = stop.address();
        let first = ask(at, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(first.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0"));
        assert!(first.contains("\r\nContent-Length: 13\r\n") && first.ends_with("\r\n\r\npage 1\n# EOF\n"), "{first}");
        assert!(ask(at, b"GET /metrics?name=x HTTP/1.0\r\n\r\n").ends_with("page 2\n# EOF\n"));
        let head = ask(at, b"HEAD /metrics HTTP/1.1\r\n\r\n");
        assert!(head.contains(" 200 OK") && head.ends_with("\r\n\r\n"), "{head}");
        for (question, status) in [
            (&b"GET /metrics HTTP/1.1\r\n\r\n"[..], " 503 "),
            (b"GET / HTTP/1.1\r\n\r\n", " 404 "),
            (b"POST /metrics HTTP/1.1\r\n\r\n", " 405 "),
            (b"", " 405 "),
            (&[b'x'; 9000], " 431 "),
        ] {
            let answer = ask(at, question);
            assert!(answer.is_empty() && status == " 431 " || answer.contains(status), "{status}: {answer}");
        }
        // One byte now and then does not keep it from others for long.
        let mut slow = TcpStream::connect(at).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE * 3 && slow.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(200));
        }
        assert!(begun.elapsed() < PATIENCE * 2, "{:?}", begun.elapsed());
        stop.stop();
        thread.join().unwrap();
    }
}
