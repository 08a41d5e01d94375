//! What a domain asks of names and passwords that users choose, and how often it lets them.

use crate::cx::Cx;
use crate::domain::Domains;
use crate::jid_escaping;
use crate::limits;
use crate::sasl::crypto::Secret;
use crate::tally::Prefix;
use hearth_storage::RegistrationRules;
use hearth_wire::look_alike;
use hearth_wire::{BareJid, StanzaCondition};
use std::borrow::Cow;
use std::net::IpAddr;

/// Names that people take for those who run a domain (RFC 2142 among them), which nobody registers
/// unless the domain has a list of its own. The operator may.
pub(super) const RESERVED: &[&str] = &[
    "abuse",
    "admin",
    "administrator",
    "help",
    "hostmaster",
    "info",
    "moderator",
    "noreply",
    "operator",
    "postmaster",
    "root",
    "security",
    "staff",
    "support",
    "system",
    "webmaster",
    "xmpp",
];

/// Why not, for the client and for the person before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub condition: StanzaCondition,
    pub text: Option<Cow<'static, str>>,
}

impl Refusal {
    pub fn new(condition: StanzaCondition, text: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { condition, text: Some(text.into()) }
    }
}

impl From<StanzaCondition> for Refusal {
    fn from(condition: StanzaCondition) -> Refusal {
        Refusal { condition, text: None }
    }
}

fn rules<'a>(domains: &'a Domains, domain: &str) -> Option<&'a RegistrationRules> {
    domains.get(domain).map(|record| &record.registration_rules)
}

/// Whether this may be the name of a new account: not one of those kept back, no escaped space
/// at either end (XEP-0106 §4.1), and of one script (UTS #39 §5.2). Whether it looks like another the store says.
pub(super) fn check_name(domains: &Domains, account: &BareJid) -> Result<(), Refusal> {
    let name = account.localpart().unwrap_or_default();
    let reserved = match rules(domains, account.domainpart()).and_then(|rules| rules.reserved.as_ref()) {
        Some(reserved) => reserved.iter().any(|reserved| reserved == name),
        None => RESERVED.contains(&name),
    };
    if reserved {
        return Err(Refusal::new(StanzaCondition::NotAcceptable, "This name is reserved. Please choose another."));
    }
    if !jid_escaping::may_be_made(name) {
        let text = "A name cannot begin or end with a space. Please choose another.";
        return Err(Refusal::new(StanzaCondition::NotAcceptable, text));
    }
    if look_alike::mixes_scripts(name) {
        let text = "A name cannot mix letters of different scripts. Please choose another.";
        return Err(Refusal::new(StanzaCondition::NotAcceptable, text));
    }
    Ok(())
}

/// Whether this may be the account's password: long enough, and not the name itself.
pub(super) fn check_password(domains: &Domains, account: &BareJid, password: &Secret) -> Result<(), Refusal> {
    let asked = rules(domains, account.domainpart()).and_then(|rules| rules.password_chars_min);
    let least = usize::try_from(asked.unwrap_or(limits::PASSWORD_CHARS_MIN)).unwrap_or(usize::MAX);
    let text = std::str::from_utf8(password.expose()).unwrap_or_default();
    if text.chars().count() < least {
        let text = format!("The password is too short: it needs {least} characters at least.");
        return Err(Refusal::new(StanzaCondition::NotAcceptable, text));
    }
    if account.localpart() == Some(text) || account.as_str() == text {
        let text = "The password must not be the name. Please choose another.";
        return Err(Refusal::new(StanzaCondition::NotAcceptable, text));
    }
    Ok(())
}

/// Counts one registration from here at this domain, unless there were too many. Every registration
/// begins at the shard of the domain, so only that one counts.
pub(super) fn count(cx: &mut Cx<'_>, domain: &str, peer: IpAddr) -> Result<(), Refusal> {
    if cx.shard.owner(domain) != cx.shard.settings.index {
        return Ok(());
    }
    let (from, now_ms) = (Prefix::of_host(peer), cx.now.mono_ms);
    let rules = rules(&cx.shard.domains, domain);
    let per_address = rules.and_then(|rules| rules.per_address).unwrap_or(limits::REGISTRATIONS_MAX);
    let per_hour = rules.and_then(|rules| rules.per_hour).unwrap_or(limits::REGISTRATIONS_PER_DOMAIN_MAX);
    if cx.shard.registrations.events(&from, now_ms) >= per_address {
        let text = "Too many accounts were registered from your network. Please try again in an hour.";
        return Err(Refusal::new(StanzaCondition::ResourceConstraint, text));
    }
    if cx.shard.domain_registrations.events(&domain.into(), now_ms) >= per_hour {
        let text = "Too many accounts were registered here of late. Please try again in an hour.";
        return Err(Refusal::new(StanzaCondition::ResourceConstraint, text));
    }
    cx.shard.registrations.count(from, now_ms);
    cx.shard.domain_registrations.count(domain.into(), now_ms);
    Ok(())
}
