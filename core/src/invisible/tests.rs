use crate::testing::{Client, Core};

const NOTHING: [&str; 0] = [];

fn each(test: impl Fn(&mut Core, &str, &str)) {
    test(&mut Core::new(1), "ada@example.org", "grace@example.org");
    let mut core = Core::new(2);
    let (ada, grace) = (core.name_on(0, "ada"), core.name_on(1, "grace"));
    test(&mut core, &ada, &grace);
}

fn online(core: &mut Core, full: &str) -> Client {
    let client = core.login(full);
    core.send(client, "<presence/>");
    core.take(client);
    client
}

fn command(core: &mut Core, client: Client, element: &str) -> Vec<String> {
    core.send(client, &format!("<iq type='set' id='c'><{element} xmlns='urn:xmpp:invisible:1'/></iq>"));
    assert_eq!(core.unsettled(client), 0);
    let mut got = core.take(client);
    assert!(got.pop().unwrap().starts_with("<iq type='result' id='c'"));
    got
}

// XEP-0186 §3.1, §3.2: gone for all who saw it, and it hears all that an available resource does.
#[test]
fn an_invisible_session_hears_and_is_not_seen() {
    each(|core, ada, grace| {
        core.friends(ada, grace);
        let (lab, eve) = (online(core, &format!("{grace}/lab")), online(core, "eve@example.org/x"));
        let (desk, phone) = (online(core, &format!("{ada}/desk")), online(core, &format!("{ada}/phone")));
        core.send(desk, "<presence to='eve@example.org/x'/>");
        core.forget();
        let gone = |to: &str| format!("<presence type='unavailable' from='{ada}/desk' to='{to}'/>");
        assert_eq!(command(core, desk, "invisible"), [gone(ada)]);
        assert_eq!((core.take(lab), core.take(phone)), (vec![gone(grace)], vec![gone(ada)]));
        assert_eq!(core.take(eve), [gone("eve@example.org/x")]);
        // Undirected presence sets its priority, no more.
        core.send(desk, "<presence><show>dnd</show><priority>3</priority></presence>");
        assert_eq!((core.take(desk), core.take(lab), core.take(phone)), (vec![], vec![], vec![]));
        // Presence, messages to the bare JID, requests, what is sent to it.
        core.send(lab, "<presence><show>away</show></presence>");
        core.send(lab, &format!("<message to='{ada}' type='chat' id='m'><body>b</body></message>"));
        core.send(lab, &format!("<iq type='get' to='{ada}/desk' id='i'><ping xmlns='urn:xmpp:ping'/></iq>"));
        core.send(eve, &format!("<presence type='subscribe' to='{ada}'/>"));
        core.send(phone, "<presence><show>xa</show></presence>");
        let got = core.take(desk);
        assert_eq!(got.len(), 5, "{got:?}");
        core.send(desk, &format!("<iq type='result' to='{grace}/lab' id='i'/>"));
        // The phone is all there is to see.
        core.take(lab);
        core.send(lab, &format!("<presence type='probe' to='{ada}'/>"));
        let got = core.take(lab).concat();
        assert!(got.contains(&format!("from='{ada}/phone'")) && !got.contains("/desk"), "{got}");
        core.close(phone, true);
        core.take(lab);
        core.send(lab, &format!("<presence type='probe' to='{ada}'/>"));
        assert!(core.take(lab).concat().contains("type='unavailable'"));
        // Nobody is told of its end.
        core.close(desk, false);
        assert_eq!((core.take(lab), core.take(eve)), (vec![], vec![]));
    });
}

// §3.2: directed presence is delivered, and ends for them alone; §3.3: also after becoming visible.
#[test]
fn whom_it_tells_sees_it() {
    each(|core, ada, grace| {
        core.friends(ada, grace);
        let (lab, eve) = (online(core, &format!("{grace}/lab")), online(core, "eve@example.org/x"));
        for end in ["unavailable", "close", "visible", "available"] {
            let desk = online(core, &format!("{ada}/{end}"));
            command(core, desk, "invisible");
            core.forget();
            core.send(desk, "<presence to='eve@example.org'/>");
            assert_eq!(core.take(eve).len(), 1);
            match end {
                "unavailable" => {
                    core.send(desk, "<presence type='unavailable'/>");
                    core.send(lab, &format!("<message to='{ada}' type='chat'><body>b</body></message>"));
                    assert_eq!(core.take(desk), NOTHING, "it hears no more");
                    core.send(desk, "<presence/>");
                    assert!(core.take(desk).concat().contains("<body>b</body>"), "and again");
                }
                "visible" => assert_eq!(command(core, desk, "visible"), NOTHING),
                "available" => {
                    command(core, desk, "visible");
                    core.send(desk, "<presence/>");
                    assert_eq!(core.take(lab), [format!("<presence from='{ada}/available' to='{grace}'/>")]);
                }
                _ => {}
            }
            core.close(desk, false);
            let told = core.take(eve);
            assert!(told.len() == 1 && told[0].starts_with("<presence type='unavailable'"), "{end} {told:?}");
            assert_eq!(core.take(lab).len(), usize::from(end == "available"), "{end}");
        }
    });
}

// §3.1: who never was available; contacts are asked for their presence only if the client says so.
#[test]
fn it_sees_its_contacts_if_it_asks_for_them() {
    each(|core, ada, grace| {
        core.friends(ada, grace);
        let lab = online(core, &format!("{grace}/lab"));
        core.send(lab, &format!("<message to='{ada}' type='chat' id='m'><body>b</body></message>"));
        for (probe, sees) in [("", false), (" probe='false'", false), (" probe='true'", true), (" probe='1'", true)] {
            let desk = core.login(&format!("{ada}/desk"));
            core.send(desk, &format!("<iq type='set' id='c'><invisible xmlns='urn:xmpp:invisible:1'{probe}/></iq>"));
            let got = core.take(desk).concat();
            assert_eq!(got.contains(&format!("<presence from='{grace}/lab' to='{ada}/desk'/>")), sees, "{probe} {got}");
            assert_eq!(got.contains("id='m'"), probe.is_empty(), "what waited comes once");
            core.close(desk, true);
            assert_eq!(core.take(lab), NOTHING);
        }
        let desk = core.login(&format!("{ada}/desk"));
        for bad in
            ["<invisible xmlns='urn:xmpp:invisible:1' probe='maybe'/>", "<visible xmlns='urn:xmpp:invisible:1'/>"]
        {
            let ty = if bad.contains("maybe") { "set" } else { "get" };
            core.send(desk, &format!("<iq type='{ty}' id='c'>{bad}</iq>"));
            assert!(core.take(desk).concat().contains("<bad-request "), "{bad}");
        }
    });
}
