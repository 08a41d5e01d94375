//! Declarations, stream headers, what they put in scope, and the end of streams.

use crate::reader::{Event, HEADER, Reader, read};
use XmlError as E;
use hearth_connmgr::xml::{Framer, Limits, Piece, STREAMS, Scope, XmlError, parse_header};

fn refused(bytes: &[u8]) -> XmlError {
    match read(bytes, &[], Limits::PRE_AUTH).pop() {
        Some(Event::Refused(error)) => error,
        other => panic!("{:?} gave {other:?}", String::from_utf8_lossy(bytes)),
    }
}

#[test]
fn a_whole_stream() {
    let stream = format!("<?xml version='1.0'?>\n{HEADER} <presence/>\r\n<iq id='1'/></stream:stream>\n ");
    let elements = ["presence", "iq(id=\"1\")"].map(|outline| Event::Element(outline.to_owned()));
    let [first, second] = elements;
    let events = read(stream.as_bytes(), &[], Limits::PRE_AUTH);
    assert_eq!(events, [Event::Declaration, Event::Header, first, second, Event::Close]);
}

#[test]
fn before_the_header() {
    let cases: &[(&[u8], XmlError)] = &[
        (b"x", E::OutsideStream),
        (b"\xef\xbb\xbf<?xml version='1.0'?>", E::OutsideStream), // RFC 6120 §11.6: U+FEFF is no byte order mark
        (b"\xff\xfe<\0s\0", E::Encoding),
        (b"\xfe\xff\0<\0s", E::Encoding),
        (b"\0<\0s", E::Encoding),
        (b"<\0s\0", E::Encoding),
        (b"\x16\x03\x01\x02\0", E::Character), // a TLS ClientHello
        (b"GET / HTTP/1.1\r\n", E::OutsideStream),
        (b"<?xml version='1.0' encoding='UTF-16'?>", E::Encoding),
        (b"<?xml version='1.1'?>", E::XmlVersion),
        (b" <?xml version='1.0'?>", E::Restricted),
        (b"<?xml version='1.0'?><?xml version='1.0'?>", E::Restricted),
        (b"<?xml-stylesheet", E::Restricted),
        (b"<?xm", E::Restricted),
        (b"<?p", E::Restricted),
        (b"<!", E::Restricted),
        (b"<!DOCTYPE", E::Restricted),
        (b"<?xml version='1.0'?>\n<!", E::Restricted),
        (b"<?xml version='1.0'>", E::Syntax),
        (b"<?xml version='1.0'<", E::Syntax),
        (b"</stream:stream>", E::Syntax),
        (b"<1", E::Syntax),
        (b"< ", E::Syntax),
    ];
    for (bytes, error) in cases {
        if *bytes == b"<?xm" {
            assert_eq!(read(bytes, &[], Limits::PRE_AUTH), [], "may become a declaration");
        } else {
            assert_eq!(refused(bytes), *error, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}

#[test]
fn headers() {
    let ns = "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'";
    let cases: &[(&str, XmlError)] = &[
        ("<stream:stream NS/>", E::NotAStream),
        ("<stream:streams NS>", E::NotAStream),
        ("<message NS>", E::NotAStream),
        ("<stream:stream>", E::UnboundPrefix),
        ("<stream:stream NS foo:to='a'>", E::UnboundPrefix),
        ("<stream:stream NS to='a' to='b'>", E::DuplicateAttribute),
        ("<stream:stream NS xmlns='jabber:client'>", E::DuplicateAttribute),
        ("<stream:stream NS xmlns:a='u' xmlns:b='u' a:c='' b:c=''>", E::DuplicateAttribute),
        ("<stream:stream NS xmlns:a=''>", E::ReservedNamespace),
        ("<stream:stream NS xmlns:xml='u'>", E::ReservedNamespace),
        ("<stream:stream NS to='&nope;'>", E::EntityReference),
        ("<stream:stream NS to='\u{1}'>", E::Character),
        ("<stream:stream NS to='<'>", E::Syntax),
        ("<stream:stream NS to=a>", E::Syntax),
        ("<:stream NS>", E::Syntax),
        ("<stream:stream NS :to='a'>", E::Syntax),
    ];
    for (header, error) in cases {
        assert_eq!(refused(header.replace("NS", ns).as_bytes()), *error, "{header}");
    }
    let many = |what: &str, count: usize| (0..count).map(|at| format!(" {what}{at}='u'")).collect::<String>();
    let header = |rest: String| format!("<stream:stream {ns}{rest}>").into_bytes();
    assert_eq!(read(&header(many("a", 16)), &[], Limits::PRE_AUTH), [Event::Header]);
    assert_eq!(refused(&header(many("a", 17))), E::TooManyAttributes);
    assert_eq!(read(&header(many("xmlns:a", 14)), &[], Limits::PRE_AUTH), [Event::Header]);
    assert_eq!(refused(&header(many("xmlns:a", 15))), E::TooManyNamespaces);
}

#[test]
fn what_a_header_says() {
    let bytes = "<stream:stream from='ada@example.org' to='exa&#109;ple.org' id='x' version='1.0' xml:lang='de' other='1'\n\
                 xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' >";
    let (header, scope) = parse_header(bytes.as_bytes()).unwrap();
    assert_eq!(header.from.as_deref(), Some("ada@example.org"));
    assert_eq!(header.to.as_deref(), Some("example.org"));
    assert_eq!(header.id.as_deref(), Some("x"));
    assert_eq!(header.version.as_deref(), Some("1.0"));
    assert_eq!(header.lang.as_deref(), Some("de"));
    assert_eq!(header.namespace_fault(), None);
    assert_eq!(scope, Scope::default());
    assert_eq!(std::mem::size_of::<Scope>(), std::mem::size_of::<usize>());
}

#[test]
fn namespaces_of_a_header() {
    let fault = |header: &str| parse_header(header.as_bytes()).unwrap().0.namespace_fault().map(|c| c.element());
    let streams = "http://etherx.jabber.org/streams";
    assert_eq!(fault(&format!("<s:stream xmlns='jabber:client' xmlns:s='{streams}'>")), None);
    assert_eq!(fault(&format!("<stream xmlns='{streams}'>")), None);
    assert_eq!(fault(&format!("<s:stream xmlns:s='{streams}'>")), None);
    let invalid = Some("invalid-namespace");
    assert_eq!(fault("<stream:stream xmlns='jabber:client' xmlns:stream='http://wrong.example.org/'>"), invalid);
    assert_eq!(fault(&format!("<stream:stream xmlns='jabber:server' xmlns:stream='{streams}'>")), invalid);
    assert_eq!(fault("<stream xmlns='jabber:client'>"), invalid);
    assert_eq!(fault("<stream>"), invalid);
    assert_eq!(fault("<xml:stream>"), invalid);
}

fn outlines(header: &str, stanza: &str) -> Vec<Event> {
    read(&[header, stanza].concat().into_bytes(), &[], Limits::PRE_AUTH).split_off(1)
}

#[test]
fn prefixes_of_the_header_are_in_scope() {
    let header = "<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams' xmlns:p='u'>";
    let element = |outline: &str| Event::Element(outline.to_owned());
    assert_eq!(outlines(header, "<a><p:b p:c='1'/></a>"), [element("a[{u}b({u}c=\"1\")]")]);
    assert_eq!(outlines(header, "<a xmlns:p='v'><p:b/></a><p:c/>"), [element("a[{v}b]"), element("{u}c")]);
    assert_eq!(outlines(header, "<stream:a/>"), [Event::Refused(E::UnboundPrefix)]);
    assert_eq!(outlines(header, "<a><s:b/></a>"), [Event::Refused(E::NestedStream)]);
    assert_eq!(outlines(header, "</s:stream>"), [Event::Close]);
    assert_eq!(outlines(header, "</stream:stream>"), [Event::Refused(E::MismatchedTag)]);
    // RFC 6120 §4.8.2: the content namespace declared stanza by stanza
    let free = "<stream xmlns='http://etherx.jabber.org/streams'>";
    assert_eq!(outlines(free, "<message xmlns='jabber:client'><body/></message>"), [element("message[body]")]);
    assert_eq!(
        outlines(free, "<a xmlns='jabber:client'><b xmlns='v'/></a></stream>"),
        [element("a[{v}b]"), Event::Close]
    );
    assert_eq!(outlines(free, "<stream/>"), [Event::Refused(E::NestedStream)]);
}

#[test]
fn the_end() {
    assert_eq!(outlines(HEADER, "</stream:stream >"), [Event::Close]);
    assert_eq!(outlines(HEADER, "</stream:streams>"), [Event::Refused(E::MismatchedTag)]);
    assert_eq!(outlines(HEADER, "</stream:stream a='1'>"), [Event::Refused(E::Syntax)]);
    assert_eq!(outlines(HEADER, "</message>"), [Event::Refused(E::MismatchedTag)]);
    for more in ["<a/>", "x", "</stream:stream>", "<!--", "<?xml version='1.0'?>", "\u{0}"] {
        let behind = outlines(HEADER, &format!("</stream:stream> \n{more}"));
        assert_eq!(behind, [Event::Close, Event::Refused(E::OutsideStream)], "{more}");
    }
}

#[test]
fn a_new_stream_on_the_same_transport() {
    let mut framer = Framer::new();
    for _ in 0..3 {
        let next = |framer: &mut Framer, bytes: &str| framer.next(bytes.as_bytes(), &Limits::PRE_AUTH).unwrap();
        assert_eq!(next(&mut framer, "<?xml version='1.0'?><"), Some((Piece::Declaration, 21)));
        assert_eq!(next(&mut framer, HEADER), Some((Piece::Header, HEADER.len())));
        assert_eq!(next(&mut framer, "<auth/>"), Some((Piece::Element, 7)));
        framer.restart();
        // Sent behind <auth/>, looked at in the new stream.
        assert_eq!(next(&mut framer, "\r"), Some((Piece::Blank, 1)));
        assert_eq!(next(&mut framer, "\n <?xml"), Some((Piece::Blank, 2)));
    }
}

#[test]
fn restricted_xml_is_refused_with_its_second_byte() {
    for (before, restricted) in
        [("", "<!"), ("", "<?x"), (HEADER, "<?"), (HEADER, "<!-"), (HEADER, "<a><?"), (HEADER, "<a><!-")]
    {
        let mut reader = Reader::new(Limits::PRE_AUTH);
        reader.feed(before.as_bytes());
        let (last, earlier) = restricted.as_bytes().split_last().unwrap();
        reader.feed(earlier);
        let waiting = reader.events.len();
        reader.feed(&[*last]);
        match (before, restricted) {
            ("", "<?x") => assert_eq!(reader.events.len(), waiting, "a declaration begins so"),
            _ => assert_eq!(reader.events.last(), Some(&Event::Refused(E::Restricted)), "{restricted}"),
        }
    }
}

/// What a header declares is kept as long as the stream, so it is bounded by itself.
#[test]
fn threat_001_a_header_declares_two_kilobytes() {
    let header = |bytes: usize| {
        let long = "u".repeat(bytes - "stream".len() - "jabber:client".len() - 32 - "p".len());
        HEADER.replace(" xmlns=", &format!(" xmlns:p='{long}' xmlns="))
    };
    assert_eq!(STREAMS.len(), 32);
    assert_eq!(read(header(2048).as_bytes(), &[], Limits::PRE_AUTH), [Event::Header]);
    for limits in [Limits::PRE_AUTH, Limits::AUTHENTICATED] {
        assert_eq!(read(header(2049).as_bytes(), &[], limits), [Event::Refused(E::TooManyNamespaces)]);
    }
}
