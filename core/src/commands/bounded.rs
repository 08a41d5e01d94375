//! Whatever an operator lists, one answer has a bound (threats, row 94).

use super::{Done, Reply, Rows, Shape, all};
use crate::limits::{COMMAND_PAGE, COMMAND_ROWS_MAX, ROSTER_ITEMS_MAX};
use crate::testing::Core;
use hearth_storage::{DomainRecord, Subscription};
use serde_json::{Map, Value as Json, json};

fn page(core: &mut Core, command: &str, parameters: &[(&str, &str)], after: Option<String>) -> Rows {
    core.replies.clear();
    core.command_after(0, command, parameters, after);
    let Some((_, Reply::Ok(Done::Rows(rows)))) = core.replies.pop() else { panic!("{command}: {:?}", core.replies) };
    rows
}

/// How many rows each page has, asked to the end; and that each row comes once, in order.
fn pages(core: &mut Core, command: &str, parameters: &[(&str, &str)], field: &str) -> Vec<usize> {
    let (mut counts, mut names, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let Rows { rows, next } = page(core, command, parameters, after);
        counts.push(rows.len());
        names.extend(rows.iter().map(|row| row[field].as_str().unwrap().to_owned()));
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{command}");
    counts
}

#[test]
fn threat_094_lists_of_operators_come_in_pages() {
    let whole = usize::try_from(COMMAND_PAGE).unwrap();
    let mut core = Core::new(2);
    for n in 0..2 * whole + 7 {
        core.account(&format!("user{n:05}@example.org"));
    }
    let domain = [("domain", "example.org")];
    assert_eq!(pages(&mut core, "user list", &domain, "account"), [whole, whole, 7, 0]);
    let served: Vec<DomainRecord> = core.shards[0].domains.iter().cloned().collect();
    for n in 0..2 * whole {
        let domain = format!("d{n:05}.example");
        core.shards[0].domains.put(DomainRecord { domain, ..served[0].clone() });
    }
    assert_eq!(pages(&mut core, "domain list", &[], "domain"), [whole, whole, served.len()]);
}

#[test]
fn threat_094_what_is_listed_at_once_has_a_bound() {
    let mut core = Core::new(1);
    for n in 0..COMMAND_ROWS_MAX + 1 {
        core.login(&format!("user{n:05}@example.org/x"));
    }
    assert_eq!(page(&mut core, "sessions list", &[], None).rows.len(), COMMAND_ROWS_MAX);
    // Of several shards no more than of one.
    let list = super::find("sessions list").unwrap();
    let row = |n: usize| Map::from_iter([("jid".to_owned(), Json::from(format!("{n:05}")))]);
    let of = |from: usize| Done::rows((from..from + COMMAND_ROWS_MAX).map(row).collect());
    let Done::Rows(both) = list.result.add(of(0), of(5)) else { panic!() };
    assert_eq!(both.rows.len(), COMMAND_ROWS_MAX);
    // A roster has its own limit.
    for n in 0..20 {
        core.contact("ada@example.org", &format!("contact{n}@example.net"), Subscription::None);
    }
    assert_eq!(page(&mut core, "roster show", &[("account", "ada@example.org")], None).rows.len(), 20);
    const { assert!(ROSTER_ITEMS_MAX <= COMMAND_ROWS_MAX) };
}

/// A new list belongs into one of the tests above.
#[test]
fn threat_094_every_list_is_known() {
    let lists: Vec<&str> = all().filter(|command| matches!(command.result, Shape::Rows(_))).map(|c| c.name).collect();
    let bounded = json!([
        "audit",         // COMMAND_ROWS_MAX, by its parameter
        "dns",           // made by hearthctl itself
        "domain list",   // pages
        "edge list",     // LINKS_MAX
        "features",      // a table in the code
        "limits",        // a table in the code
        "roster show",   // ROSTER_ITEMS_MAX
        "sessions list", // COMMAND_ROWS_MAX
        "user list",     // pages
    ]);
    let mut sorted = lists.clone();
    sorted.sort_unstable();
    assert_eq!(json!(sorted), bounded);
}
