//! What the core has told this loop: domains with their features, and who owns which slot.

use crate::limits::{DOMAINS_MAX, SHARDS_MAX, STANZA_XML_BYTES_MAX, STRANGER_XML_BYTES_MAX};
use crate::render;
use crate::sm;
use crate::tls::Protection;
use hearth_wire::ids::{SLOTS, ShardIndex, Slot, SlotEpoch, SlotKey};
use hearth_wire::jid;
use hearth_wire::to_edge;
use hearth_wire::tree::{self, Builder};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Namespace of STARTTLS (RFC 6120 §5.4).
pub(crate) const TLS_NS: &str = "urn:ietf:params:xml:ns:xmpp-tls";

/// Namespace of limits of a stream (XEP-0478 §2).
const LIMITS_NS: &str = "urn:xmpp:stream-limits:0";

/// One served domain and its features, rendered once.
#[derive(PartialEq, Eq, Debug)]
pub struct Domain {
    pub name: Box<str>,
    /// `<stream:features/>` of a stream without TLS that must begin it.
    pub features_starttls: Vec<u8>,
    /// Without TLS, where login in the clear is allowed; `None` if the core does not allow it.
    pub features_clear: Option<Vec<u8>>,
    /// Inside TLS, without channel binding.
    pub features_tls: Vec<u8>,
    /// Inside TLS, with `tls-server-end-point` data only, with `tls-exporter` data only, with both.
    pub features_tls_end_point: Vec<u8>,
    pub features_tls_exporter: Vec<u8>,
    pub features_tls_bound: Vec<u8>,
    /// After authentication. Shared with streams that get them without asking again (XEP-0388 §2.6.1).
    pub features_authenticated: Arc<[u8]>,
    /// The tree of those, without limits.
    authenticated: Box<[u8]>,
    /// In the place of the four above, for clients that have shown a certificate of this domain; `None` where none are taken.
    pub certified: Option<Box<[Vec<u8>; 4]>>,
    /// Inside TLS a client may authenticate by XEP-0388.
    pub sasl2: bool,
    /// In-band registration is offered before authentication (XEP-0077 §3.1): in the clear, inside TLS.
    pub registration_clear: bool,
    pub registration_tls: bool,
    /// Stream management is offered after authentication (XEP-0198 §2).
    pub sm: bool,
}

impl Domain {
    /// Renders what the core announced, of XEP-0388 and certificates too if it knows those. `None` if a tree does not decode.
    pub fn new(
        frame: &to_edge::Domain<'_>,
        sasl2: Option<&Authentication>,
        certified: Option<&Certified>,
    ) -> Option<Domain> {
        for features in [
            frame.features_clear,
            frame.features_tls,
            frame.features_tls_end_point,
            frame.features_tls_exporter,
            frame.features_tls_bound,
            frame.features_authenticated,
        ] {
            tree::validate(features, tree::DEPTH_MAX).ok()?;
        }
        let mut required = Builder::new();
        required.open(Some(TLS_NS), "starttls").open(None, "required").close().close();
        let mut optional = Builder::new();
        optional.open(Some(TLS_NS), "starttls").close().raw(frame.features_clear);
        let clear = !frame.features_clear.is_empty();
        let tls = |tree: &[u8], which: fn(&Authentication) -> &[u8]| {
            features(&[tree, sasl2.map_or(&[], which)].concat(), STRANGER_XML_BYTES_MAX, 0)
        };
        Some(Domain {
            name: frame.domain.into(),
            features_starttls: features(&required.finish(), STRANGER_XML_BYTES_MAX, 0)?,
            features_clear: if clear { Some(features(&optional.finish(), STRANGER_XML_BYTES_MAX, 0)?) } else { None },
            features_tls: tls(frame.features_tls, |sasl2| &sasl2.tls)?,
            features_tls_end_point: tls(frame.features_tls_end_point, |sasl2| &sasl2.tls_end_point)?,
            features_tls_exporter: tls(frame.features_tls_exporter, |sasl2| &sasl2.tls_exporter)?,
            features_tls_bound: tls(frame.features_tls_bound, |sasl2| &sasl2.tls_bound)?,
            features_authenticated: features(frame.features_authenticated, STANZA_XML_BYTES_MAX, 0)?.into(),
            authenticated: frame.features_authenticated.into(),
            certified: certified.map(|certified| certified.0.clone()),
            sasl2: sasl2.is_some(),
            registration_clear: registration(frame.features_clear),
            registration_tls: registration(frame.features_tls),
            sm: tree::child(frame.features_authenticated, sm::NS, "sm").is_some(),
        })
    }

