//! What XML 1.0 and Namespaces in XML 1.0 allow and forbid, row by row, and what RFC 6120 does on top.

use crate::reader::{HEADER, one};
use XmlError as E;
use hearth_connmgr::xml::{Limits, Scope, Scratch, XmlError, parse_element};

/// Refused with this error; else the outline of the tree.
type Expected = Result<&'static str, XmlError>;

fn check(rows: &[(&str, Expected)]) {
    for (stanza, expected) in rows {
        assert_eq!(one(stanza.as_bytes()).as_deref().map_err(|e| *e), *expected, "{stanza}");
    }
}

#[test]
fn tags() {
    check(&[
        ("<a/>", Ok("a")),
        ("<a></a>", Ok("a")),
        ("<a />", Ok("a")),
        ("<a\t\r\n></a\n>", Ok("a")),
        ("<a><b/><c></c></a>", Ok("a[b c]")),
        ("<a><a><a/></a></a>", Ok("a[a[a]]")),
        ("<_a-1.b/>", Ok("_a-1.b")),
        ("<été/>", Ok("été")),
        ("<a><日本 語='1'/></a>", Ok("a[日本(語=\"1\")]")),
        ("<имя/>", Ok("имя")),
        ("<𐐀/>", Err(E::Name)),
        ("<a·/>", Err(E::Name)),
        ("<a\u{300}/>", Err(E::Name)),
        ("<a><b 𐐀='1'/></a>", Err(E::Name)),
        ("<a><b></a></b>", Err(E::MismatchedTag)),
        ("<a></b>", Err(E::MismatchedTag)),
        ("<a></A>", Err(E::MismatchedTag)),
        ("<a><b></b ></a >", Ok("a[b]")),
        ("<a></ a>", Err(E::Syntax)),
        ("<a></a b='1'>", Err(E::Syntax)),
        ("<a></a/>", Err(E::Syntax)),
        ("<a></>", Err(E::Syntax)),
        ("< a/>", Err(E::Syntax)),
        ("<>", Err(E::Syntax)),
        ("<a/ >", Err(E::Syntax)),
        ("<a//>", Err(E::Syntax)),
        ("<1a/>", Err(E::Syntax)),
        ("<-a/>", Err(E::Syntax)),
        ("<.a/>", Err(E::Syntax)),
        ("<·a/>", Err(E::Syntax)),
        ("<a!/>", Err(E::Syntax)),
        ("<a×/>", Err(E::Syntax)),
        ("<a;b/>", Err(E::Syntax)),
        ("<\u{37e}/>", Err(E::Syntax)),
        ("<\u{300}a/>", Err(E::Syntax)),
        ("<a <b/></a>", Err(E::Syntax)),
        ("<a><</a>", Err(E::Syntax)),
        ("<a><b</a>", Err(E::Syntax)),
        ("<a></a<b>", Err(E::Syntax)),
        ("<a\u{0}/>", Err(E::Syntax)),
        ("<a\u{a0}b='1'/>", Err(E::Syntax)),
    ]);
}

