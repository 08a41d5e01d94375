//! Plays transcripts against a [`World`].

use super::matching::matches;
use super::{Failure, Heard, Session, Step, Transcript, What};
use crate::xml::{self, Item};
use std::collections::BTreeMap;

/// A server and its clients, in whatever form. Sessions are known by their index in
/// [`Transcript::sessions`]; each method's error ends the play.
pub trait World {
    /// Logs a session in and binds its resource; returns its full JID.
    fn log_in(&mut self, who: usize, session: &Session) -> Result<String, String>;
    fn send(&mut self, who: usize, xml: &str) -> Result<(), String>;
    /// The next thing the session hears; an error if nothing comes.
    fn hear(&mut self, who: usize) -> Result<Item, String>;
    /// Closes its stream and waits for the server to do so.
    fn log_out(&mut self, who: usize) -> Result<(), String>;
    /// Cuts its connection.
    fn cut(&mut self, who: usize) -> Result<(), String>;
}

/// Plays a transcript to its end.
pub fn play(transcript: &Transcript, world: &mut dyn World) -> Result<(), Failure> {
    let count = transcript.sessions.len();
    let mut play = Play { transcript, world, jids: vec![None; count], words: BTreeMap::new(), barriers: 0 };
    for who in 0..count {
        if transcript.sessions.get(who).is_some_and(|s| !s.later && !s.account_only) {
            play.log_in(who).map_err(|why| Failure { line: 1, why })?;
        }
    }
    play.settle().map_err(|why| Failure { line: 1, why })?;
    let mut steps = transcript.steps.as_slice();
    while let Some((step, rest)) = steps.split_first() {
        // Neighbouring `~` lines of one session are heard together.
        let alike = rest.iter().take_while(|next| {
            matches!((&step.what, &next.what), (What::HearAlso(_), What::HearAlso(_))) && next.who == step.who
        });
        let (group, rest) = steps.split_at(1 + alike.count());
        play.step(group).map_err(|why| {
            let name = transcript.sessions.get(step.who).map_or("", |s| &s.name);
            Failure { line: step.line, why: format!("{name}: {why}") }
        })?;
        steps = rest;
    }
    let last = transcript.steps.last().map_or(1, |step| step.line);
    for who in 0..count {
        let name = transcript.sessions.get(who).map_or("", |s| &s.name);
        play.nothing(who).map_err(|why| Failure { line: last, why: format!("at the end, {name}: {why}") })?;
    }
    Ok(())
}

struct Play<'a> {
    transcript: &'a Transcript,
    world: &'a mut dyn World,
    /// Full JIDs of the sessions that are logged in.
    jids: Vec<Option<String>>,
    words: BTreeMap<String, String>,
    barriers: u64,
}

