//! `hearthctl features`: what the core implements.

use super::{Call, Command, Done, Field, Group, Kind, Look, Parameter, Refused, Run, Shape, Who, user};
use crate::cx::Cx;
use crate::features::{ALL, Spec};
use hearth_storage::DomainRecord;
use serde_json::{Map, Value as Json};

pub(super) const GROUP: Group = Group { name: "features", help: "What the server implements.", commands: &[FEATURES] };

const FEATURES: Command = Command {
    name: "features",
    help: "What the server implements, in which version, and whether it is switched on.",
    details: "A feature without a switch is always on. Of a feature with one the state is that of the domain,\n\
              or the domains where it is on if none is named.",
    parameters: &[Parameter::optional("domain", Kind::Domain, "as this domain has it")],
    examples: &["features", "features chat.example.org"],
    who: Who::DomainAdmin,
    result: Shape::Rows(&[
        Field::new("spec", "specification"),
        Field::new("version", "version"),
        Field::new("switch", "switch"),
        Field::new("on", "on").look(Look::Plain),
        Field::new("advertises", "advertises"),
    ]),
    run: Run::First(features),
    ..Command::BASE
};

fn features(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let only = call.arguments.text_if("domain");
    if let Some(domain) = only {
        user::own_domain(cx, domain)?;
    }
    let domains: Vec<&DomainRecord> = cx.shard.domains.iter().collect();
    let rows = ALL.iter().map(|feature| {
        let (spec, version) = match feature.spec {
            Spec::Rfc(number) => (format!("RFC {number}"), None),
            Spec::Xep(number, version) => (format!("XEP-{number:04}"), Some(version)),
        };
        let on = match (feature.switch, only) {
            (None, _) => Json::from(true),
            (Some(switch), Some(domain)) => Json::from(cx.shard.domains.is_on(domain, switch)),
            (Some(switch), None) => {
                let on = domains.iter().filter(|record| switch.is_on(record));
                on.map(|record| Json::from(record.domain.as_str())).collect()
            }
        };
        Map::from_iter([
            ("spec".to_owned(), Json::from(spec)),
            ("version".to_owned(), Json::from(version)),
            ("switch".to_owned(), Json::from(feature.switch.map(|switch| switch.name))),
            ("on".to_owned(), on),
            ("advertises".to_owned(), feature.disco_server.iter().map(|ns| Json::from(*ns)).collect()),
        ])
    });
    let mut rows: Vec<Map<String, Json>> = rows.collect();
    rows.sort_by(|a, b| a.get("spec").and_then(Json::as_str).cmp(&b.get("spec").and_then(Json::as_str)));
    Ok(Some(Done::rows(rows)))
}
