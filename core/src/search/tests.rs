use super::*;
use crate::testing::{Client, Core};
use hearth_storage::DomainRecord;

/// `example.org` with a directory, `example.net` with one of its own.
fn core(shards: u16) -> Core {
    let domain = |name| {
        let mut domain = DomainRecord::new(name);
        domain.set(DIRECTORY.name, true);
        domain
    };
    Core::with_domains(shards, &["example.net", "example.org"].map(domain))
}

fn publish(core: &mut Core, client: Client, card: &str) {
    core.send(client, &format!("<iq type='set' id='v'><vCard xmlns='vcard-temp'>{card}</vCard></iq>"));
    assert!(core.take(client).concat().contains("type='result'"), "{card}");
}

const PUBLIC: &str = "<CLASS><PUBLIC/></CLASS>";

/// A vCard of class PUBLIC.
fn list(core: &mut Core, jid: &str, given: &str, family: &str, nick: &str) -> Client {
    let client = core.login(&format!("{jid}/desk"));
    let name = format!("<N><FAMILY>{family}</FAMILY><GIVEN>{given}</GIVEN></N><NICKNAME>{nick}</NICKNAME>");
    publish(core, client, &format!("<FN>{given} {family}</FN>{name}{PUBLIC}"));
    client
}

fn ask(core: &mut Core, client: Client, ty: &str, query: &str) -> String {
    let query = format!("<query xmlns='jabber:iq:search'>{query}</query>");
    core.send(client, &format!("<iq type='{ty}' id='s' to='example.org'>{query}</iq>"));
    core.take(client).concat()
}

/// Who was found, by localpart; or the whole answer, where it is an error.
fn find(core: &mut Core, client: Client, query: &str) -> String {
    let answer = ask(core, client, "set", query);
    if answer.contains("<error") {
        return answer;
    }
    let found: Vec<&str> = answer.split("<item jid='").skip(1).filter_map(|item| item.split('@').next()).collect();
    found.join(" ")
}

fn form(fields: &[(&str, &str)]) -> String {
    let field = |(var, value): &(&str, &str)| format!("<field var='{var}'><value>{value}</value></field>");
    let fields: String = fields.iter().map(field).collect();
    format!("<x xmlns='jabber:x:data' type='submit'>{}{fields}</x>", field(&("FORM_TYPE", NS)))
}

const SET: &str = "http://jabber.org/protocol/rsm";

#[test]
fn nobody_is_searched_where_there_is_no_directory() {
    let mut core = Core::new(2);
    let ada = list(&mut core, "ada@example.org", "Ada", "Lovelace", "countess");
    for ty in ["get", "set"] {
        assert!(ask(&mut core, ada, ty, "<nick>c</nick>").contains("service-unavailable"), "{ty}");
    }
    let told = |core: &mut Core, client| {
        core.send(
            client,
            "<iq type='get' id='1' to='example.org'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
        );
        let answer = core.take(client).concat();
        [NS, SET].map(|ns| answer.contains(&format!("<feature var='{ns}'/>")))
    };
    assert_eq!(told(&mut core, ada), [false, false]);
    let mut core = self::core(2);
    let ada = core.login("ada@example.org/desk");
    assert_eq!(told(&mut core, ada), [true, true]);
}

#[test]
fn answered_in_the_manner_of_the_question() {
    let mut core = core(2);
    let bob = core.login("bob@example.org/phone");
    list(&mut core, "ada@example.org", "Ada", "Lovelace", "");
    let fields = ask(&mut core, bob, "get", "");
    assert!(fields.contains("</instructions><first/><last/><nick/><email/><x xmlns='jabber:x:data' type='form'>"));
    assert!(fields.contains("<field var='email' type='text-single' label='Email Address'/>"), "{fields}");
    let result =
        "<iq type='result' id='s' from='example.org' to='bob@example.org/phone'><query xmlns='jabber:iq:search'>";
    let items = "<item jid='ada@example.org'><first>Ada</first><last>Lovelace</last><nick/><email/></item>";
    assert_eq!(ask(&mut core, bob, "set", "<first>ad</first>"), format!("{result}{items}</query></iq>"));
    let found = ask(&mut core, bob, "set", &form(&[("first", "ad"), ("last", ""), ("other", "x")]));
    assert!(found.contains(
        "<reported><field var='jid' type='jid-single' label='Jabber ID'/>\
         <field var='first' type='text-single' label='Given Name'/>"
    ));
    assert!(
        found.contains(
            "<item><field var='jid'><value>ada@example.org</value></field><field var='first'><value>Ada</value></field>\
         <field var='last'><value>Lovelace</value></field><field var='nick'><value/></field>\
         <field var='email'><value/></field></item></x></query></iq>"
        ),
        "{found}"
    );
    let nobody =
        "<iq type='result' id='s' from='example.org' to='bob@example.org/phone'><query xmlns='jabber:iq:search'/></iq>";
    assert_eq!(ask(&mut core, bob, "set", "<first>x</first>"), nobody);
    assert_eq!(ask(&mut core, bob, "set", &form(&[("first", "x")])), nobody);
    assert_eq!(core.unsettled(bob), 0);
}

