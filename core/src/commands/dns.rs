//! `hearthctl dns`: how clients find a domain (RFC 6120 §3.2, XEP-0368). Runs in hearthctl itself.

use super::{Command, Field, Group, Kind, Parameter, Run, Shape};

pub(super) const GROUP: Group = Group { name: "dns", help: "How clients find a domain.", commands: &[DNS] };

const PORT: Kind = Kind::Number { min: 0, max: 65_535 };

const DNS: Command = Command {
    name: "dns",
    help: "Print the DNS records that a domain needs, and check them.",
    details: "The lines are for the domain's zone. A verdict other than \"right\" is an exit code other than 0.\n\
              Clients do without SRV records only if the domain itself is the machine and the port is 5222.",
    parameters: &[
        Parameter::required("domain", Kind::Domain, "whose accounts they are: chat.example.org"),
        Parameter::many("host", Kind::Text, "a machine that takes its clients (default: the domain itself)"),
        Parameter::option("port", PORT, "its port for STARTTLS, 0 for none (default: 5222)"),
        Parameter::option("tls_port", PORT, "its port for TLS from the start, 0 for none (default: 5223)"),
        Parameter::option("server", Kind::Text, "ask this name server, ADDRESS or ADDRESS:PORT"),
    ],
    examples: &["dns example.org --host xmpp.example.org", "dns example.org --server 127.0.0.1:5353"],
    result: Shape::Rows(&[Field::new("record", "record"), Field::new("verdict", "verdict")]),
    run: Run::Here,
    ..Command::BASE
};
