//! What strangers cost in memory, measured on the edge of a `hearth` with its default configuration: many streams at
//! their worst, slow ones, and ones that come and go. Rows of `THREATS.md`.
//!
//! `HEARTH_STREAMS` (10,000), `HEARTH_CYCLES` (20,000) and `HEARTH_NAMES` (1,000,000) ask for other numbers:
//! `HEARTH_CYCLES=1000000 cargo test --package hearth-tools --test hostile_memory threat_003`

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::bystander::{Bystander, HEADER, STARTTLS};
use common::{Hearth, Options};
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of the edge for each stream of a stranger (threats, row 1).
const STREAM_BYTES_MAX: u64 = 16 * 1024;

/// One at a time: each of them holds half of the descriptors that a process may have.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

fn start(arguments: &[&str]) -> (Hearth, Bystander, i32) {
    let hearth = Hearth::start(&Options { arguments, ..Options::default() });
    let bystander = Bystander::new(&hearth);
    let edge = hearth.part("edge").expect("an edge");
    (hearth, bystander, edge)
}

/// Resident bytes of a process.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its size");
    line.trim_end_matches("kB").trim().parse::<u64>().expect("a number") * 1024
}

/// The same, once it has not changed for a while.
fn settled(pid: i32) -> u64 {
    let (mut last, mut same) = (resident(pid), 0);
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(50));
        let now = resident(pid);
        same = if now == last { same + 1 } else { 0 };
        last = now;
        if same == 6 {
            break;
        }
    }
    last
}

/// A connection from one of many addresses of this machine: each has ports of its own.
fn connect(to: SocketAddr, nth: u64) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let [a, b] = u8::try_from(nth / 64 % 64).map(|high| [high, u8::try_from(nth % 64).unwrap_or(0)]).expect("small");
    let from = SocketAddr::from((Ipv4Addr::new(127, 1, a, b + 1), 0));
    socket.bind(&from.into()).expect("an address");
    socket.connect(&to.into()).unwrap_or_else(|e| panic!("connection {nth} from {from}: {e}"));
    socket.into()
}

/// Worst XML of just less than 8 KiB that the edge must keep, since it may go on, in the pieces it is sent in.
fn shapes() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    const ROOM: usize = 8 * 1024 - 1;
    let fill = |start: &str, piece: &str| {
        let mut text = start.to_owned();
        while text.len() + piece.len() <= ROOM {
            text.push_str(piece);
        }
        text.into_bytes()
    };
    let numbered = |start: &str, piece: fn(usize) -> String| {
        let mut text = start.to_owned();
        for nth in 0.. {
            let piece = piece(nth);
            if text.len() + piece.len() > ROOM {
                break;
            }
            text.push_str(&piece);
        }
        text.into_bytes()
    };
    let elements = fill("<a>", "<b/>");
    // A buffer that doubles is at its largest then.
    let halves = elements.chunks(4095).map(<[u8]>::to_vec);
    // As much as a header may declare, and more than that in attributes that mean nothing.
    let header = HEADER.replace(" to=", &format!(" xmlns:p='{}' x='{}' to=", "u".repeat(1900), "x".repeat(5900)));
    vec![
        ("tiny elements", [HEADER.as_bytes().to_vec()].into_iter().chain(halves).collect()),
        ("tiny attributes", vec![HEADER.as_bytes().to_vec(), numbered("<a", |nth| format!(" a{nth}=''"))]),
        ("a header without end", vec![numbered("<stream:stream", |nth| format!(" xmlns:a{nth}='u'"))]),
        ("a header with much in it, and elements", vec![header.into_bytes(), elements]),
    ]
}

/// Opens so many streams that say `pieces` and leave it at that.
fn flood(hearth: &Hearth, streams: u64, pieces: &[Vec<u8>]) -> Vec<TcpStream> {
    let mut open: Vec<TcpStream> = (0..streams).map(|nth| connect(hearth.starttls, nth)).collect();
    for piece in pieces {
        open.iter_mut().for_each(|stream| stream.write_all(piece).expect("sends"));
    }
    open
}