    /// What is offered after authentication, by an edge whose clients may be silent for `idle_s` seconds; 0: for ever.
    fn set_idle_s(&mut self, idle_s: u32) {
        if let Some(features) = features(&self.authenticated, STANZA_XML_BYTES_MAX, idle_s) {
            self.features_authenticated = features.into();
        }
    }

    /// Inside TLS, before authentication: by what the connection can be bound to, and whether its client has shown a
    /// certificate of this domain.
    pub fn features_in_tls(&self, protection: &Protection, has_certificate: bool) -> &[u8] {
        let [tls, end_point, exporter, bound] = match self.certified.as_deref().filter(|_| has_certificate) {
            Some(certified) => certified.each_ref(),
            None => [
                &self.features_tls,
                &self.features_tls_end_point,
                &self.features_tls_exporter,
                &self.features_tls_bound,
            ],
        };
        match (&protection.exporter, &protection.end_point) {
            (None, None) => tls,
            (None, Some(_)) => end_point,
            (Some(_), None) => exporter,
            (Some(_), Some(_)) => bound,
        }
    }
}

/// What streams of a domain are offered whose client has shown a certificate, rendered: [`Domain::certified`].
#[derive(Debug)]
pub struct Certified(Box<[Vec<u8>; 4]>);

impl Certified {
    /// `None` if a tree does not decode.
    pub fn new(frame: &to_edge::Certified<'_>) -> Option<Certified> {
        let render = |tree: &[u8]| {
            tree::validate(tree, tree::DEPTH_MAX).ok().and_then(|()| features(tree, STRANGER_XML_BYTES_MAX, 0))
        };
        Some(Certified(Box::new([
            render(frame.features_tls)?,
            render(frame.features_tls_end_point)?,
            render(frame.features_tls_exporter)?,
            render(frame.features_tls_bound)?,
        ])))
    }
}

/// `<authentication/>` (XEP-0388 §2.1) of a domain's streams, by what their connections can be bound to.
#[derive(Debug)]
pub struct Authentication {
    tls: Box<[u8]>,
    tls_end_point: Box<[u8]>,
    tls_exporter: Box<[u8]>,
    tls_bound: Box<[u8]>,
}

impl Authentication {
    /// `None` if a tree does not decode.
    pub fn new(frame: &to_edge::Authentication<'_>) -> Option<Authentication> {
        let valid = |tree: &[u8]| tree::validate(tree, tree::DEPTH_MAX).ok().map(|()| tree.into());
        Some(Authentication {
            tls: valid(frame.tls)?,
            tls_end_point: valid(frame.tls_end_point)?,
            tls_exporter: valid(frame.tls_exporter)?,
            tls_bound: valid(frame.tls_bound)?,
        })
    }
}

/// Of a stream on which an element may have `bytes_max` bytes, and whose client is asked for a sign of life after
/// `idle_s` seconds of silence, if that is not 0 (XEP-0478).
fn features(tree: &[u8], bytes_max: usize, idle_s: u32) -> Option<Vec<u8>> {
    let mut limits = Builder::new();
    limits.open(Some(LIMITS_NS), "limits").leaf(None, "max-bytes", &bytes_max.to_string());
    if idle_s > 0 {
        limits.leaf(None, "idle-seconds", &idle_s.to_string());
    }
    limits.close();
    let mut out = Vec::new();
    render::stream_features(&[tree, &limits.finish()].concat(), &mut out).ok()?;
    out.shrink_to_fit();
    Some(out)
}

