//! A client's way from the stream header to an available session (RFC 6120 §4–7, RFC 6121 §2.2 and §4.2).
//!
//! A pure machine: whole elements in, bytes and a [`Step`] out.
//!
//! ```text
//! Features ──starttls──▶ Proceed ──▶ Features ──auth──▶ Challenge ──▶ Success ──▶ Features ──▶ Bind ─▶ (Session) ─▶ (Enable) ─▶ Ready
//!     └──────register──▶ Register ──▶ Ready
//! ```

use super::event::ROSTER_ID;
use super::scan::Element;
use super::scram::{Authenticator, Exchange, Mechanism};
use std::str::FromStr;

/// How the stream is protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Security {
    None,
    StartTls,
    /// XEP-0368.
    Direct,
}

impl FromStr for Security {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "none" => Ok(Self::None),
            "starttls" => Ok(Self::StartTls),
            "direct" => Ok(Self::Direct),
            other => Err(format!("unknown protection {other}: none, starttls or direct")),
        }
    }
}

/// What a connection is made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// XEP-0077 before authentication, then away.
    Register,
    /// A session; `roster`: asks for the roster before it becomes available, as ordinary clients do; `sm`: enables
    /// stream management (XEP-0198 §3) before.
    Session { roster: bool, sm: bool },
}

/// What all logins of a run have in common.
pub(crate) struct Terms {
    pub(crate) domain: String,
    pub(crate) password: String,
    pub(crate) tls: Security,
    pub(crate) purpose: Purpose,
}

/// What the connection has to do after an element.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Flush and wait.
    Wait,
    /// Begin the TLS handshake, then send a new header.
    StartTls,
    /// A new stream begins with the header just written.
    Restart,
    /// Done: the session is bound and available, or the account registered.
    Ready,
    Failed(String),
}

#[derive(Debug)]
enum Stage {
    Features,
    Proceed,
    Challenge(Exchange),
    Success(Exchange),
    Bind,
    Session,
    Enable,
    Register,
    Ready,
}

#[derive(Debug)]
pub(crate) struct Login {
    user: u32,
    stage: Stage,
    secure: bool,
    authenticated: bool,
    /// The server's features require the legacy session request (RFC 3921 §3).
    wants_session: bool,
}

