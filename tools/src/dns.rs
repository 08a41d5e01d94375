//! A small DNS client: one question over UDP, over TCP if the answer does not fit (RFC 1035, RFC 2782). It asks a
//! name server that resolves for others; it caches nothing and believes nothing that is malformed.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// How long one attempt waits, and how many there are.
const PATIENCE: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 3;
/// Records of one answer that are looked at.
const RECORDS_MAX: usize = 64;
/// Labels and pointers of one name, so that none goes in circles.
const JUMPS_MAX: usize = 128;

/// What may be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    A,
    Aaaa,
    Srv,
}

impl Kind {
    fn number(self) -> u16 {
        match self {
            Kind::A => 1,
            Kind::Aaaa => 28,
            Kind::Srv => 33,
        }
    }
}

/// A record of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    Address(IpAddr),
    Srv {
        priority: u16,
        weight: u16,
        port: u16,
        target: String,
    },
    /// The name asked for is another name of this one.
    Alias(String),
}

/// Why there is no answer.
#[derive(Debug)]
pub enum DnsError {
    Io(SocketAddr, io::Error),
    /// Not a name that DNS can hold.
    Name(String),
    /// The server's own words, a response code of RFC 1035 §4.1.1.
    Refused(SocketAddr, u8),
    Malformed(SocketAddr),
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DnsError::Io(server, error) => write!(f, "name server {server} does not answer: {error}"),
            DnsError::Name(name) => write!(f, "{name:?} is not a name in DNS"),
            DnsError::Refused(server, code) => {
                let what = match code {
                    2 => "it cannot find out (SERVFAIL)",
                    5 => "it does not answer us (REFUSED)",
                    _ => "an error",
                };
                write!(f, "name server {server} says: {what}, code {code}")
            }
            DnsError::Malformed(server) => write!(f, "name server {server} answers with something else"),
        }
    }
}

impl std::error::Error for DnsError {}

/// The name servers of this machine (`resolv.conf`), else the one on it.
pub fn system_servers() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers: Vec<SocketAddr> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|address| address.trim().parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, 53))
        .collect();
    if servers.is_empty() { vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 53))] } else { servers }
}

/// All records of a name; none if there is no such name. The first server that answers counts.
pub fn ask(servers: &[SocketAddr], name: &str, kind: Kind) -> Result<Vec<Record>, DnsError> {
    let mut last = DnsError::Name(name.to_owned());
    for _ in 0..ATTEMPTS {
        for server in servers {
            let id = random_id();
            let question = question(id, name, kind).ok_or_else(|| DnsError::Name(name.to_owned()))?;
            match exchange(*server, &question) {
                Ok(answer) => return read(&answer, &question, kind, *server),
                Err(error) => last = DnsError::Io(*server, error),
            }
        }
    }
    Err(last)
}

fn random_id() -> u16 {
    let mut id = [0; 2];
    // Without randomness a forger on the way guesses it, and this is a question of an operator about his own zone.
    let _ = aws_lc_rs::rand::fill(&mut id);
    u16::from_be_bytes(id)
}

fn exchange(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let here: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(here)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(question)?;
    let mut answer = vec![0; 65_535];
    loop {
        let len = socket.recv(&mut answer)?;
        let got = answer.get(..len).unwrap_or_default();
        // An answer to something else is not ours to complain of.
        if got.get(..2) == question.get(..2) && got.get(2).is_some_and(|flags| flags & 0x80 != 0) {
            let truncated = got.get(2).is_some_and(|flags| flags & 0x02 != 0);
            return if truncated { exchange_tcp(server, question) } else { Ok(got.to_vec()) };
        }
    }
}

fn exchange_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut socket = TcpStream::connect_timeout(&server, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let len = u16::try_from(question.len()).map_err(io::Error::other)?;
    socket.write_all(&[&len.to_be_bytes(), question].concat())?;
    let mut len = [0; 2];
    socket.read_exact(&mut len)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
    socket.read_exact(&mut answer)?;
    Ok(answer)
}

/// RFC 1035 §4.1: one question, recursion desired.
fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut out = [id.to_be_bytes(), [0x01, 0x00], [0, 1], [0, 0], [0, 0], [0, 0]].concat();
    let name = hearth_wire::jid::domain_to_ascii(name);
    for label in name.trim_end_matches('.').split('.') {
        let len = u8::try_from(label.len()).ok().filter(|len| (1..=63).contains(len))?;
        out.push(len);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend_from_slice(&kind.number().to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    (out.len() <= 12 + 255 + 4).then_some(out)
}

fn read(answer: &[u8], question: &[u8], kind: Kind, server: SocketAddr) -> Result<Vec<Record>, DnsError> {
    const NO_SUCH_NAME: u8 = 3;
    match answer.get(3).map(|flags| flags & 0x0f) {
        Some(0) => {}
        Some(NO_SUCH_NAME) => return Ok(Vec::new()),
        Some(code) => return Err(DnsError::Refused(server, code)),
        None => return Err(DnsError::Malformed(server)),
    }
    records(answer, question, kind).ok_or(DnsError::Malformed(server))
}

fn records(answer: &[u8], question: &[u8], kind: Kind) -> Option<Vec<Record>> {
    let count = usize::from(number(answer, 6)?);
    // The question comes back as it was, in any case of its letters.
    let asked = question.get(12..)?;
    let mut at = 12usize.checked_add(asked.len())?;
    if !answer.get(12..at)?.eq_ignore_ascii_case(asked) {
        return None;
    }
    let mut found = Vec::new();
    for _ in 0..count.min(RECORDS_MAX) {
        (_, at) = name(answer, at)?;
        let (of_kind, len) = (number(answer, at)?, usize::from(number(answer, at.checked_add(8)?)?));
        let data_at = at.checked_add(10)?;
        at = data_at.checked_add(len)?;
        let data = answer.get(data_at..at)?;
        const CNAME: u16 = 5;
        match (of_kind, kind) {
            (CNAME, _) => found.push(Record::Alias(name(answer, data_at)?.0)),
            (1, Kind::A) => found.push(Record::Address(IpAddr::from(<[u8; 4]>::try_from(data).ok()?))),
            (28, Kind::Aaaa) => found.push(Record::Address(IpAddr::from(<[u8; 16]>::try_from(data).ok()?))),
            (33, Kind::Srv) => found.push(Record::Srv {
                priority: number(data, 0)?,
                weight: number(data, 2)?,
                port: number(data, 4)?,
                target: name(answer, data_at.checked_add(6)?)?.0,
            }),
            _ => {}
        }
    }
    Some(found)
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]))
}