fn registration(features: &[u8]) -> bool {
    tree::child(features, "http://jabber.org/features/iq-register", "register").is_some()
}

/// What the directory says of the `to` of a stream header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hosted<'a> {
    /// The core has not been heard yet, or not whole: ask again later.
    Waiting,
    /// Not a domain of this core.
    Unknown,
    Known(&'a Domain),
}

/// See the module.
pub struct Directory {
    slot_key: SlotKey,
    /// 0 until the core was heard.
    shards: ShardIndex,
    owners: Vec<(SlotEpoch, ShardIndex)>,
    domains: BTreeMap<Box<str>, Domain>,
    /// Kept apart: every shard announces it ahead of the domain, in whatever order their frames come.
    authentications: BTreeMap<Box<str>, Authentication>,
    certified: BTreeMap<Box<str>, Certified>,
    /// Of the configuration: seconds a client may be silent; 0: for ever.
    idle_s: u32,
}

const NO_SHARD: ShardIndex = ShardIndex::MAX;

impl Directory {
    pub fn new() -> Directory {
        Directory {
            slot_key: SlotKey([0; 16]),
            shards: 0,
            owners: vec![(0, NO_SHARD); usize::from(SLOTS)],
            domains: BTreeMap::new(),
            authentications: BTreeMap::new(),
            certified: BTreeMap::new(),
            idle_s: 0,
        }
    }

    /// Clients may be silent so long ([`crate::config::Timeouts::idle_s`]): streams that log in from now on are told.
    pub fn set_idle_s(&mut self, idle_s: u32) {
        if idle_s != self.idle_s {
            self.idle_s = idle_s;
            self.domains.values_mut().for_each(|domain| domain.set_idle_s(idle_s));
        }
    }

    /// The core's key, behind slots and the ids of what it logs.
    pub fn slot_key(&self) -> &SlotKey {
        &self.slot_key
    }

    /// How many shards the core has; 0 while unknown.
    pub fn shards(&self) -> ShardIndex {
        self.shards
    }

    /// The core introduced itself. True if it is another core than before: its key or its count
    /// of shards changed.
    pub fn on_welcome(&mut self, welcome: &to_edge::Welcome) -> bool {
        let shards = welcome.shards.min(SHARDS_MAX);
        let changed = self.slot_key != welcome.slot_key || self.shards != shards;
        if changed {
            *self = Directory { slot_key: welcome.slot_key, shards, idle_s: self.idle_s, ..Directory::new() };
        }
        changed
    }

    /// No shard is reachable: what the core announces may be another thing when it comes back.
    pub fn forget(&mut self) {
        *self = Directory { idle_s: self.idle_s, ..Directory::new() };
    }

    /// Slots changed hands. Older epochs than known are old news.
    pub fn on_slot_owner(&mut self, frame: &to_edge::SlotOwner) {
        let range = usize::from(frame.first.index())..=usize::from(frame.last.index());
        for owner in self.owners.get_mut(range).unwrap_or_default() {
            if frame.epoch >= owner.0 {
                *owner = (frame.epoch, frame.shard);
            }
        }
    }

    /// What the next `Domain` of this name has besides. False if the frame was refused.
    pub fn on_authentication(&mut self, frame: &to_edge::Authentication<'_>) -> bool {
        if !self.authentications.contains_key(frame.domain) && self.authentications.len() >= DOMAINS_MAX {
            return false;
        }
        match Authentication::new(frame) {
            Some(authentication) => {
                self.authentications.insert(frame.domain.into(), authentication);
                true
            }
            None => false,
        }
    }

    /// What the next `Domain` of this name has for clients with certificates; nothing: it takes none. False if the frame was
    /// refused.
    pub fn on_certified(&mut self, frame: &to_edge::Certified<'_>) -> bool {
        if frame.features_tls.is_empty() {
            self.certified.remove(frame.domain);
            return true;
        }
        if !self.certified.contains_key(frame.domain) && self.certified.len() >= DOMAINS_MAX {
            return false;
        }
        match Certified::new(frame) {
            Some(certified) => {
                self.certified.insert(frame.domain.into(), certified);
                true
            }
            None => false,
        }
    }

