//! The features: one file each, one line here. The list also yields the disco replies.

#[cfg(test)]
mod tests;

use crate::cx::Cx;
use crate::domain::Switch;
use crate::forms::Info;
use crate::iq::Iq;
use crate::sasl::{self, Offer};
use crate::session::SessionKey;
use crate::{
    blocking, disco, entity_time, fast, forms, invisible, jid_escaping, last_activity, legacy_session, ping,
    private_storage, register, result_sets, roster, search, server_info, sm, stanza_ids, vcard, version,
};
use hearth_storage::DomainRecord;
use hearth_wire::StanzaCondition;
use hearth_wire::tree::Builder;

/// Everything this server does beyond routing, in the order of stream features (XEP-0170).
pub const ALL: &[&Feature] = &[
    &legacy_session::FEATURE,
    &disco::CAPS_FEATURE,
    &disco::FEATURE,
    &disco::EXTENSIONS,
    &blocking::FEATURE,
    &entity_time::FEATURE,
    &fast::FEATURE,
    &forms::FEATURE,
    &forms::FIELD_NAMES,
    &invisible::FEATURE,
    &jid_escaping::FEATURE,
    &last_activity::FEATURE,
    &ping::FEATURE,
    &private_storage::FEATURE,
    &register::NEW_ACCOUNTS,
    &register::FEATURE,
    &result_sets::FEATURE,
    &roster::FEATURE,
    &sasl::INLINE_PROFILE,
    &sasl::BINDING_TYPES,
    &sasl::DOWNGRADE_PROTECTION,
    &sasl::CERTIFICATES,
    &search::FEATURE,
    &server_info::FEATURE,
    &sm::FEATURE,
    &stanza_ids::FEATURE,
    &vcard::FEATURE,
    &version::FEATURE,
];

/// What one feature adds.
pub struct Feature {
    pub spec: Spec,
    /// What switches it on and off by domain; without one it is always on. Where it is off, it is
    /// neither advertised nor handled.
    pub switch: Option<&'static Switch>,
    /// Advertised by the server in disco#info (XEP-0030 §3).
    pub disco_server: &'static [&'static str],
    /// Advertised by every account.
    pub disco_account: &'static [&'static str],
    pub iq: &'static [IqHandler],
    /// Children of `<stream:features/>` after authentication.
    pub stream_features: Option<fn(&DomainRecord, &mut Builder)>,
    /// Children of `<inline/>`: what may come along with authentication (XEP-0388 §2.1).
    pub inline: Option<fn(Offer, &mut Builder)>,
    /// What the server says of a domain beyond that (XEP-0128).
    pub info: Option<fn(&DomainRecord) -> Option<Info>>,
}

impl Feature {
    /// Adds nothing.
    pub const EMPTY: Feature = Feature {
        spec: Spec::Rfc(6120),
        switch: None,
        disco_server: &[],
        disco_account: &[],
        iq: &[],
        stream_features: None,
        inline: None,
        info: None,
    };

    fn is_on(&self, domain: &DomainRecord) -> bool {
        self.switch.is_none_or(|switch| switch.is_on(domain))
    }
}

/// What a feature implements.
pub enum Spec {
    Rfc(u16),
    /// Number and the version that was read.
    Xep(u16, &'static str),
}

/// Answers a question, now or later; an error is sent by the caller.
pub type Run = fn(&mut Cx<'_>, &Iq<'_>) -> Result<(), StanzaCondition>;

/// Handles one kind of question.
pub struct IqHandler {
    pub ns: &'static str,
    pub element: &'static str,
    /// Whom the question may be put to.
    pub scopes: &'static [Scope],
    pub run: Run,
}

/// Whom a question is put to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// The server: `to` is the domain.
    Server,
    /// The asker's own account: no `to`, or its own bare JID.
    Account,
    /// Another account's bare JID: answered by the server on its behalf.
    AccountOfOther,
}

/// The features that a domain has.
pub fn of(domain: &DomainRecord) -> impl Iterator<Item = &'static Feature> + '_ {
    ALL.iter().copied().filter(|feature| feature.is_on(domain))
}

/// The handler of a question to this domain, or to an account of it.
pub fn handler(ns: &str, element: &str, scope: Scope, domain: &DomainRecord) -> Option<Run> {
    let fits = |handler: &IqHandler| handler.ns == ns && handler.element == element && handler.scopes.contains(&scope);
    let found = |feature: &&&Feature| feature.iq.iter().any(fits) && feature.is_on(domain);
    let feature = ALL.iter().find(found)?;
    feature.iq.iter().find(|handler| fits(handler)).map(|handler| handler.run)
}

/// A session is about to end, for whatever reason: the order is written here.
pub fn on_session_end(cx: &mut Cx<'_>, key: SessionKey) {
    crate::presence::on_session_end(cx, key);
}