#[test]
fn attributes() {
    check(&[
        ("<a b='1'/>", Ok("a(b=\"1\")")),
        ("<a b=\"1\" c='2'/>", Ok("a(b=\"1\" c=\"2\")")),
        ("<a b = '1'\n\tc\r=\n'2' />", Ok("a(b=\"1\" c=\"2\")")),
        ("<a b=''/>", Ok("a(b=\"\")")),
        ("<a b='\"' c=\"'\"/>", Ok(r#"a(b="\"" c="'")"#)),
        ("<a b='>' c='/>'><d/></a>", Ok("a(b=\">\" c=\"/>\")[d]")),
        ("<a b=']]>'/>", Ok("a(b=\"]]>\")")),
        ("<a b='<!--' />", Err(E::Syntax)),
        ("<a b='&lt;!--'/>", Ok("a(b=\"<!--\")")),
        ("<a b='x\ty\nz\r\nw\r'/>", Ok("a(b=\"x y z w \")")),
        ("<a b=' x '/>", Ok("a(b=\" x \")")),
        ("<a b='&#9;&#10;&#13;'/>", Ok(r#"a(b="\t\n\r")"#)),
        ("<a b='&amp;&lt;&gt;&quot;&apos;&#x1F600;'/>", Ok(r#"a(b="&<>\"'😀")"#)),
        ("<a b='1' b='2'/>", Err(E::DuplicateAttribute)),
        ("<a b='1' B='2'/>", Ok("a(b=\"1\" B=\"2\")")),
        ("<a b='<'/>", Err(E::Syntax)),
        ("<a b='&'/>", Err(E::Syntax)),
        ("<a b='&b'/>", Err(E::Syntax)),
        ("<a b='&b;'/>", Err(E::EntityReference)),
        ("<a b='&#0;'/>", Err(E::Character)),
        ("<a b='\u{1}'/>", Err(E::Character)),
        ("<a b='\u{fffe}'/>", Err(E::Character)),
        ("<a b='1'c='2'/>", Err(E::Syntax)),
        ("<a b=1/>", Err(E::Syntax)),
        ("<a b/>", Err(E::Syntax)),
        ("<a b=/>", Err(E::Syntax)),
        ("<a ='1'/>", Err(E::Syntax)),
        ("<a 'b'/>", Err(E::Syntax)),
        ("<a b='1\"/>'/>", Ok(r#"a(b="1\"/>")"#)),
        ("<a b=`1`/>", Err(E::Syntax)),
        ("<a 1b='1'/>", Err(E::Syntax)),
        ("<a b='1' / c='2'></a>", Err(E::Syntax)),
        ("<a =b='1'/>", Err(E::Syntax)),
        ("<a b='1',c='2'/>", Err(E::Syntax)),
    ]);
}

#[test]
fn character_data() {
    check(&[
        ("<a>x</a>", Ok("a[\"x\"]")),
        ("<a> <b/> </a>", Ok("a[\" \" b \" \"]")),
        ("<a>x&amp;y&#65;&#x42;</a>", Ok("a[\"x&yAB\"]")),
        ("<a>\r\n\r\t\n</a>", Ok(r#"a["\n\n\t\n"]"#)),
        ("<a>&#13;&#10;</a>", Ok(r#"a["\r\n"]"#)),
        ("<a>x<![CDATA[<b>&amp;]]>y</a>", Ok("a[\"x<b>&amp;y\"]")),
        ("<a><![CDATA[]]></a>", Ok("a")),
        ("<a><![CDATA[x]]><![CDATA[y]]></a>", Ok("a[\"xy\"]")),
        ("<a><![CDATA[]]]]></a>", Ok("a[\"]]\"]")),
        ("<a><![CDATA[]]]]><![CDATA[>]]></a>", Ok("a[\"]]>\"]")),
        ("<a>]]<![CDATA[]]>></a>", Ok("a[\"]]>\"]")),
        ("<a><![CDATA[x\r\ny\rz]]></a>", Ok(r#"a["x\ny\nz"]"#)),
        ("<a><![CDATA[<![CDATA[]]></a>", Ok("a[\"<![CDATA[\"]")),
        ("<a><![CDATA[</a>]]></a>", Ok("a[\"</a>\"]")),
        ("<a>]]&gt;]]</a>", Ok("a[\"]]>]]\"]")),
        ("<a>></a>", Ok("a[\">\"]")),
        ("<a>\u{7f}\u{85}\u{2028}\u{fffd}\u{10ffff}</a>", Ok(r#"a["\u{7f}\u{85}\u{2028}�\u{10ffff}"]"#)),
        ("<a>\u{feff}x</a>", Ok(r#"a["\u{feff}x"]"#)),
        ("<a>]]></a>", Err(E::Syntax)),
        ("<a><b/>]]></a>", Err(E::Syntax)),
        ("<a><![CDATA[x]]>]]></a>", Err(E::Syntax)),
        ("<a><![CDATA[\u{8}]]></a>", Err(E::Character)),
        ("<a><![cdata[x]]></a>", Err(E::Syntax)),
        ("<a><![ CDATA[x]]></a>", Err(E::Syntax)),
        ("<a><![INCLUDE[x]]></a>", Err(E::Syntax)),
        ("<a>\u{0}</a>", Err(E::Character)),
        ("<a>\u{b}</a>", Err(E::Character)),
        ("<a>\u{1f}</a>", Err(E::Character)),
        ("<a>\u{fffe}</a>", Err(E::Character)),
        ("<a>\u{ffff}</a>", Err(E::Character)),
        ("<a>&#0;</a>", Err(E::Character)),
        ("<a>&#x1F;</a>", Err(E::Character)),
        ("<a>&#xD800;</a>", Err(E::Character)),
        ("<a>&#xDFFF;</a>", Err(E::Character)),
        ("<a>&#xFFFF;</a>", Err(E::Character)),
        ("<a>&#x110000;</a>", Err(E::Character)),
        ("<a>&#4294967361;</a>", Err(E::Character)),
        ("<a>&#X41;</a>", Err(E::Syntax)),
        ("<a>&#;</a>", Err(E::Syntax)),
        ("<a>& </a>", Err(E::Syntax)),
        ("<a>&</a>", Err(E::Syntax)),
        ("<a>&amp</a>", Err(E::Syntax)),
        ("<a>&<b/>amp;</a>", Err(E::Syntax)),
        ("<a>&nbsp;</a>", Err(E::EntityReference)),
        ("<a>&lol9;</a>", Err(E::EntityReference)),
        ("<a>&Amp;</a>", Err(E::EntityReference)),
        ("<a>&1;</a>", Err(E::Syntax)),
    ]);
}

#[test]
fn threat_009_only_utf_8() {
    let cases: &[&[u8]] = &[
        b"<a>\xff</a>",
        b"<a>\xc0\x80</a>",
        b"<a>\xc0\xbc</a>",
        b"<a>\xe0\x80\xbc</a>",
        b"<a>\xf0\x80\x80\xbc</a>",
        b"<a>\xed\xa0\x80</a>",
        b"<a>\xed\xa0\xbd\xed\xb8\x80</a>",
        b"<a>\xf4\x90\x80\x80</a>",
        b"<a>\xf8\x88\x80\x80\x80</a>",
        b"<a>\x80</a>",
        b"<a>\xe2\x82</a>",
        b"<a>\xe2\x82<b/>\xac</a>",
        b"<a b='\xc3'/>",
        b"<a\xc3/>",
        b"<\xc3/>",
        b"<a \xe9='1'/>",
        b"<a></a\xc3>",
        b"<a><![CDATA[\xfe\xff]]></a>",
    ];
    for case in cases {
        assert_eq!(one(case), Err(E::Encoding), "{case:02x?}");
    }
}

#[test]
fn threat_009_colons_prefixes_and_namespaces() {
    check(&[
        ("<a xmlns='u'/>", Ok("{u}a")),
        ("<a xmlns=''/>", Ok("{}a")),
        ("<a><b xmlns='u'><c/></b><d/></a>", Ok("a[{u}b[{u}c] d]")),
        ("<a xmlns='u'><b xmlns=''><c xmlns='u'/><d/></b><e/></a>", Ok("{u}a[{}b[{u}c {}d] {u}e]")),
        ("<a><p:b xmlns:p='u'><p:c/><d/></p:b></a>", Ok("a[{u}b[{u}c d]]")),
        ("<a xmlns:p='u'><p:b xmlns:p='v'><p:c/></p:b><p:d/></a>", Ok("a[{v}b[{v}c] {u}d]")),
        ("<a xmlns:p='u'><b p:c='1' c='2'/></a>", Ok("a[b({u}c=\"1\" c=\"2\")]")),
        ("<a><b xmlns='u' c='1'/></a>", Ok("a[{u}b(c=\"1\")]")),
        ("<a><b p:c='1' xmlns:p='u'/></a>", Ok("a[b({u}c=\"1\")]")),
        ("<p:a xmlns:p='u'></p:a>", Ok("{u}a")),
        ("<a xmlns:p='a&amp;b&#32;c\td'><p:b/></a>", Ok("a[{a&b c d}b]")),
        ("<a xml:lang='en'/>", Ok("a({http://www.w3.org/XML/1998/namespace}lang=\"en\")")),
        (
            "<a xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:a='1'/>",
            Ok("a({http://www.w3.org/XML/1998/namespace}a=\"1\")"),
        ),
        ("<a><xml:b><c/></xml:b></a>", Err(E::XmlElement)),
        ("<xml:a/>", Err(E::XmlElement)),
        ("<a xmlns:xmlish='u'><xmlish:b/></a>", Ok("a[{u}b]")),
        ("<a xmlns:é='u'><é:b/></a>", Ok("a[{u}b]")),
        ("<a xmlns:p='u' xmlns:q='u'><p:b q:c='1'/></a>", Ok("a[{u}b({u}c=\"1\")]")),
        ("<a xmlns:p='u' xmlns:q='U'><b p:c='1' q:c='2'/></a>", Ok("a[b({u}c=\"1\" {U}c=\"2\")]")),
        ("<a xmlns:p='u' xmlns:q='u'><p:b></q:b></a>", Err(E::MismatchedTag)),
        ("<a xmlns:p='u'><b xmlns='u'></p:b></a>", Err(E::MismatchedTag)),
        ("<a xmlns:p='u' xmlns:q='u'><b p:c='1' q:c='2'/></a>", Err(E::DuplicateAttribute)),
        ("<a xmlns:p='u' xmlns:q='&#117;'><b p:c='1' q:c='2'/></a>", Err(E::DuplicateAttribute)),
        ("<a xmlns:p='u' xmlns:p='v'/>", Err(E::DuplicateAttribute)),
        ("<a xmlns='u' xmlns='u'/>", Err(E::DuplicateAttribute)),
        ("<p:a/>", Err(E::UnboundPrefix)),
        ("<a><foo:body>What is this foo?</foo:body></a>", Err(E::UnboundPrefix)),
        ("<a p:b='1'/>", Err(E::UnboundPrefix)),
        ("<a><b xmlns:p='u'/><p:c/></a>", Err(E::UnboundPrefix)),
        ("<a xmlns:p=''/>", Err(E::ReservedNamespace)),
        ("<a xmlns:xml='u'/>", Err(E::ReservedNamespace)),
        ("<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>", Err(E::ReservedNamespace)),
        ("<a xmlns='http://www.w3.org/XML/1998/namespace'/>", Err(E::ReservedNamespace)),
        ("<a xmlns:xmlns='u'/>", Err(E::ReservedNamespace)),
        ("<a xmlns:xmlns='http://www.w3.org/2000/xmlns/'/>", Err(E::ReservedNamespace)),
        ("<a xmlns:p='http://www.w3.org/2000/xmlns/'/>", Err(E::ReservedNamespace)),
        ("<a xmlns='http://www.w3.org/2000/xmlns/'/>", Err(E::ReservedNamespace)),
        ("<xmlns:a/>", Err(E::UnboundPrefix)),
        ("<:a/>", Err(E::Syntax)),
        ("<a:/>", Err(E::Syntax)),
        ("<a:b:c xmlns:a='u'/>", Err(E::Syntax)),
        ("<a::b xmlns:a='u'/>", Err(E::Syntax)),
        ("<a:1b xmlns:a='u'/>", Err(E::Syntax)),
        ("<a:-b xmlns:a='u'/>", Err(E::Syntax)),
        ("<a><:b/></a>", Err(E::Syntax)),
        ("<a :b='1'/>", Err(E::Syntax)),
        ("<a b:='1'/>", Err(E::Syntax)),
        ("<a xmlns:='u'/>", Err(E::Syntax)),
        ("<a :xmlns='u'/>", Err(E::Syntax)),
        ("<a xmlns:a:b='u'/>", Err(E::Syntax)),
        ("<a><b></:b></a>", Err(E::Syntax)),
        ("<a><b></b:></a>", Err(E::Syntax)),
    ]);
}

#[test]
fn threat_005_010_what_xmpp_forbids() {
    check(&[
        ("<message><!--<subject/>--><body/></message>", Err(E::Restricted)),
        ("<!-- x --><a/>", Err(E::Restricted)),
        ("<a><?php x?></a>", Err(E::Restricted)),
        ("<?php x?>", Err(E::Restricted)),
        ("<?xml version='1.0'?>", Err(E::Restricted)),
        ("<a><?xml version='1.0'?></a>", Err(E::Restricted)),
        ("<!DOCTYPE a>", Err(E::Restricted)),
        ("<a><!DOCTYPE a></a>", Err(E::Restricted)),
        ("<a><!ENTITY b 'c'></a>", Err(E::Restricted)),
        ("<a><!x></a>", Err(E::Restricted)),
        ("x", Err(E::TextBetweenStanzas)),
        ("&#32;", Err(E::TextBetweenStanzas)),
        ("<![CDATA[ ]]>", Err(E::TextBetweenStanzas)),
        ("\u{feff}<a/>", Err(E::TextBetweenStanzas)),
        ("<a/>x", Err(E::TextBetweenStanzas)),
        ("\u{0}", Err(E::Character)),
        ("<stream:stream>", Err(E::NestedStream)),
        ("<stream:stream to='x'>", Err(E::NestedStream)),
        ("<stream\n>", Err(E::NestedStream)),
        ("<streams a='stream'></streams>", Ok("streams(a=\"stream\")")),
        ("<a stream ='1'></a>", Ok("a(stream=\"1\")")),
        ("<a><stream></stream></a>", Ok("a[stream]")),
        ("<stream:stream/>", Err(E::NestedStream)),
        ("<s:stream xmlns:s='http://etherx.jabber.org/streams' to='evil'/>", Err(E::NestedStream)),
        ("<stream xmlns='http://etherx.jabber.org/streams'/>", Err(E::NestedStream)),
        ("<a><stream:stream to='evil'></stream:stream></a>", Err(E::NestedStream)),
        ("<a><b><stream:error/></b></a>", Err(E::NestedStream)),
        ("<a><features xmlns='http://etherx.jabber.org/streams'/></a>", Err(E::NestedStream)),
        ("<a stream:b='1'/>", Ok("a({http://etherx.jabber.org/streams}b=\"1\")")),
        (
            "<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
            Ok("{http://etherx.jabber.org/streams}error[{urn:ietf:params:xml:ns:xmpp-streams}reset]"),
        ),
        ("<foo:message xmlns:foo='jabber:client'><foo:body>foo</foo:body></foo:message>", Err(E::ContentPrefix)),
        ("<a xmlns:c='jabber:client'><c:b/></a>", Err(E::ContentPrefix)),
        ("<a xmlns='jabber:client' xmlns:c='jabber:client' c:b='1'/>", Ok("a({jabber:client}b=\"1\")")),
    ]);
}

/// The unfinished element above is refused for what it is, not for what is missing: a stream that waits stays open.
#[test]
fn what_is_unfinished_waits() {
    for unfinished in
        ["<", "<a", "<a b='", "<a b='>", "<a>", "<a><b/>", "<a>x</", "<a></a", "<a><![CDATA[</a>", "<a><!", "</"]
    {
        let events = crate::reader::read(&[HEADER, unfinished].concat().into_bytes(), &[], Limits::AUTHENTICATED);
        assert_eq!(events, [crate::reader::Event::Header], "{unfinished}");
    }
}

/// The parser relies on no framer: pieces that are none are refused too.
#[test]
fn the_parser_alone() {
    let cases: &[(&str, XmlError)] = &[
        ("", E::Syntax),
        ("<", E::Syntax),
        ("<a", E::Syntax),
        ("<a b='1'", E::Syntax),
        ("<a b='1", E::Syntax),
        ("<a>", E::Syntax),
        ("<a>x", E::Syntax),
        ("<a>x<", E::Syntax),
        ("<a><b></b>", E::Syntax),
        ("</a>", E::MismatchedTag),
        ("<a/></a>", E::MismatchedTag),
        ("<a/><b/>", E::Syntax),
        ("<a/>x", E::TextBetweenStanzas),
        (" <a/>", E::TextBetweenStanzas),
        ("x", E::TextBetweenStanzas),
        ("<!-- x --><a/>", E::Restricted),
        ("<a><!-- x --></a>", E::Restricted),
        ("<a><!-- x", E::Restricted),
        ("<a><?b?></a>", E::Restricted),
        ("<a><!DOCTYPE b></a>", E::Restricted),
        ("<?xml version='1.0'?><a/>", E::Restricted),
        ("<a><![CDATA[x", E::Syntax),
        ("<a><![CDAT[x]]></a>", E::Syntax),
    ];
    let mut scratch = Scratch::default();
    for (bytes, expected) in cases {
        let mut out = Vec::new();
        let parsed = parse_element(bytes.as_bytes(), &Scope::default(), &Limits::AUTHENTICATED, &mut scratch, &mut out);
        assert_eq!(parsed, Err(*expected), "{bytes}");
        assert!(out.is_empty());
    }
}

#[test]
fn threat_001_limits_of_one_element() {
    let limits = Limits { bytes: 1000, depth: 3, elements: 5, attributes: 2, namespaces: 2, tree_bytes: 600 };
    let check = |stanza: &str, expected: Result<(), XmlError>| {
        let parsed =
            parse_element(stanza.as_bytes(), &Scope::default(), &limits, &mut Scratch::default(), &mut Vec::new());
        assert_eq!(parsed, expected, "{stanza}");
    };
    check("<a><b><c/></b></a>", Ok(()));
    check("<a><b><c><d/></c></b></a>", Err(E::TooDeep));
    check("<a><b/><b/><b/><b/></a>", Ok(()));
    check("<a><b/><b/><b/><b/><b/></a>", Err(E::TooManyElements));
    check("<a b='' c='' xmlns='u' xmlns:v='w'/>", Ok(()));
    check("<a b='' c='' d=''/>", Err(E::TooManyAttributes));
    check("<a xmlns='u' xmlns:v='w' xmlns:x='y'/>", Err(E::TooManyNamespaces));
    check("<a xmlns='u'><b xmlns:v='w'/><b xmlns:v='w'/></a>", Ok(()));
    check("<a xmlns='u'><b xmlns:v='w'><c xmlns=''/></b></a>", Err(E::TooManyNamespaces));
    check(&format!("<a>{}</a>", "x".repeat(580)), Ok(()));
    check(&format!("<a>{}</a>", "x".repeat(600)), Err(E::TreeTooLong));
    check(&format!("<a b='{}'/>", "x".repeat(600)), Err(E::TreeTooLong));
    check(&format!("<a>{}</a>", "x".repeat(1000)), Err(E::TooLong));
    // A long name used again and again: the tree would outgrow the XML.
    let name = "u".repeat(200);
    check(&format!("<a xmlns:p='{name}'><p:b/></a>"), Ok(()));
    check(&format!("<a xmlns:p='{name}'><p:b/><p:b/><p:b/></a>"), Err(E::TreeTooLong));
    check(&format!("<a xmlns:p='{name}'><b p:c='' p:d=''/><b p:c=''/></a>"), Err(E::TreeTooLong));
}

#[test]
fn every_error_has_the_condition_of_the_standard() {
    let cases = [
        (E::Syntax, "not-well-formed"),
        (E::Character, "not-well-formed"),
        (E::MismatchedTag, "not-well-formed"),
        (E::DuplicateAttribute, "not-well-formed"),
        (E::UnboundPrefix, "not-well-formed"),
        (E::ReservedNamespace, "not-well-formed"),
        (E::OutsideStream, "not-well-formed"),
        (E::Restricted, "restricted-xml"),
        (E::EntityReference, "restricted-xml"),
        (E::Encoding, "unsupported-encoding"),
        (E::XmlVersion, "unsupported-version"),
        (E::ContentPrefix, "bad-namespace-prefix"),
        (E::XmlElement, "bad-namespace-prefix"),
        (E::Name, "policy-violation"),
        (E::TextBetweenStanzas, "bad-format"),
        (E::NotAStream, "bad-format"),
        (E::NestedStream, "bad-format"),
        (E::TooLong, "policy-violation"),
        (E::TooDeep, "policy-violation"),
        (E::TooManyElements, "policy-violation"),
        (E::TooManyAttributes, "policy-violation"),
        (E::TooManyNamespaces, "policy-violation"),
        (E::TreeTooLong, "policy-violation"),
    ];
    for (error, condition) in cases {
        assert_eq!(error.condition().element(), condition, "{error:?}");
    }
}
