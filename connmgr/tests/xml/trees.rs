//! Random trees, their encoding, and the many ways a client may write them.

use hearth_wire::tree::{Builder, CLIENT};
use proptest::prelude::*;

const XML: &str = "http://www.w3.org/XML/1998/namespace";

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tree {
    pub(crate) ns: String,
    pub(crate) name: String,
    /// Namespace, name, value.
    pub(crate) attributes: Vec<(String, String, String)>,
    pub(crate) inside: Vec<Inside>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Inside {
    Text(String),
    Element(Tree),
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "message", "body", "stream", "xmlns", "lang", "x-.9", "_", "été", "名", "ж"])
            .prop_map(str::to_owned),
        1 => "[A-Za-z_é名][A-Za-z0-9_.é名가-]{0,6}",
    ]
}

fn namespace() -> impl Strategy<Value = String> {
    let names = vec![CLIENT, CLIENT, "", "urn:a", "urn:b", "jabber:server", "a&'<>\" é", "\t\r\n", "urn:A"];
    prop::sample::select(names).prop_map(str::to_owned)
}

fn characters() -> impl Strategy<Value = String> {
    let special = vec![
        "<",
        ">",
        "&",
        "'",
        "\"",
        "]]>",
        "]]",
        "\r",
        "\n",
        "\r\n",
        "\t",
        " ",
        "&amp;",
        "<![CDATA[",
        "<!--",
        "</body>",
        "é",
        "\u{fffd}",
        "\u{feff}",
        "\u{85}",
        "\u{10ffff}",
        "😀",
        "\u{fdd0}",
        "\u{d7ff}\u{e000}",
        "\u{7f}",
        "&#0;",
    ];
    let piece = prop_oneof![
        3 => prop::sample::select(special).prop_map(str::to_owned),
        2 => "[a-z ]{1,8}",
        1 => any::<char>().prop_filter("an XML character", |c| !matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}'))
            .prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

fn attributes() -> impl Strategy<Value = Vec<(String, String, String)>> {
    let ns = prop_oneof![3 => Just(String::new()), 1 => Just(XML.to_owned()), 2 => namespace()];
    prop::collection::vec((ns, name(), characters()), 0..5).prop_map(|mut attributes| {
        let mut seen = Vec::new();
        attributes.retain(|(ns, name, _)| {
            let key = (ns.clone(), name.clone());
            let reserved = ns.is_empty() && name == "xmlns";
            let fresh = !reserved && !seen.contains(&key);
            seen.push(key);
            fresh
        });
        attributes
    })
}

fn assemble(ns: String, name: String, attributes: Vec<(String, String, String)>, inside: Vec<Inside>) -> Tree {
    let mut joined: Vec<Inside> = Vec::new();
    for one in inside {
        match (joined.last_mut(), one) {
            (_, Inside::Text(text)) if text.is_empty() => {}
            (Some(Inside::Text(before)), Inside::Text(text)) => before.push_str(&text),
            (_, one) => joined.push(one),
        }
    }
    Tree { ns, name, attributes, inside: joined }
}

/// A first-level element of any shape.
pub(crate) fn element() -> impl Strategy<Value = Tree> {
    let leaf = (namespace(), name(), attributes(), characters())
        .prop_map(|(ns, name, attributes, text)| assemble(ns, name, attributes, vec![Inside::Text(text)]));
    leaf.prop_recursive(8, 40, 5, |inner| {
        let inside = prop_oneof![2 => inner.prop_map(Inside::Element), 1 => characters().prop_map(Inside::Text)];
        (namespace(), name(), attributes(), prop::collection::vec(inside, 0..5))
            .prop_map(|(ns, name, attributes, inside)| assemble(ns, name, attributes, inside))
    })
    .prop_filter("not the name that is refused", |tree| tree.name != "stream")
}

/// As the parser is to encode it: the outermost element names its namespace, the others where it changes.
pub(crate) fn encode(tree: &Tree) -> Vec<u8> {
    fn put(tree: &Tree, parent_ns: Option<&str>, builder: &mut Builder) {
        builder.open((parent_ns != Some(&tree.ns)).then_some(&tree.ns), &tree.name);
        for (ns, name, value) in &tree.attributes {
            builder.attr_ns(ns, name, value);
        }
        for one in &tree.inside {
            match one {
                Inside::Text(text) => {
                    builder.text(text);
                }
                Inside::Element(element) => put(element, Some(&tree.ns), builder),
            }
        }
        builder.close();
    }
    let mut builder = Builder::new();
    put(tree, None, &mut builder);
    builder.finish()
}

/// As some client may write it on a stream with the usual header: quotes, prefixes, references and CDATA sections chosen
/// by the content itself.
pub(crate) fn loose_xml(tree: &Tree) -> String {
    let mut writer = Loose { choices: 0xcbf2_9ce4_8422_2325, out: String::new() };
    for byte in format!("{tree:?}").bytes() {
        writer.choices = (writer.choices ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let scope = vec![(String::new(), CLIENT.to_owned())];
    writer.element(tree, &scope);
    writer.out
}

struct Loose {
    choices: u64,
    out: String,
}

/// Prefix and namespace, innermost last.
type Declared = Vec<(String, String)>;

fn in_scope(scope: &Declared, prefix: &str) -> Option<String> {
    scope.iter().rfind(|(declared, _)| declared == prefix).map(|(_, ns)| ns.clone())
}

impl Loose {
    fn choose(&mut self, of: u64) -> u64 {
        self.choices = self.choices.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.choices >> 33) % of
    }

    fn space(&mut self) -> &'static str {
        ["", "", " ", "\n", "\r\n\t"][self.choose(5) as usize]
    }

    fn element(&mut self, tree: &Tree, outer: &Declared) {
        let mut declared: Declared = Vec::new();
        let prefix = self.element_prefix(tree, outer, &mut declared);
        let attributes: Vec<(String, String)> = tree
            .attributes
            .iter()
            .map(|(ns, name, value)| (self.attribute_name(ns, name, outer, &mut declared), value.clone()))
            .collect();
        let name = if prefix.is_empty() { tree.name.clone() } else { format!("{prefix}:{}", tree.name) };
        self.out += &format!("<{name}");
        let declarations = declared.iter().map(|(prefix, ns)| match prefix.as_str() {
            "" => ("xmlns".to_owned(), ns.clone()),
            prefix => (format!("xmlns:{prefix}"), ns.clone()),
        });
        let all: Vec<_> = if self.choose(2) == 0 {
            declarations.chain(attributes).collect()
        } else {
            attributes.into_iter().chain(declarations).collect()
        };
        for (name, value) in all {
            let (before, around) = (["\t", " ", "\r\n "][self.choose(3) as usize], self.space());
            self.out += &format!("{before}{name}{around}={around}");
            self.quoted(&value);
        }
        let space = self.space();
        self.out += space;
        if tree.inside.is_empty() && self.choose(2) == 0 {
            self.out += "/>";
            return;
        }
        self.out += ">";
        let inner: Declared = outer.iter().cloned().chain(declared).collect();
        for one in &tree.inside {
            match one {
                Inside::Text(text) => self.text(text),
                Inside::Element(element) => self.element(element, &inner),
            }
        }
        let space = self.space();
        self.out += &format!("</{name}{space}>");
    }

    fn element_prefix(&mut self, tree: &Tree, outer: &Declared, declared: &mut Declared) -> String {
        let may_prefix = !tree.ns.is_empty() && tree.ns != CLIENT;
        if may_prefix && self.choose(2) == 0 {
            return self.prefix(&tree.ns, outer, declared);
        }
        if in_scope(outer, "").unwrap_or_default() != tree.ns || self.choose(8) == 0 {
            declared.push((String::new(), tree.ns.clone()));
        }
        String::new()
    }

    fn attribute_name(&mut self, ns: &str, name: &str, outer: &Declared, declared: &mut Declared) -> String {
        match ns {
            "" => name.to_owned(),
            XML => format!("xml:{name}"),
            ns => format!("{}:{name}", self.prefix(ns, outer, declared)),
        }
    }

    /// A prefix for `ns`: one in scope, or one declared anew, perhaps over another meaning.
    fn prefix(&mut self, ns: &str, outer: &Declared, declared: &mut Declared) -> String {
        let names = ["p", "q", "stream", "p1", "é"];
        let first = self.choose(5) as usize;
        for at in 0..names.len() {
            let prefix = names[(first + at) % names.len()];
            match in_scope(declared, prefix) {
                Some(other) if other == ns => return prefix.to_owned(),
                Some(_) => {}
                None if in_scope(outer, prefix).as_deref() == Some(ns) => {
                    // Used here, it must not be declared otherwise here.
                    declared.push((prefix.to_owned(), ns.to_owned()));
                    return prefix.to_owned();
                }
                None => {
                    declared.push((prefix.to_owned(), ns.to_owned()));
                    return prefix.to_owned();
                }
            }
        }
        unreachable!("more namespaces on one element than prefixes")
    }

    fn quoted(&mut self, value: &str) {
        let quote = ['\'', '"'][self.choose(2) as usize];
        self.out.push(quote);
        for character in value.chars() {
            match character {
                '<' | '&' | '\t' | '\n' | '\r' => self.reference(character),
                ' ' => {
                    let space = [" ", " ", "\t", "\n", "\r\n", "&#32;"][self.choose(6) as usize];
                    self.out += space;
                }
                _ if character == quote || self.choose(16) == 0 => self.reference(character),
                _ => self.out.push(character),
            }
        }
        self.out.push(quote);
    }

    fn text(&mut self, text: &str) {
        if self.choose(3) == 0 && !text.contains('\r') {
            let inside =
                text.replace("]]>", "]]]]><![CDATA[>").replace('\n', ["\n", "\r", "\r\n"][self.choose(3) as usize]);
            self.out += &format!("<![CDATA[{inside}]]>");
            return;
        }
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '<' | '&' | '>' | '\r' => self.reference(character),
                '\n' if characters.peek() != Some(&'\n') => {
                    let line_end = ["\n", "\r", "\r\n", "&#xA;"][self.choose(4) as usize];
                    self.out += line_end;
                }
                _ if self.choose(16) == 0 => self.reference(character),
                _ => self.out.push(character),
            }
        }
    }

    fn reference(&mut self, character: char) {
        let named = match character {
            '<' => "&lt;",
            '>' => "&gt;",
            '&' => "&amp;",
            '\'' => "&apos;",
            '"' => "&quot;",
            _ => "",
        };
        let number = u32::from(character);
        let reference = match self.choose(3) {
            0 => format!("&#{number};"),
            1 => format!("&#x{number:X};"),
            _ if !named.is_empty() => named.to_owned(),
            _ => format!("&#x00{number:x};"),
        };
        self.out += &reference;
    }
}