/// A name, perhaps by pointers (RFC 1035 §4.1.4), without its last dot; and where it ends.
fn name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut end = None;
    for _ in 0..JUMPS_MAX {
        let len = *message.get(at)?;
        match len >> 6 {
            0 if len == 0 => return Some((text, end.unwrap_or(at.checked_add(1)?))),
            0 => {
                let start = at.checked_add(1)?;
                at = start.checked_add(usize::from(len))?;
                let label = std::str::from_utf8(message.get(start..at)?).ok()?;
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(&label.to_ascii_lowercase());
            }
            3 => {
                end = end.or(at.checked_add(2));
                at = usize::from(number(message, at)? & 0x3fff);
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "_xmpp-client._tcp.example.org";

    /// An answer with these records, their names by pointer.
    fn answer(question: &[u8], records: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut out = question.to_vec();
        out[2] = 0x81;
        out[3] = 0x80;
        out[7] = u8::try_from(records.len()).unwrap();
        for (kind, data) in records {
            out.extend_from_slice(&[0xc0, 12]);
            out.extend_from_slice(&kind.to_be_bytes());
            out.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
            out.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
            out.extend_from_slice(data);
        }
        out
    }

    fn srv(port: u16, target: &[u8]) -> (u16, Vec<u8>) {
        (33, [&[0, 5, 0, 7][..], &port.to_be_bytes(), target].concat())
    }

    #[test]
    fn records_are_read_and_nothing_else_is_believed() {
        let question = question(77, NAME, Kind::Srv).unwrap();
        // The target ends in a pointer to `example.org` of the question.
        let at = u8::try_from(12 + NAME.find("example").unwrap()).unwrap();
        let good = answer(&question, &[srv(5222, &[4, b'H', b'o', b's', b't', 0xc0, at]), srv(1, &[0])]);
        let server = SocketAddr::from(([127, 0, 0, 1], 53));
        let want = [(5222, "host.example.org"), (1, "")].map(|(port, target)| Record::Srv {
            priority: 5,
            weight: 7,
            port,
            target: target.to_owned(),
        });
        assert_eq!(read(&good, &question, Kind::Srv, server).unwrap(), want);
        for cut in 0..good.len() {
            assert!(read(&good[..cut], &question, Kind::Srv, server).is_err(), "{cut}");
        }
        for at in 12..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 0xff;
            let _ = read(&changed, &question, Kind::Srv, server);
        }
        let circle = answer(&question, &[srv(5222, &[0xc0, u8::try_from(good.len()).unwrap().min(0x3f)])]);
        let _ = read(&circle, &question, Kind::Srv, server);
        let mut none = question.clone();
        (none[2], none[3]) = (0x81, 0x83);
        assert_eq!(read(&none, &question, Kind::Srv, server).unwrap(), []);
        none[3] = 0x82;
        assert!(read(&none, &question, Kind::Srv, server).unwrap_err().to_string().contains("SERVFAIL"));
        let other = super::question(77, "_xmpp-client._tcp.example.net", Kind::Srv).unwrap();
        assert!(read(&good, &other, Kind::Srv, server).is_err());
    }

    #[test]
    fn names_that_dns_cannot_hold() {
        for bad in ["", "a..b", &"x".repeat(64), &"abc.".repeat(70)] {
            assert!(question(1, bad, Kind::A).is_none(), "{bad}");
        }
        let ours = question(1, "ö.example", Kind::A).unwrap();
        assert!(ours.windows(7).any(|part| part == b"xn--nda"));
    }

    /// Over real sockets: first the answer to another question, then one that does not fit, then TCP.
    #[test]
    fn an_answer_that_does_not_fit_is_asked_for_by_tcp() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = udp.local_addr().unwrap();
        let tcp = std::net::TcpListener::bind(server).unwrap();
        let serving = std::thread::spawn(move || {
            let mut buffer = [0; 600];
            let (len, client) = udp.recv_from(&mut buffer).unwrap();
            let question = &buffer[..len];
            let mut other = answer(question, &[]);
            other[0] ^= 0xff;
            udp.send_to(&other, client).unwrap();
            let mut truncated = answer(question, &[]);
            truncated[2] |= 0x02;
            udp.send_to(&truncated, client).unwrap();
            let (mut client, _) = tcp.accept().unwrap();
            client.read_exact(&mut buffer[..len + 2]).unwrap();
            let whole = answer(&buffer[2..len + 2], &[(1, vec![192, 0, 2, 1]), (28, vec![0; 16])]);
            client.write_all(&u16::try_from(whole.len()).unwrap().to_be_bytes()).unwrap();
            client.write_all(&whole).unwrap();
        });
        let found = ask(&[server], "example.org", Kind::A).unwrap();
        assert_eq!(found, [Record::Address(IpAddr::from([192, 0, 2, 1]))]);
        serving.join().unwrap();
    }
}