impl Play<'_> {
    fn step(&mut self, group: &[Step]) -> Result<(), String> {
        let Some(Step { who, what, .. }) = group.first() else { return Ok(()) };
        let who = *who;
        match what {
            What::Send(xml) => {
                let xml = self.substitute(xml)?;
                self.world.send(who, &xml)
            }
            What::Hear(heard) => {
                let item = self.hear(who)?;
                self.matches(who, heard, &item)
            }
            What::HearAlso(_) => {
                let mut wanted: Vec<&Heard> = group
                    .iter()
                    .filter_map(|step| if let What::HearAlso(heard) = &step.what { Some(heard) } else { None })
                    .collect();
                while !wanted.is_empty() {
                    let item = self.hear(who)?;
                    let found = wanted.iter().position(|heard| self.matches(who, heard, &item).is_ok());
                    let Some(found) = found else {
                        let whys: Vec<_> = wanted.iter().filter_map(|h| self.matches(who, h, &item).err()).collect();
                        return Err(whys.join("\n  or "));
                    };
                    wanted.remove(found);
                }
                Ok(())
            }
            What::Nothing => self.nothing(who),
            What::LogIn => {
                self.log_in(who)?;
                self.settle_one(who)
            }
            What::LogOut => {
                self.forget(who);
                self.world.log_out(who)
            }
            What::Cut => {
                self.forget(who);
                self.world.cut(who)
            }
        }
    }

    fn hear(&mut self, who: usize) -> Result<Item, String> {
        let item = self.world.hear(who)?;
        if item == Item::Close {
            self.forget(who);
        }
        Ok(item)
    }

    fn forget(&mut self, who: usize) {
        if let Some(jid) = self.jids.get_mut(who) {
            *jid = None;
        }
    }

    fn jid(&self, who: usize) -> Option<&str> {
        self.jids.get(who).and_then(Option::as_deref)
    }

    /// Logs in, then asks for the roster and sends presence as declared.
    fn log_in(&mut self, who: usize) -> Result<(), String> {
        let transcript = self.transcript;
        let Some(session) = transcript.sessions.get(who) else { return Ok(()) };
        let jid = self.world.log_in(who, session).map_err(|why| format!("{} logs in: {why}", session.name))?;
        self.words.insert(session.name.clone(), jid.clone());
        if let Some(slot) = self.jids.get_mut(who) {
            *slot = Some(jid);
        }
        if session.interested {
            self.world.send(who, "<iq type='get' id='login-roster'><query xmlns='jabber:iq:roster'/></iq>")?;
        }
        match session.priority {
            Some(priority) => self.world.send(who, &format!("<presence><priority>{priority}</priority></presence>")),
            None if session.available => self.world.send(who, "<presence/>"),
            None => Ok(()),
        }
    }

    /// Everybody has heard what the logins brought, and forgets it.
    fn settle(&mut self) -> Result<(), String> {
        (0..self.jids.len()).try_for_each(|who| self.barrier(who, &mut |_| Ok(())))
    }

    /// One session has heard what its own login brought: the roster, its own presence. Messages that
    /// waited for it and the presence of others are for the transcript.
    fn settle_one(&mut self, who: usize) -> Result<(), String> {
        let session = self.transcript.sessions.get(who);
        let (interested, available) = session.map_or((false, false), |s| (s.interested, s.available));
        let own = self.jid(who).unwrap_or_default().to_owned();
        let mut left = usize::from(interested) + usize::from(available);
        while left > 0 {
            match self.hear(who)? {
                Item::Element(e) if e.attr("id") == Some("login-roster") => left -= 1,
                Item::Element(e) if e.name == "presence" && e.attr("from") == Some(&own) => left -= 1,
                other @ (Item::Open(_) | Item::Element(_) | Item::Close) => {
                    return Err(format!("at login, before roster and own presence: {}", describe(&other)));
                }
            }
        }
        Ok(())
    }

    fn nothing(&mut self, who: usize) -> Result<(), String> {
        self.barrier(who, &mut |item| Err(format!("wanted nothing, heard {}", describe(item))))
    }

    /// Every session sends this one a message and it waits for them all: stanzas between two parties keep
    /// their order (RFC 6120 §10.1), so whatever was under way to it has come by then.
    fn barrier(&mut self, who: usize, other: &mut dyn FnMut(&Item) -> Result<(), String>) -> Result<(), String> {
        let Some(to) = self.jid(who).map(xml::escape) else { return Ok(()) };
        self.barriers += 1;
        let mut waiting = Vec::new();
        for from in (0..self.jids.len()).filter(|from| self.jid(*from).is_some()).collect::<Vec<_>>() {
            let id = format!("barrier-{}-{from}", self.barriers);
            self.world.send(from, &format!("<message type='headline' id='{id}' to='{to}'><body>.</body></message>"))?;
            waiting.push(id);
        }
        while !waiting.is_empty() {
            let item = self.hear(who)?;
            let id = if let Item::Element(element) = &item { element.attr("id") } else { None };
            match waiting.iter().position(|waited| Some(waited.as_str()) == id) {
                Some(at) => {
                    waiting.remove(at);
                }
                None => other(&item)?,
            }
        }
        Ok(())
    }

    /// Puts known words into what is sent.
    fn substitute(&self, text: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut parts = text.split('$');
        out.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let end = part.find(|c: char| !c.is_alphanumeric()).unwrap_or(part.len());
            let (word, rest) = part.split_at(end);
            let value = self.words.get(word).ok_or_else(|| format!("${word} is not known yet"))?;
            out.push_str(&xml::escape(value));
            out.push_str(rest);
        }
        Ok(out)
    }

    fn matches(&mut self, who: usize, heard: &Heard, item: &Item) -> Result<(), String> {
        let mismatch = |why: &str| Err(format!("{why}\n  wanted {}\n  heard  {}", show(heard), describe(item)));
        match (heard, item) {
            (Heard::StreamEnd, Item::Close) => Ok(()),
            (Heard::Element(pattern), Item::Element(element)) => {
                let jid = self.jid(who).unwrap_or_default();
                let bare = jid.split('/').next().unwrap_or_default();
                let mut element = element.clone();
                if pattern.attr("to").is_none() {
                    element.attrs.retain(|a| a.name != "to" || (a.value != jid && a.value != bare));
                }
                let mut words = self.words.clone();
                match matches(pattern, &element, &mut words) {
                    Ok(()) => {
                        self.words = words;
                        Ok(())
                    }
                    Err(why) => mismatch(&why),
                }
            }
            _ => mismatch("something else"),
        }
    }
}