/// Bytes that look like XML more often than not; about half of them are, where they stand inside a stream.
pub(crate) fn soup() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![1 => loose_soup(), 3 => closed_soup()]
}

/// Elements that end what they began, of any depth and number; of one in three a piece is left out.
fn closed_soup() -> impl Strategy<Value = Vec<u8>> {
    let names = prop::sample::select(vec!["a", "b", "p:a", "q:b", "日"]);
    let attributes =
        vec!["", "", " c='1'", " p:c=\"'>\"", " xml:lang='é'", " xmlns='u'", " xmlns:q='v&#x41;'", " d='\r\n\t&#10;'"];
    let texts = vec![
        "",
        "x",
        "\n",
        "\r\n",
        "\r",
        "é日",
        "&amp;",
        "&#13;",
        "&#x1F600;",
        "]] >",
        "'\"=",
        "<![CDATA[<a>&]]>",
        "<![CDATA[]]]]>",
    ];
    let text = prop::sample::select(texts);
    let step = (0..3_u8, names, prop::sample::select(attributes), text.clone(), text);
    let left_out = prop_oneof![2 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)];
    (prop::collection::vec(step, 1..10), left_out).prop_map(|(steps, left_out)| {
        let mut out = vec!["<a xmlns:p='u' xmlns:q='w'>".to_owned()];
        let mut open = vec!["a"];
        for (what, name, attribute, text, more) in steps {
            match (what, open.pop()) {
                (0, Some(innermost)) => {
                    open.push(innermost);
                    out.push(format!("<{name}{attribute}/>"));
                }
                (1, Some(innermost)) => out.push(format!("</{innermost}>")),
                (_, innermost) => {
                    open.extend(innermost);
                    open.push(name);
                    let declared = if open.len() == 1 { " xmlns:p='u' xmlns:q='w'" } else { attribute };
                    out.push(format!("<{name}{declared}>"));
                }
            }
            // Between elements of a stream there is white space alone.
            out.push(if open.is_empty() { "\n" } else { text }.to_owned());
            out.push(if open.is_empty() { "" } else { more }.to_owned());
        }
        out.extend(open.into_iter().rev().map(|name| format!("</{name}>")));
        if let Some(place) = left_out {
            out.remove(place.index(out.len()));
        }
        out.concat().into_bytes()
    })
}

/// Pieces in any order, few of which are accepted.
fn loose_soup() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "<",
        ">",
        "/",
        "</",
        "/>",
        "'",
        "\"",
        "=",
        " ",
        "\n",
        "\r",
        "&",
        ";",
        "&amp;",
        "&#",
        "&#x41;",
        "!",
        "?",
        "[",
        "]",
        "]]>",
        "<![CDATA[",
        "<!--",
        "-->",
        "<?xml",
        "?>",
        "a",
        "b",
        ":",
        "xmlns",
        "xmlns:a",
        "xml:lang",
        "='u'",
        " c='1'",
        "<a>",
        "</a>",
        "<b/>",
        "<a:b>",
        "</a:b>",
        "stream:stream",
        "<stream:error/>",
        "</stream:stream>",
        "x",
        "é",
        "\u{0}",
        "\u{fffe}",
        "日",
    ]);
    prop::collection::vec(
        prop_oneof![
            30 => pieces.prop_map(|piece: &str| piece.as_bytes().to_vec()),
            1 => any::<u8>().prop_map(|byte| vec![byte]),
        ],
        0..60,
    )
    .prop_map(|pieces| pieces.concat())
}
