mod broadcast;
mod directed;
mod order;
mod probes;
mod world;

use crate::limits;
use crate::testing::{Client, Core};
use hearth_storage::Subscription;

const ADA: &str = "ada@example.org";
const GRACE: &str = "grace@example.org";
const NOTHING: [&str; 0] = [];

fn online(core: &mut Core, full: &str) -> Client {
    let client = core.login(full);
    core.send(client, "<presence/>");
    core.take(client);
    client
}

/// Presence as it arrives.
fn available(from: &str, to: &str) -> String {
    format!("<presence from='{from}' to='{to}'/>")
}

fn unavailable(from: &str, to: &str) -> String {
    format!("<presence type='unavailable' from='{from}' to='{to}'/>")
}

/// Everything with one shard and with two, the two accounts on different ones.
fn each(test: impl Fn(&mut Core, &str, &str)) {
    test(&mut Core::new(1), ADA, GRACE);
    let mut core = Core::new(2);
    let (ada, grace) = (core.name_on(0, "ada"), core.name_on(1, "grace"));
    test(&mut core, &ada, &grace);
}