fn show(heard: &Heard) -> String {
    match heard {
        Heard::Element(element) => element.to_string(),
        Heard::StreamEnd => "</stream:stream>".to_owned(),
    }
}

fn describe(item: &Item) -> String {
    match item {
        Item::Open(element) => format!("a stream header {element}"),
        Item::Element(element) => element.to_string(),
        Item::Close => "</stream:stream>".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// Delivers messages to the full JID they name, echoes the rest to its sender.
    struct Echo(Vec<VecDeque<Item>>, Vec<String>);

    impl World for Echo {
        fn log_in(&mut self, who: usize, session: &Session) -> Result<String, String> {
            self.1[who] = format!("{}/{}", session.account, session.resource.as_deref().unwrap_or("r"));
            Ok(self.1[who].clone())
        }
        fn send(&mut self, who: usize, xml: &str) -> Result<(), String> {
            let element = xml::pattern(xml).unwrap();
            let to = self.1.iter().position(|jid| Some(jid.as_str()) == element.attr("to")).unwrap_or(who);
            self.0[to].push_back(Item::Element(element));
            Ok(())
        }
        fn hear(&mut self, who: usize) -> Result<Item, String> {
            self.0[who].pop_front().ok_or_else(|| "deadline".to_owned())
        }
        fn log_out(&mut self, _: usize) -> Result<(), String> {
            Ok(())
        }
        fn cut(&mut self, _: usize) -> Result<(), String> {
            Ok(())
        }
    }

    fn play_against_echo(steps: &str) -> Result<(), Failure> {
        let text = format!("# A title\na: a@example.org/x    b: b@example.org\nc: c@example.org (later)\n{steps}");
        let world = Echo(vec![VecDeque::new(); 3], vec![String::new(); 3]);
        play(&Transcript::parse(&text)?, &mut { world })
    }

    #[test]
    fn playing() {
        for good in [
            "a > <iq id='1'/>\na < <iq id='1'/>",
            "a > <message to='$b' id='m'/>\na !\nb < <message id='m'/>",
            "a > <iq id='1'/>\na > <iq id='2'/>\na ~ <iq id='2'/>\na ~ <iq id='1'/>\nb !",
            "a > <x y='7'/>\na < <x y='$y'/>\na > <x y='$y'/>\na < <x\n y='7'/>",
            "c +\na > <message to='$c'/>\nc < <message/>",
        ] {
            assert_eq!(play_against_echo(good), Ok(()), "{good}");
        }
        for (bad, line) in [
            ("a > <iq id='1'/>\na < <iq id='2'/>", 5),
            ("a > <iq id='1'/>\na !", 5),
            ("a > <iq id='1'/>", 4),
            ("a < <iq/>", 4),
            ("a > <message to='$c'/>", 4),
            ("a > <iq id='1'/>\na > <iq id='2'/>\na ~ <iq id='2'/>\na ~ <iq id='3'/>", 6),
        ] {
            assert_eq!(play_against_echo(bad).map_err(|failure| failure.line), Err(line), "{bad}");
        }
    }
}