/// The edge kept what this stream said: what ends it now is that it goes on.
fn was_kept(mut stream: TcpStream, name: &str) {
    stream.set_read_timeout(Some(common::DEADLINE)).expect("a deadline");
    let _ = stream.write_all(&[b'x'; 9000]);
    let mut said = String::new();
    let _ = stream.read_to_string(&mut said);
    assert!(said.contains("policy-violation") && said.contains("too many bytes"), "{name}: {said}");
}

/// And what has ended is freed: another flood as large needs no more (row 2).
#[test]
fn threat_001_002_the_worst_xml_of_strangers_costs_16_kib_a_stream() {
    let _alone = alone();
    let streams = number("HEARTH_STREAMS", 10_000);
    let mut wrong = Vec::new();
    for (name, pieces) in shapes() {
        let (hearth, mut bystander, edge) = start(&[]);
        let before = settled(edge);
        let mut each = [0; 2];
        for bytes in &mut each {
            let mut open = flood(&hearth, streams, &pieces);
            bystander.is_served(name);
            *bytes = settled(edge).saturating_sub(before) / streams;
            was_kept(open.pop().expect("one"), name);
        }
        eprintln!("{name}: {each:?} bytes for each of {streams} streams, twice");
        if each.iter().any(|bytes| *bytes > STREAM_BYTES_MAX) {
            wrong.push(format!("{name}: {each:?}"));
        }
    }
    assert!(wrong.is_empty(), "more than {STREAM_BYTES_MAX} bytes a stream: {wrong:?}");
}