    /// A domain is served, or changed its features. False if the frame was refused.
    pub fn on_domain(&mut self, frame: &to_edge::Domain<'_>) -> bool {
        if !self.domains.contains_key(frame.domain) && self.domains.len() >= DOMAINS_MAX {
            return false;
        }
        match Domain::new(frame, self.authentications.get(frame.domain), self.certified.get(frame.domain)) {
            Some(mut domain) => {
                domain.set_idle_s(self.idle_s);
                self.domains.insert(frame.domain.into(), domain);
                true
            }
            None => false,
        }
    }

    /// The domain is no longer served.
    pub fn on_domain_gone(&mut self, domain: &str) {
        self.domains.remove(domain);
        self.authentications.remove(domain);
        self.certified.remove(domain);
    }

    /// The domain that a stream header's `to` names (RFC 6120 §4.9.3.6).
    pub fn hosted(&self, to: &str) -> Hosted<'_> {
        if self.shards == 0 || self.domains.is_empty() {
            return Hosted::Waiting;
        }
        let known = match self.domains.get(to) {
            Some(domain) => Some(domain),
            None => jid::prepare_domainpart(to).ok().and_then(|to| self.domains.get(to.as_str())),
        };
        known.map_or(Hosted::Unknown, Hosted::Known)
    }

    /// Where an entity lives: its slot, and who owns that if it is known.
    pub fn locate(&self, entity: &str) -> (Slot, Option<(SlotEpoch, ShardIndex)>) {
        let slot = self.slot_key.slot(entity);
        (slot, self.owner(slot))
    }

    /// Whether the owner of every slot is known.
    pub fn is_complete(&self) -> bool {
        self.owners.iter().all(|(_, shard)| *shard != NO_SHARD)
    }

    /// Who owns a slot.
    pub fn owner(&self, slot: Slot) -> Option<(SlotEpoch, ShardIndex)> {
        self.owners.get(usize::from(slot.index())).copied().filter(|(_, shard)| *shard != NO_SHARD)
    }
}