impl Login {
    pub(crate) fn new(user: u32, secure: bool) -> Self {
        Self { user, stage: Stage::Features, secure, authenticated: false, wants_session: false }
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready)
    }

    /// Where it is, for messages about logins that got stuck.
    pub(crate) fn place(&self) -> String {
        match &self.stage {
            Stage::Challenge(_) | Stage::Success(_) => "authenticating".to_owned(),
            stage @ (Stage::Features
            | Stage::Proceed
            | Stage::Bind
            | Stage::Session
            | Stage::Enable
            | Stage::Register
            | Stage::Ready) => {
                format!("{stage:?}")
            }
        }
    }

    pub(crate) fn header(terms: &Terms, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' to='");
        out.extend_from_slice(terms.domain.as_bytes());
        out.extend_from_slice(b"'>");
    }

    /// The TLS handshake requested with [`Step::StartTls`] has begun: the header follows it.
    pub(crate) fn tls_started(&mut self) {
        self.secure = true;
        self.stage = Stage::Features;
    }

    pub(crate) fn on_element(
        &mut self,
        element: Element<'_>,
        terms: &Terms,
        auth: &mut Authenticator,
        out: &mut Vec<u8>,
    ) -> Step {
        let name = element.name();
        if matches!(name, b"failure" | b"failed" | b"stream:error") || element.attribute("type") == Some(b"error") {
            return self.on_refusal(element);
        }
        match (std::mem::replace(&mut self.stage, Stage::Ready), name) {
            (Stage::Features, b"stream:features") => self.on_features(element, terms, auth, out),
            (Stage::Proceed, b"proceed") => Step::StartTls,
            (Stage::Challenge(mut exchange), b"challenge") => {
                match auth.answer(&mut exchange, element.text_of("challenge").unwrap_or_default(), out) {
                    Ok(()) => self.go(Stage::Success(exchange)),
                    Err(why) => Step::Failed(why),
                }
            }
            (Stage::Success(exchange), b"success") => {
                match auth.verify(&exchange, element.text_of("success").unwrap_or_default()) {
                    Ok(()) => {
                        self.stage = Stage::Features;
                        self.authenticated = true;
                        Self::header(terms, out);
                        Step::Restart
                    }
                    Err(why) => Step::Failed(why),
                }
            }
            (Stage::Bind, b"iq") if self.wants_session => {
                out.extend_from_slice(
                    b"<iq type='set' id='session'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
                );
                self.go(Stage::Session)
            }
            (Stage::Bind | Stage::Session, b"iq") => match terms.purpose {
                Purpose::Session { sm: true, .. } => {
                    out.extend_from_slice(b"<enable xmlns='urn:xmpp:sm:3'/>");
                    self.go(Stage::Enable)
                }
                Purpose::Session { roster, sm: false } => become_available(roster, out),
                Purpose::Register => Step::Ready,
            },
            (Stage::Enable, b"enabled") => {
                become_available(matches!(terms.purpose, Purpose::Session { roster: true, .. }), out)
            }
            (Stage::Register, b"iq") => Step::Ready,
            (stage, _) => {
                let answer = format!("unexpected <{}/> in {stage:?}", String::from_utf8_lossy(name));
                self.stage = stage;
                Step::Failed(answer)
            }
        }
    }

    fn go(&mut self, stage: Stage) -> Step {
        self.stage = stage;
        Step::Wait
    }

    fn on_features(
        &mut self,
        features: Element<'_>,
        terms: &Terms,
        auth: &mut Authenticator,
        out: &mut Vec<u8>,
    ) -> Step {
        if self.authenticated {
            self.wants_session = requires_session(features);
            out.extend_from_slice(b"<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>load</resource></bind></iq>");
            return self.go(Stage::Bind);
        }
        if terms.tls == Security::StartTls && !self.secure {
            if features.find("starttls").is_none() {
                return Step::Failed("the server offers no STARTTLS".into());
            }
            out.extend_from_slice(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
            return self.go(Stage::Proceed);
        }
        if terms.purpose == Purpose::Register {
            let user = self.user;
            let query = format!(
                "<iq type='set' id='register'><query xmlns='jabber:iq:register'><username>user{user}</username>\
                 <password>{}</password></query></iq>",
                terms.password
            );
            out.extend_from_slice(query.as_bytes());
            return self.go(Stage::Register);
        }
        let offered = features.find_all("mechanism").filter_map(|found| found.text_of("mechanism"));
        let offered: Vec<_> = offered.map(String::from_utf8_lossy).collect();
        if !offered.iter().any(|name| name == auth.mechanism().name()) {
            return Step::Failed(format!("{} is not offered, only {}", auth.mechanism().name(), offered.join(", ")));
        }
        let exchange = auth.begin(self.user, out);
        self.go(if auth.mechanism() == Mechanism::Plain {
            Stage::Success(exchange)
        } else {
            Stage::Challenge(exchange)
        })
    }

    fn on_refusal(&mut self, element: Element<'_>) -> Step {
        // Registering an account that exists is what a second run does.
        if matches!(self.stage, Stage::Register) && element.contains("<conflict") {
            self.stage = Stage::Ready;
            return Step::Ready;
        }
        Step::Failed(format!("{} was answered by {}", self.place(), String::from_utf8_lossy(element.0)))
    }
}

