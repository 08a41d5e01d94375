//! A stream's question as the frame that asks it, and the shard that is asked. Pure.

use crate::directory::Directory;
use crate::limits::SESSION_WINDOW_BYTES;
use crate::stream::{Agent, At, Auth, Inline, Question};
use crate::tls::{EndPoint, Protection, Version};
use hearth_wire::ids::{ShardIndex, Slot, SlotEpoch};
use hearth_wire::to_core::{
    AuthResponse, Authenticate, AuthenticateInline, Bind, Certificate, ChannelBinding, Counter, PreAuthIq, Resume,
    Security, SmEnable, ToCore, UserAgent,
};
use std::net::IpAddr;

impl Question {
    /// What goes right ahead of the question.
    pub fn ahead(&self, counter: u64) -> Option<ToCore<'_>> {
        let Question::Authenticate { auth, .. } = self else { return None };
        let addresses: Vec<&str> = auth.addresses.iter().map(AsRef::as_ref).collect();
        (!addresses.is_empty()).then_some(ToCore::Certificate(Certificate { counter, addresses }))
    }

    /// `known_by`: the shard that has this client already. `peer`: the client's address, while it is
    /// not authenticated. `None` if nobody can be asked.
    pub fn frame<'a>(
        &'a self,
        counter: u64,
        peer: Option<IpAddr>,
        known_by: Option<ShardIndex>,
        directory: &Directory,
    ) -> Option<(ShardIndex, ToCore<'a>)> {
        match self {
            Question::Authenticate { at, auth } => {
                let (slot, epoch, shard) = locate(directory, at)?;
                let authenticate = authenticate(counter, peer?, slot, epoch, auth);
                let frame = match auth.inline.as_deref() {
                    Some(inline) => ToCore::AuthenticateInline(along(authenticate, inline)),
                    None => ToCore::Authenticate(authenticate),
                };
                Some((shard, frame))
            }
            Question::Register { at, domain, protection, stanza } => {
                let (slot, epoch, shard) = locate(directory, at)?;
                let security = security(*protection);
                Some((
                    shard,
                    ToCore::PreAuthIq(PreAuthIq { counter, slot, epoch, domain, peer: peer?, security, stanza }),
                ))
            }
            Question::Respond(data) => Some((known_by?, ToCore::AuthResponse(AuthResponse { counter, data }))),
            Question::Abort => Some((known_by?, ToCore::AuthAbort(Counter { counter }))),
            Question::Bind { resource } => {
                let bind = Bind { counter, resource: resource.as_deref(), credit: SESSION_WINDOW_BYTES };
                Some((known_by?, ToCore::Bind(bind)))
            }
            Question::Resume { previd, h } => {
                let resume = Resume { counter, previd, h: *h, credit: SESSION_WINDOW_BYTES };
                Some((known_by?, ToCore::Resume(resume)))
            }
            Question::SmEnable { generation, number, resume, max_s } => {
                let (generation, number, resume, max_s) = (*generation, *number, *resume, *max_s);
                Some((known_by?, ToCore::SmEnable(SmEnable { counter, generation, number, resume, max_s })))
            }
        }
    }
}

fn authenticate<'a>(counter: u64, peer: IpAddr, slot: Slot, epoch: SlotEpoch, auth: &'a Auth) -> Authenticate<'a> {
    let protection = auth.protection.as_ref();
    let binding = ChannelBinding {
        tls_exporter: protection.and_then(|p| p.exporter.as_ref()).map(<[u8; 32]>::as_slice),
        tls_server_end_point: protection.and_then(|p| p.end_point.as_ref()).map(EndPoint::as_bytes),
    };
    Authenticate {
        counter,
        slot,
        epoch,
        domain: &auth.domain,
        peer,
        security: security(auth.protection),
        binding,
        mechanism: &auth.mechanism,
        initial: auth.initial.as_deref(),
    }
}

fn along<'a>(authenticate: Authenticate<'a>, inline: &'a Inline) -> AuthenticateInline<'a> {
    let agent = |agent: &'a Agent| UserAgent {
        id: agent.id,
        software: agent.software.as_deref(),
        device: agent.device.as_deref(),
    };
    AuthenticateInline {
        authenticate,
        from: inline.from.as_deref(),
        agent: inline.agent.as_ref().map(agent),
        fast: inline.fast,
        request_token: inline.request_token.as_deref(),
    }
}

fn locate(directory: &Directory, at: &At) -> Option<(Slot, SlotEpoch, ShardIndex)> {
    let (slot, owner) = match at {
        At::Entity(entity) => directory.locate(entity),
        At::Slot(slot) => (*slot, directory.owner(*slot)),
    };
    owner.map(|(epoch, shard)| (slot, epoch, shard))
}

fn security(protection: Option<Protection>) -> Security {
    match protection.map(|protection| protection.version) {
        None => Security::ClearLoopback,
        Some(Version::Tls12) => Security::Tls12,
        Some(Version::Tls13) => Security::Tls13,
    }
}