/// Row 4: a thousand at once, in the clear and in the midst of handshakes, a byte at a time: what all of them cost, and
/// that somebody else is served meanwhile.
#[test]
fn threat_004_a_thousand_slow_streams_stay_within_their_budget() {
    const STREAMS: u64 = 1_000;
    const ROUNDS: usize = 50;
    let _alone = alone();
    let (hearth, mut bystander, edge) = start(&[]);
    let stanza = format!("{HEADER}<message><body>{}", "x".repeat(ROUNDS));
    let before = settled(edge);
    let mut slow: Vec<(TcpStream, Vec<u8>)> = (0..STREAMS)
        .map(|nth| match nth % 2 {
            0 => (connect(hearth.starttls, nth), stanza.clone().into_bytes()),
            _ => (connect(hearth.direct, nth), hello()),
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for round in 0..ROUNDS {
        for (stream, says) in &mut slow {
            let byte = says.get(round).copied().unwrap_or(b'x');
            stream.write_all(&[byte]).expect("it is still there");
        }
        let asked = Instant::now();
        bystander.is_served("a round of slow bytes");
        slowest = slowest.max(asked.elapsed());
    }
    let each = settled(edge).saturating_sub(before) / STREAMS;
    eprintln!("{each} bytes for each of {STREAMS} slow streams; the slowest of {ROUNDS} pings took {slowest:?}");
    assert!(each <= STREAM_BYTES_MAX, "{each}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

/// A ClientHello.
fn hello() -> Vec<u8> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = "example.org".try_into().expect("a name");
    let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).expect("a client");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("a hello");
    hello
}

/// Row 3: what comes and goes leaves nothing behind, wherever it stopped.
#[test]
fn threat_003_connections_that_come_and_go_leave_nothing() {
    let _alone = alone();
    let cycles = number("HEARTH_CYCLES", 20_000);
    let (hearth, mut bystander, edge) = start(&[]);
    let hello = hello();
    let half = &hello[..hello.len() / 2];
    let starttls = format!("{HEADER}{STARTTLS}");
    let cycle = |nth: u64| {
        let (to, says): (_, &[u8]) = match nth % 8 {
            0 => (hearth.starttls, b""),
            1 => (hearth.direct, b""),
            2 => (hearth.starttls, b"<stream:stream xmlns='jabber"),
            3 => (hearth.starttls, HEADER.as_bytes()),
            4 => (hearth.starttls, starttls.as_bytes()),
            5 => (hearth.direct, half),
            6 => (hearth.direct, &hello),
            _ => (hearth.direct, b"\x16\x03\x01\x40\x00\x01"),
        };
        let mut stream = connect(to, nth % 4096);
        stream.write_all(says).expect("sends");
        if matches!(nth % 8, 3 | 4 | 6) {
            // Its answer has to be there first.
            let mut some = [0; 64];
            stream.read_exact(&mut some).expect("an answer");
        }
        if nth % 16 < 8 {
            // Without a word, and at once.
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("lingers not");
        }
    };
    // Buffers and tables take their size with the first ones, a page of memory of each size with it.
    let warm = cycles / 4;
    (0..warm).for_each(cycle);
    bystander.is_served("the first quarter");
    let before = settled(edge);
    (warm..cycles).for_each(cycle);
    bystander.is_served("all of them");
    let after = settled(edge);
    let growth = after.saturating_sub(before);
    eprintln!("{cycles} cycles: {before} bytes behind the first quarter, {after} behind all");
    assert!(growth <= before / 100, "grown by {growth} over {before}");
    let open = std::fs::read_dir(format!("/proc/{edge}/fd")).expect("descriptors").count();
    assert!(open < 64, "{open} descriptors are left");
}

/// Row 20: names, namespaces, addresses and resources that somebody makes up are kept nowhere.
#[test]
fn threat_020_what_attackers_name_is_kept_nowhere() {
    let _alone = alone();
    let names = number("HEARTH_NAMES", 1_000_000);
    const PER_STANZA: u64 = 2_000;
    // So that the addresses weigh as much as is allowed to stay, if they do.
    let pad = "p".repeat(300);
    let (hearth, mut bystander, edge) = start(&["--no-rate-limit"]);
    let core = hearth.part("core").expect("a core");
    hearth.add("ada@example.org");
    let mut ada = hearth.login("ada", "attacker");
    let mut next = 0u64;
    let mut burst = |stanzas: u64| {
        for _ in 0..stanzas {
            // Names, attributes, prefixes and namespaces that never were before; the last one goes nowhere.
            let mut payload = String::new();
            for _ in 0..PER_STANZA {
                next += 1;
                payload.push_str(&format!("<n{next} xmlns='u{next}' a{next}=''/>"));
            }
            let wrapped = format!(
                "<iq type='get' id='i{next}' to='example.org'><q{next} xmlns='q{next}'>{payload}</q{next}></iq>"
            );
            let strangers: String = (0..20)
                .map(|nth| format!("<iq type='get' id='{next}-{nth}' to='u{next}x{nth}{pad}@h{next}x{nth}.example/r{next}'><q xmlns='q'/></iq>\
                     <iq type='get' id='l{next}-{nth}' to='u{next}x{nth}{pad}@example.org/r{next}x{nth}'><q xmlns='q'/></iq>"))
                .collect();
            ada.send(&wrapped).expect("sends");
            ada.send(&strangers).expect("sends");
            for _ in 0..41 {
                let answer = ada.receive_element().expect("an answer");
                assert_eq!(answer.attr("type"), Some("error"), "{answer}");
            }
        }
    };
    let stanzas = names.div_ceil(PER_STANZA);
    burst(stanzas / 4);
    let before = [settled(edge), settled(core)];
    burst(stanzas - stanzas / 4);
    bystander.is_served("so many names");
    let after = [settled(edge), settled(core)];
    eprintln!(
        "{next} names, as many namespaces, {} addresses: edge and core had {before:?}, then {after:?}",
        next / 50
    );
    for (before, after) in before.into_iter().zip(after) {
        assert!(after.saturating_sub(before) <= 2 * 1024 * 1024, "grown by {}", after.saturating_sub(before));
    }
}
