//! Transcripts over sockets: clients over STARTTLS.

use super::{Hearth, PASSWORD};
use hearth_tools::client::{Client, DEADLINE};
use hearth_tools::transcript::{Session, World};
use hearth_tools::xml::Item;

/// The sessions of one transcript at one server.
pub(crate) struct Clients<'a> {
    hearth: &'a Hearth,
    clients: Vec<Option<Client>>,
}

impl Clients<'_> {
    pub(crate) fn of(hearth: &Hearth) -> Clients<'_> {
        Clients { hearth, clients: Vec::new() }
    }

    fn slot(&mut self, who: usize) -> &mut Option<Client> {
        if self.clients.len() <= who {
            self.clients.resize_with(who + 1, || None);
        }
        &mut self.clients[who]
    }

    fn client(&mut self, who: usize) -> Result<&mut Client, String> {
        self.slot(who).as_mut().ok_or_else(|| "is not logged in".to_owned())
    }
}

impl World for Clients<'_> {
    fn log_in(&mut self, who: usize, session: &Session) -> Result<String, String> {
        let server = self.hearth.server();
        let client = Client::login(&server, session.user(), PASSWORD, session.resource.as_deref());
        let mut client = client.map_err(|e| e.to_string())?;
        client.deadline = DEADLINE / 2;
        let jid = client.jid().to_owned();
        *self.slot(who) = Some(client);
        Ok(jid)
    }

    fn send(&mut self, who: usize, xml: &str) -> Result<(), String> {
        self.client(who)?.send(xml).map_err(|e| e.to_string())
    }

    fn hear(&mut self, who: usize) -> Result<Item, String> {
        self.client(who)?.receive().map_err(|e| e.to_string())
    }

    fn log_out(&mut self, who: usize) -> Result<(), String> {
        let client = self.slot(who).take().ok_or("is not logged in")?;
        match client.close() {
            Ok(late) if late.is_empty() => Ok(()),
            Ok(late) => Err(format!("heard more before its stream ended: {late:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    fn cut(&mut self, who: usize) -> Result<(), String> {
        self.slot(who).take().map(drop).ok_or_else(|| "is not logged in".to_owned())
    }
}
