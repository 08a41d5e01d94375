//! Invisible Command: a session that hears as if it were available, and is seen by nobody but whom it tells by
//! directed presence.
//!
//! ```text
//!              <invisible/>: unavailable to all who see it           <presence/>: its priority, nothing else
//!  any state ─────────────────────────────────────────▶ invisible ──┘
//!      ▲                                                    │
//!      └── <visible/>: connected, as before initial presence (XEP-0186 §3.3)
//! ```
//! Its account looks as it would without this session: probes, last activity and iqs to the bare JID do not tell.
//! The mode ends with the session. (Invisibility by privacy lists, XEP-0126, does not exist here.)

use crate::cx::Cx;
use crate::features::{Feature, IqHandler, Scope, Spec};
use crate::iq::Iq;
use crate::presence;
use hearth_wire::StanzaCondition;

#[cfg(test)]
mod tests;

/// XEP-0186 §3.1.
const NS: &str = "urn:xmpp:invisible:1";

pub const FEATURE: Feature = Feature {
    spec: Spec::Xep(186, "0.14.0"),
    disco_server: &[NS],
    iq: &[
        IqHandler { ns: NS, element: "invisible", scopes: &[Scope::Account], run: hide },
        IqHandler { ns: NS, element: "visible", scopes: &[Scope::Account], run: show },
    ],
    ..Feature::EMPTY
};

/// XEP-0186 §3.1. With `probe` the contacts are asked for their presence; without, as by default, they cannot even
/// tell from a probe that somebody came.
fn hide(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    let session = iq.asker.filter(|_| iq.is_set()).ok_or(StanzaCondition::BadRequest)?;
    let probe = match iq.question.attr("probe") {
        None | Some("false" | "0") => false,
        Some("true" | "1") => true,
        Some(_) => return Err(StanzaCondition::BadRequest),
    };
    if probe && !cx.shard.outboxes_calm() {
        return Err(StanzaCondition::ResourceConstraint);
    }
    presence::become_invisible(cx, session, probe);
    iq.reply(cx, &[]);
    Ok(())
}

/// XEP-0186 §3.3. Whom it told directly goes on seeing it.
fn show(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    let session = iq.asker.filter(|_| iq.is_set()).ok_or(StanzaCondition::BadRequest)?;
    presence::end_invisibility(cx, session);
    iq.reply(cx, &[]);
    Ok(())
}