/// The last step: what an ordinary client sends first.
fn become_available(roster: bool, out: &mut Vec<u8>) -> Step {
    if roster {
        out.extend_from_slice(b"<iq type='get' id='");
        out.extend_from_slice(ROSTER_ID.as_bytes());
        out.extend_from_slice(b"'><query xmlns='jabber:iq:roster'/></iq>");
    }
    out.extend_from_slice(b"<presence/>");
    Step::Ready
}

/// A `<session/>` feature without `<optional/>` in it (RFC 3921 §3; RFC 6121 made it optional).
fn requires_session(features: Element<'_>) -> bool {
    let Some(session) = features.find("session") else {
        return false;
    };
    let end = memchr::memmem::find(session.0, b"</session");
    !end.and_then(|end| session.0.get(..end)).is_some_and(|inner| Element(inner).contains("<optional"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SASL: &str = "<stream:features><mechanisms><mechanism>PLAIN</mechanism></mechanisms></stream:features>";

    fn step(login: &mut Login, terms: &Terms, element: &str) -> (Step, String) {
        let mut auth = Authenticator::new(Mechanism::Plain, &terms.password, None).unwrap();
        let mut out = Vec::new();
        let step = login.on_element(Element(element.as_bytes()), terms, &mut auth, &mut out);
        (step, String::from_utf8(out).unwrap())
    }

    fn terms(tls: Security, purpose: Purpose) -> Terms {
        Terms { domain: "localhost".into(), password: "p".into(), tls, purpose }
    }

    #[test]
    fn starttls_sasl_bind_session() {
        let terms = terms(Security::StartTls, Purpose::Session { roster: true, sm: true });
        let mut login = Login::new(4, false);
        let (next, sent) =
            step(&mut login, &terms, "<stream:features><starttls><required/></starttls></stream:features>");
        assert_eq!((next, sent.contains("<starttls")), (Step::Wait, true));
        assert_eq!(step(&mut login, &terms, "<proceed/>").0, Step::StartTls);
        login.tls_started();
        let (next, sent) = step(&mut login, &terms, SASL);
        assert_eq!((next, sent.contains("AHVzZXI0AHA=")), (Step::Wait, true), "{sent}");
        let (next, sent) = step(&mut login, &terms, "<success/>");
        assert_eq!((next, sent.contains("<stream:stream")), (Step::Restart, true));
        let session =
            "<stream:features><bind/><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></stream:features>";
        assert_eq!(step(&mut login, &terms, session).0, Step::Wait);
        assert!(step(&mut login, &terms, "<iq type='result'/>").1.contains("<session"));
        let (next, sent) = step(&mut login, &terms, "<iq type='result'/>");
        assert_eq!((next, sent.as_str()), (Step::Wait, "<enable xmlns='urn:xmpp:sm:3'/>"));
        let (next, sent) = step(&mut login, &terms, "<enabled xmlns='urn:xmpp:sm:3'/>");
        assert_eq!(next, Step::Ready);
        assert!(sent.contains("jabber:iq:roster") && sent.ends_with("<presence/>"));
        assert!(login.is_ready());
    }

    #[test]
    fn what_the_server_lacks_is_said() {
        let terms = terms(Security::StartTls, Purpose::Session { roster: false, sm: false });
        assert!(matches!(step(&mut Login::new(1, false), &terms, SASL).0, Step::Failed(_)));
        let mut login = Login::new(1, true);
        let (next, _) = step(&mut login, &terms, "<stream:features><mechanism>X</mechanism></stream:features>");
        assert!(matches!(next, Step::Failed(why) if why == "PLAIN is not offered, only X"));
    }

    #[test]
    fn registering_twice_is_no_failure() {
        let terms = terms(Security::None, Purpose::Register);
        let mut login = Login::new(9, false);
        assert!(step(&mut login, &terms, SASL).1.contains("<username>user9</username>"));
        let conflict = "<iq type='error'><error type='cancel'><conflict/></error></iq>";
        assert_eq!(step(&mut login, &terms, conflict).0, Step::Ready);
    }
}
