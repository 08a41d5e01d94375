//! Connections of strangers that say something and stay.

use super::{Args, Attack, Pace, THREADS, Tally};
use crate::client::connect;
use crate::load::transport::tls_config;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// What every stream of a stranger begins with.
pub(super) fn header(domain: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
         to='{domain}' version='1.0'>"
    )
}

/// Between two rounds over all connections of a thread.
const ROUND: Duration = Duration::from_millis(20);

struct Connection {
    socket: TcpStream,
    sent: usize,
}

impl Connection {
    /// Sends what the socket takes of `text`, up to `until`, and reads what the server says; false: it is gone.
    fn go_on(&mut self, text: &[u8], until: usize) -> bool {
        let mut said = [0; 4096];
        match self.socket.read(&mut said) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        match self.socket.write(text.get(self.sent..until).unwrap_or_default()) {
            Ok(count) => self.sent += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        true
    }
}

/// The share of one thread: opens its connections, keeps them until the end.
pub(super) fn run(args: &Args, thread: u32, tally: &Tally) {
    let text = text(args);
    let to = if args.attack == Attack::Hellos { args.tls_target } else { args.target };
    let mut open = Vec::new();
    // Not all at once: what a listener queues is not what is measured.
    let mut pace = Pace::of(args.rate, THREADS);
    for nth in (0..args.connections).filter(|nth| nth % THREADS == thread) {
        let made = connect(to, Some(args.source(nth))).and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        match made {
            Ok(socket) => open.push(Connection { socket, sent: 0 }),
            Err(_) => tally.refuse(),
        }
        if tally.stopped() {
            break;
        }
        pace.wait(1);
    }
    let began = Instant::now();
    while !tally.stopped() {
        // A byte a second is spread over the second by the rounds.
        let slow = usize::try_from(began.elapsed().as_secs()).unwrap_or(usize::MAX).saturating_add(1);
        let until = if args.attack == Attack::Slow { slow.min(text.len()) } else { text.len() };
        open.retain_mut(|connection| {
            let stays = connection.go_on(&text, until);
            if !stays {
                tally.refuse();
            }
            stays
        });
        std::thread::sleep(ROUND);
    }
    tally.count(open.len() as u64);
}

/// What each connection says.
fn text(args: &Args) -> Vec<u8> {
    let filled = |start: &str, piece: &dyn Fn(usize) -> String| {
        let mut text = start.to_owned();
        for nth in 0.. {
            let piece = piece(nth);
            if text.len() + piece.len() > args.bytes {
                break;
            }
            text.push_str(&piece);
        }
        [header(&args.domain), text].concat().into_bytes()
    };
    match args.attack {
        Attack::Attributes => filled("<a>", &|nth| {
            format!("<b xmlns='u{nth}' xmlns:p='v{nth}' a='' b='' c='' d='' e='' f='' p:a='' p:b=''/>")
        }),
        Attack::Depth => filled("", &|_| "<a>".to_owned()),
        Attack::Slow => filled("<message><body>", &|_| "x".to_owned()),
        Attack::Hellos => hello(args).unwrap_or_default(),
        _ => filled("<a>", &|_| "<b/>".to_owned()),
    }
}

/// A ClientHello.
fn hello(args: &Args) -> Option<Vec<u8>> {
    let name = args.domain.clone().try_into().ok()?;
    let mut client = rustls::ClientConnection::new(tls_config(true).ok()?, name).ok()?;
    let mut hello = Vec::new();
    client.write_tls(&mut hello).ok()?;
    Some(hello)
}