impl Default for Directory {
    fn default() -> Directory {
        Directory::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome(shards: u16) -> to_edge::Welcome {
        to_edge::Welcome { version: 1, shards, slot_key: SlotKey([1; 16]), link_credit: 0 }
    }

    fn domain<'a>(name: &'a str, clear: &'a [u8], tls: &'a [u8]) -> to_edge::Domain<'a> {
        to_edge::Domain {
            domain: name,
            features_clear: clear,
            features_tls: tls,
            features_tls_end_point: tls,
            features_tls_exporter: tls,
            features_tls_bound: tls,
            features_authenticated: &[],
        }
    }

    #[test]
    fn domains_come_change_and_go() {
        let mut directory = Directory::new();
        assert_eq!(directory.hosted("a.example"), Hosted::Waiting);
        assert!(directory.on_welcome(&welcome(2)));
        assert!(!directory.on_welcome(&welcome(2)));
        assert_eq!(directory.hosted("a.example"), Hosted::Waiting);
        let mut tree = Builder::new();
        tree.open(Some("http://jabber.org/features/iq-register"), "register").close();
        let register = tree.finish();
        assert!(directory.on_domain(&domain("a.example", &[], &register)));
        assert!(!directory.on_domain(&domain("b.example", &[9], &[])));
        for to in ["a.example", "A.Example"] {
            let Hosted::Known(known) = directory.hosted(to) else { panic!("{to}") };
            assert!(known.registration_tls && !known.registration_clear && known.features_clear.is_none());
        }
        for to in ["b.example", "x a", "", "a.example/x", "u@a.example"] {
            assert_eq!(directory.hosted(to), Hosted::Unknown, "{to}");
        }
        // Limits of XEP-0478: how long a client may be silent is told once it is somebody's, whatever changes.
        let told = |directory: &Directory| {
            let Hosted::Known(known) = directory.hosted("a.example") else { panic!() };
            assert!(!String::from_utf8(known.features_tls.clone()).unwrap().contains("idle"));
            let text = std::str::from_utf8(&known.features_authenticated).unwrap();
            text.split_once("</max-bytes>").unwrap().1.to_owned()
        };
        let of = |seconds| format!("<idle-seconds>{seconds}</idle-seconds></limits></stream:features>");
        assert_eq!(told(&directory), "</limits></stream:features>");
        directory.set_idle_s(1800);
        assert_eq!(told(&directory), of(1800));
        directory.set_idle_s(90);
        assert!(directory.on_domain(&domain("a.example", &[], &register)));
        assert_eq!(told(&directory), of(90));
        directory.forget();
        directory.on_welcome(&welcome(2));
        assert!(directory.on_domain(&domain("a.example", &[], &register)));
        assert_eq!(told(&directory), of(90));
        directory.on_domain_gone("a.example");
        assert_eq!(directory.hosted("a.example"), Hosted::Waiting);
        directory.forget();
        assert_eq!(directory.shards(), 0);
    }

    /// Shards announce in their own order; an earlier release announces no XEP-0388 at all.
    #[test]
    fn what_goes_along_with_a_domain_is_kept_for_it() {
        let mut directory = Directory::new();
        directory.on_welcome(&welcome(2));
        let offer = |name: &str| {
            let mut tree = Builder::new();
            tree.leaf(Some("urn:x"), "offer", name);
            tree.finish()
        };
        let (tls, both) = (offer("tls"), offer("both"));
        let ahead = |domain| to_edge::Authentication {
            domain,
            tls: &tls,
            tls_end_point: &[],
            tls_exporter: &[],
            tls_bound: &both,
        };
        let known = |directory: &Directory, name: &str| {
            let Hosted::Known(domain) = directory.hosted(name) else { panic!("{name}") };
            let text = |features: &[u8]| String::from_utf8(features.to_vec()).unwrap();
            (domain.sasl2, text(&domain.features_tls), text(&domain.features_tls_bound))
        };
        let first = offer("first");
        assert!(directory.on_domain(&domain("b.example", &[], &first)));
        for _ in 0..2 {
            assert!(directory.on_authentication(&ahead("a.example")));
        }
        for _ in 0..2 {
            assert!(directory.on_domain(&domain("a.example", &[], &first)));
            let (sasl2, in_tls, bound) = known(&directory, "a.example");
            let offered = |name| format!("<offer xmlns='urn:x'>first</offer><offer xmlns='urn:x'>{name}</offer>");
            assert!(sasl2 && in_tls.contains(&offered("tls")) && bound.contains(&offered("both")), "{in_tls}");
        }
        assert!(!known(&directory, "b.example").0);
        assert!(!directory.on_authentication(&to_edge::Authentication { tls_bound: &[9], ..ahead("c.example") }));
        directory.on_domain_gone("a.example");
        directory.on_domain(&domain("a.example", &[], &first));
        assert!(!known(&directory, "a.example").0);
    }

    #[test]
    fn owners_change_by_ranges_and_never_back() {
        let mut directory = Directory::new();
        let slot = |n| Slot::new(n).unwrap();
        let own = |first, last, epoch, shard| to_edge::SlotOwner { first: slot(first), last: slot(last), epoch, shard };
        directory.on_slot_owner(&own(0, 4095, 1, 0));
        directory.on_slot_owner(&own(10, 20, 3, 1));
        directory.on_slot_owner(&own(5, 15, 2, 2));
        directory.on_slot_owner(&own(20, 10, 9, 9));
        for (at, want) in [(0, (1, 0)), (5, (2, 2)), (9, (2, 2)), (10, (3, 1)), (20, (3, 1)), (21, (1, 0))] {
            assert_eq!(directory.owner(slot(at)), Some(want), "{at}");
        }
        assert_eq!(Directory::new().locate("a@b").1, None);
    }
}