#[test]
fn listed_is_who_says_so_and_as_long() {
    let mut core = core(2);
    let (bob, ada) = (core.login("bob@example.org/phone"), core.login("ada@example.org/desk"));
    let name = "<FN>Ada King</FN><N><GIVEN>Augusta</GIVEN></N>";
    for (card, found) in [
        (format!("{name}{PUBLIC}"), "ada"),
        (name.to_owned(), ""),
        (format!("{PUBLIC}{name}"), "ada"),
        (format!("{name}<CLASS><PRIVATE/></CLASS>"), ""),
        (format!("{name}{PUBLIC}"), "ada"),
        (format!("{name}<CLASS><CONFIDENTIAL/></CLASS>"), ""),
        (format!("{name}{PUBLIC}"), "ada"),
        (String::new(), ""),
        (format!("{name}{PUBLIC}"), "ada"),
        (format!("<N><GIVEN>Other</GIVEN></N>{PUBLIC}"), ""),
        (format!("{name}<CLASS xmlns='urn:other'><PUBLIC/></CLASS>"), ""),
        (PUBLIC.to_owned(), ""),
        (format!("{name}{PUBLIC}"), "ada"),
    ] {
        publish(&mut core, ada, &card);
        assert_eq!(find(&mut core, bob, "<first>augusta</first>"), found, "{card}");
    }
    core.send(ada, "<iq type='set' id='r'><query xmlns='jabber:iq:register'><remove/></query></iq>");
    assert_eq!(find(&mut core, bob, "<first>augusta</first>"), "", "the account is removed");
}

#[test]
fn what_of_a_card_is_listed() {
    let mut core = core(2);
    let (bob, ada) = (core.login("bob@example.org/phone"), core.login("ada@example.org/desk"));
    let long = |bytes| format!("<NICKNAME>{}</NICKNAME>", "x".repeat(bytes));
    let most = limits::LISTED_BYTES_MAX;
    for (card, listed) in [
        ("<FN>Ada King</FN>".to_owned(), "<first>Ada King</first><last/><nick/><email/>"),
        ("<FN>Ada King</FN><N><FAMILY> King </FAMILY></N>".to_owned(), "<first/><last>King</last><nick/><email/>"),
        ("<FN>Ada</FN><N><GIVEN> </GIVEN></N>".to_owned(), "<first>Ada</first><last/><nick/><email/>"),
        (
            "<FN>A</FN><EMAIL><HOME/></EMAIL><EMAIL><USERID>a@b</USERID></EMAIL><EMAIL><USERID>c@d</USERID></EMAIL>"
                .to_owned(),
            "<first>A</first><last/><nick/><email>a@b</email>",
        ),
        (format!("<FN>Ada</FN>{}", long(most + 1)), "<first>Ada</first><last/><nick/><email/>"),
        (format!("<FN>Ada</FN>{}", long(most)), "<email/>"),
    ] {
        publish(&mut core, ada, &format!("{card}{PUBLIC}"));
        let terms = if card.contains("<FN>A") && !card.contains("King </FAMILY>") {
            "<first>A</first>"
        } else {
            "<last>k</last>"
        };
        let found = ask(&mut core, bob, "set", terms);
        assert!(found.contains(listed), "{card}: {found}");
        assert_eq!(found.contains("<nick>x"), card.ends_with(&long(most)), "{card}");
    }
}

#[test]
fn every_term_must_fit() {
    let mut core = core(2);
    let bob = core.login("bob@example.org/phone");
    list(&mut core, "ada@example.org", "Ada", "Lovelace", "countess");
    list(&mut core, "adam@example.org", "Adam", "Smith", "Wealth");
    list(&mut core, "eve@example.net", "Ada", "Lovelace", "countess");
    for (terms, found) in [
        ("<first>ADA</first>", "ada adam"),
        ("<first> ada* </first>", "ada adam"),
        ("<first>ada</first><last>S</last>", "adam"),
        ("<first>ada</first><last/><nick> </nick>", "ada adam"),
        ("<first>ada</first><nick>x</nick>", ""),
        ("<first>ada</first><other>x</other>", "ada adam"),
        ("<first>da</first>", ""),
    ] {
        assert_eq!(find(&mut core, bob, terms), found, "{terms}");
    }
}

