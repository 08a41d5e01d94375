//! Result Set Management: pages of an answer that would be too long as one, forwards only. Without a total
//! or places by number, which would mean to read all of it (§2.6, §2.7 allow that).

use crate::domain::Switch;
use crate::features::{Feature, Spec};
use crate::search;
use hearth_wire::StanzaCondition;
use hearth_wire::tree::{Builder, Element};

/// Namespace of `<set/>`.
pub const NS: &str = "http://jabber.org/protocol/rsm";

/// What uses it so far can be switched off.
const USED_BY: &Switch = &search::DIRECTORY;

pub const FEATURE: Feature =
    Feature { spec: Spec::Xep(59, "1.0"), switch: Some(USED_BY), disco_server: &[NS], ..Feature::EMPTY };

/// Which part of an answer somebody wants.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// Items at most, one at least; `None`: as many as there may be.
    pub max: Option<u32>,
    /// The item to go on behind; `None`: from the first.
    pub after: Option<String>,
}

impl Page {
    /// The page that `query` asks for; `None` if it has no `<set/>`. Going backwards, places by number and
    /// the mere count are `feature-not-implemented`.
    pub fn within(query: &Element<'_>) -> Result<Option<Page>, StanzaCondition> {
        let Some(set) = query.child(NS, "set") else { return Ok(None) };
        let text = |name| set.child(NS, name).map(|child| child.text().trim().to_owned());
        if text("before").is_some() || text("index").is_some() {
            return Err(StanzaCondition::FeatureNotImplemented);
        }
        let max = match text("max").map(|max| max.parse()) {
            None => None,
            Some(Ok(0)) => return Err(StanzaCondition::FeatureNotImplemented),
            Some(Ok(max)) => Some(max),
            Some(Err(_)) => return Err(StanzaCondition::BadRequest),
        };
        Ok(Some(Page { max, after: text("after").filter(|after| !after.is_empty()) }))
    }
}

/// Says which items the page has, by the first and the last of them (§2.2).
pub fn write(out: &mut Builder, ends: Option<(&str, &str)>) {
    out.open(Some(NS), "set");
    if let Some((first, last)) = ends {
        out.leaf(None, "first", first).leaf(None, "last", last);
    }
    out.close();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::stanza;
    use hearth_wire::tree;

    #[test]
    fn what_is_asked_for() {
        let page = |max, after: &str| {
            let after = (!after.is_empty()).then(|| after.to_owned());
            Ok(Some(Page { max, after }))
        };
        for (set, expected) in [
            ("", Ok(None)),
            ("<set xmlns='urn:other'><max>1</max></set>", Ok(None)),
            ("<set xmlns='http://jabber.org/protocol/rsm'/>", page(None, "")),
            ("<set xmlns='http://jabber.org/protocol/rsm'><max>7</max></set>", page(Some(7), "")),
            (
                "<set xmlns='http://jabber.org/protocol/rsm'><max> 7 </max><after>x y</after></set>",
                page(Some(7), "x y"),
            ),
            ("<set xmlns='http://jabber.org/protocol/rsm'><after/></set>", page(None, "")),
            ("<set xmlns='http://jabber.org/protocol/rsm'><max/></set>", Err(StanzaCondition::BadRequest)),
            ("<set xmlns='http://jabber.org/protocol/rsm'><max>-1</max></set>", Err(StanzaCondition::BadRequest)),
            (
                "<set xmlns='http://jabber.org/protocol/rsm'><max>4294967296</max></set>",
                Err(StanzaCondition::BadRequest),
            ),
            (
                "<set xmlns='http://jabber.org/protocol/rsm'><max>0</max></set>",
                Err(StanzaCondition::FeatureNotImplemented),
            ),
            (
                "<set xmlns='http://jabber.org/protocol/rsm'><before/></set>",
                Err(StanzaCondition::FeatureNotImplemented),
            ),
            (
                "<set xmlns='http://jabber.org/protocol/rsm'><index>1</index></set>",
                Err(StanzaCondition::FeatureNotImplemented),
            ),
        ] {
            let iq = stanza(&format!("<iq type='set' id='1'><query xmlns='urn:q'>{set}</query></iq>"));
            assert_eq!(Page::within(&tree::first(iq.view().payload).unwrap()), expected, "{set}");
        }
    }
}