#[test]
fn what_is_refused() {
    let mut core = core(2);
    let bob = core.login("bob@example.org/phone");
    list(&mut core, "ada@example.org", "Ada", "Lovelace", "countess");
    let long = format!("<nick>{}</nick>", "x".repeat(limits::SEARCH_TERM_BYTES_MAX + 1));
    let empty = form(&[("first", " ")]);
    let other = form(&[("first", "a")]).replace(NS, "urn:other");
    let after = |after: &str| format!("<first>a</first><set xmlns='{SET}'><after>{after}</after></set>");
    for (terms, condition) in [
        ("", "not-acceptable"),
        ("<first/><last> </last>", "not-acceptable"),
        ("<first>*</first>", "not-acceptable"),
        ("<other>x</other>", "not-acceptable"),
        (&empty, "not-acceptable"),
        (&other, "bad-request"),
        ("<first>a</first><first>b</first>", "bad-request"),
        (&long, "policy-violation"),
        (&after("nobody@example.org"), "item-not-found"),
        (&after("a@b@c"), "item-not-found"),
        (&after("ada@example.net"), "item-not-found"),
    ] {
        let answer = find(&mut core, bob, terms);
        assert!(answer.contains(&format!("<{condition} ")), "{terms}: {answer}");
    }
    let eve = core.login("eve@example.net/x");
    for ty in ["get", "set"] {
        assert!(ask(&mut core, eve, ty, "<first>a</first>").contains("forbidden"), "{ty} from another domain");
    }
    core.unreadable = true;
    assert!(find(&mut core, bob, "<first>a</first>").contains("resource-constraint"));
    core.unreadable = false;
    assert_eq!(find(&mut core, bob, "<first>a</first>"), "ada");
    assert_eq!((core.unsettled(bob), core.unsettled(eve)), (0, 0));
}

#[test]
fn pages_go_on_where_the_last_one_ended() {
    let mut core = core(2);
    let bob = core.login("bob@example.org/phone");
    for n in 0..5 {
        list(&mut core, &format!("ada{n}@example.org"), "Ada", &format!("Of {n}"), "");
    }
    let set = |page: &str| format!("<first>ada</first><set xmlns='{SET}'>{page}</set>");
    let first = ask(&mut core, bob, "set", &set("<max>2</max>"));
    assert!(
        first.ends_with(&format!(
            "<set xmlns='{SET}'><first>ada0@example.org</first><last>ada1@example.org</last></set></query></iq>"
        )),
        "{first}"
    );
    let after = |n: u8| set(&format!("<max>2</max><after>ada{n}@example.org</after>"));
    assert_eq!(find(&mut core, bob, &after(1)), "ada2 ada3");
    assert_eq!(find(&mut core, bob, &after(3)), "ada4");
    let end = ask(&mut core, bob, "set", &after(4));
    assert!(end.ends_with(&format!("<query xmlns='jabber:iq:search'><set xmlns='{SET}'/></query></iq>")), "{end}");
    assert_eq!(find(&mut core, bob, &set("<max>999</max>")), "ada0 ada1 ada2 ada3 ada4");
    let none = ask(&mut core, bob, "set", &format!("<first>x</first><set xmlns='{SET}'><max>2</max></set>"));
    assert!(none.ends_with("<query xmlns='jabber:iq:search'/></iq>"), "{none}");
    let by_form =
        ask(&mut core, bob, "set", &format!("{}<set xmlns='{SET}'><max>1</max></set>", form(&[("first", "a")])));
    assert!(
        by_form.ends_with(&format!(
            "</x><set xmlns='{SET}'><first>ada0@example.org</first><last>ada0@example.org</last></set></query></iq>"
        )),
        "{by_form}"
    );
    publish(&mut core, bob, PUBLIC);
}

#[test]
fn threat_094_answers_and_searches_are_bounded() {
    let mut core = core(2);
    let (bob, eve) = (core.login("bob@example.org/phone"), core.login("eve@example.org/x"));
    let most = usize::try_from(limits::SEARCH_RESULTS_MAX).unwrap();
    for n in 0..=most {
        list(&mut core, &format!("ada{n:03}@example.org"), "Ada", "", "");
    }
    assert_eq!(find(&mut core, bob, "<first>ada</first>").split(' ').count(), most);
    let all = format!("<first>ada</first><set xmlns='{SET}'><max>1000</max></set>");
    assert_eq!(find(&mut core, bob, &all).split(' ').count(), most);
    assert!(find(&mut core, bob, "").contains("not-acceptable"), "does not count");
    for _ in 2..limits::SEARCHES_MAX {
        assert_eq!(find(&mut core, bob, "<last>x</last>"), "");
    }
    let refused = find(&mut core, bob, "<last>x</last>");
    assert!(refused.contains("<error type='wait'><resource-constraint "), "{refused}");
    assert!(ask(&mut core, bob, "get", "").contains("type='result'"));
    assert_eq!(find(&mut core, eve, "<last>x</last>"), "", "another account");
    core.now.mono_ms += limits::SEARCHES_WINDOW_MS;
    assert_eq!(find(&mut core, bob, "<last>x</last>"), "");
}
