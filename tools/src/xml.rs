//! A small, strict reader of XMPP's restricted XML (RFC 6120 §11) for tests: a second opinion on what
//! the server writes, sharing no code with the edge's own parser. Not for hostile input: it recurses.

use std::fmt;

/// Namespace of stanzas on a client's stream.
pub const CLIENT: &str = "jabber:client";
/// Namespace of `<stream:stream/>`, `<stream:features/>`, `<stream:error/>`.
pub const STREAM: &str = "http://etherx.jabber.org/streams";
const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// An element with its namespaces resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Element {
    pub ns: String,
    pub name: String,
    pub attrs: Vec<Attr>,
    pub nodes: Vec<Node>,
}

/// An attribute; `ns` is empty for the usual ones without prefix.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attr {
    pub ns: String,
    pub name: String,
    pub value: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Node {
    Element(Element),
    Text(String),
}

/// What a stream consists of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// The stream header; its children follow as items.
    Open(Element),
    Element(Element),
    /// `</stream:stream>`.
    Close,
}

/// The text is not restricted XML; what was expected, and the text there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct XmlError(pub String);

impl fmt::Display for XmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for XmlError {}

impl Element {
    /// Value of the attribute without prefix.
    #[must_use]
    pub fn attr(&self, name: &str) -> Option<&str> {
        self.attrs.iter().find(|attr| attr.ns.is_empty() && attr.name == name).map(|attr| attr.value.as_str())
    }
    /// Whether this is the element `name` of `ns`.
    #[must_use]
    pub fn is(&self, ns: &str, name: &str) -> bool {
        self.ns == ns && self.name == name
    }
    /// Elements directly inside.
    pub fn children(&self) -> impl Iterator<Item = &Element> {
        self.nodes.iter().filter_map(|node| if let Node::Element(element) = node { Some(element) } else { None })
    }
    /// First element directly inside with this name.
    #[must_use]
    pub fn child(&self, ns: &str, name: &str) -> Option<&Element> {
        self.children().find(|element| element.is(ns, name))
    }
    /// Text directly inside, joined.
    #[must_use]
    pub fn text(&self) -> String {
        self.nodes
            .iter()
            .filter_map(|node| if let Node::Text(text) = node { Some(text.as_str()) } else { None })
            .collect()
    }
}

/// Prefixes in scope, innermost last.
type Scope = Vec<(String, String)>;

/// Takes bytes as they come, gives items as they are complete.
#[derive(Default, Debug)]
pub struct Reader {
    buffer: Vec<u8>,
    /// Declarations of the stream header; `None` before it.
    stream: Option<Scope>,
}

impl Reader {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that belong to no complete item yet.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.buffer
    }

    /// The next item, or `None` while it is not complete.
    pub fn next_item(&mut self) -> Result<Option<Item>, XmlError> {
        let text = match std::str::from_utf8(&self.buffer) {
            Ok(text) => text,
            Err(e) if e.error_len().is_none() => {
                std::str::from_utf8(self.buffer.get(..e.valid_up_to()).unwrap_or_default()).unwrap_or_default()
            }
            Err(_) => return Err(XmlError("not UTF-8".to_owned())),
        };
        let mut parser = Parser { text, at: 0, pattern: false };
        let item = match &self.stream {
            None => parser.header().map(|(header, scope)| (Item::Open(header), Some(scope))),
            Some(scope) => parser.top(scope).map(|item| (item, None)),
        };
        match item {
            Ok((item, scope)) => {
                if scope.is_some() {
                    self.stream = scope;
                }
                let at = parser.at;
                self.buffer.drain(..at);
                Ok(Some(item))
            }
            Err(Stop::Incomplete) => Ok(None),
            Err(Stop::Bad(why)) => Err(XmlError(why)),
        }
    }
}

/// Reads one element as a pattern: `*` is allowed as the name of an element or attribute; the default
/// namespace is [`CLIENT`], and `stream:` is declared.
pub fn pattern(text: &str) -> Result<Element, XmlError> {
    let scope = vec![(String::new(), CLIENT.to_owned()), ("stream".to_owned(), STREAM.to_owned())];
    let mut parser = Parser { text: text.trim(), at: 0, pattern: true };
    match parser.element(&scope) {
        Ok(element) if parser.rest().is_empty() => Ok(element),
        Ok(_) => Err(XmlError(format!("more than one element: {}", parser.rest()))),
        Err(Stop::Incomplete) => Err(XmlError(format!("ends too early: {text}"))),
        Err(Stop::Bad(why)) => Err(XmlError(why)),
    }
}

enum Stop {
    Incomplete,
    Bad(String),
}

type Parsed<T> = Result<T, Stop>;

struct Parser<'a> {
    text: &'a str,
    at: usize,
    pattern: bool,
}

/// A start tag before its prefixes are resolved.
struct Tag {
    name: String,
    attrs: Vec<(String, String)>,
    empty: bool,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn bad<T>(&self, expected: &str) -> Parsed<T> {
        let there: String = self.rest().chars().take(40).collect();
        Err(Stop::Bad(format!("expected {expected} at {there:?}")))
    }

    fn skip(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    /// Skips `text`, which must come next.
    fn need(&mut self, text: &str) -> Parsed<()> {
        if self.skip(text) {
            return Ok(());
        }
        if text.starts_with(self.rest()) { Err(Stop::Incomplete) } else { self.bad(text) }
    }

    fn space(&mut self) -> bool {
        let before = self.at;
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\t', '\r', '\n']).len();
        self.at > before
    }

    /// Text up to `end`, which is skipped too.
    fn until(&mut self, end: char) -> Parsed<&'a str> {
        let (text, _) = self.rest().split_once(end).ok_or(Stop::Incomplete)?;
        self.at += text.len() + end.len_utf8();
        Ok(text)
    }

    fn name(&mut self) -> Parsed<String> {
        let rest = self.rest();
        let ends = |c: char| !(c.is_alphanumeric() || "_-.:".contains(c) || (self.pattern && c == '*'));
        let end = rest.find(ends).ok_or(Stop::Incomplete)?;
        let name = rest.get(..end).unwrap_or_default();
        if name.is_empty() || name.starts_with(|c: char| c.is_numeric() || "-.:".contains(c)) || name.ends_with(':') {
            return self.bad("a name");
        }
        self.at += end;
        Ok(name.to_owned())
    }

    /// `<name a='b'…>` or `…/>`.
    fn tag(&mut self) -> Parsed<Tag> {
        self.need("<")?;
        let name = self.name()?;
        let mut attrs: Vec<(String, String)> = Vec::new();
        loop {
            let spaced = self.space();
            if self.rest().is_empty() {
                return Err(Stop::Incomplete);
            }
            if self.skip(">") {
                return Ok(Tag { name, attrs, empty: false });
            }
            if self.rest().starts_with('/') {
                self.need("/>")?;
                return Ok(Tag { name, attrs, empty: true });
            }
            if !spaced {
                return self.bad("white space before an attribute");
            }
            let key = self.name()?;
            self.space();
            self.need("=")?;
            self.space();
            let quote = match self.rest().chars().next().ok_or(Stop::Incomplete)? {
                quote @ ('\'' | '"') => quote,
                _ => return self.bad("a quotation mark"),
            };
            self.need(&quote.to_string())?;
            let raw = self.until(quote)?;
            if raw.contains('<') {
                return self.bad("an attribute without <");
            }
            if attrs.iter().any(|(other, _)| *other == key) {
                return self.bad("an attribute only once");
            }
            attrs.push((key, self.unescape(raw)?));
        }
    }

    fn unescape(&self, raw: &str) -> Parsed<String> {
        let mut out = String::with_capacity(raw.len());
        let mut parts = raw.split('&');
        out.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let Some((entity, rest)) = part.split_once(';') else { return self.bad("an entity, after &") };
            let code = entity.strip_prefix('#').map(|number| match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            });
            out.push(match (entity, code) {
                ("amp", _) => '&',
                ("lt", _) => '<',
                ("gt", _) => '>',
                ("quot", _) => '"',
                ("apos", _) => '\'',
                (_, Some(Ok(code))) => match char::from_u32(code) {
                    Some(c) => c,
                    None => return self.bad("a character"),
                },
                _ => return self.bad(&format!("a predefined entity, not &{entity};")),
            });
            out.push_str(rest);
        }
        let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
        if out.chars().all(allowed) { Ok(out) } else { self.bad("characters of XML 1.0") }
    }

    /// The stream header, after an optional XML declaration.
    fn header(&mut self) -> Parsed<(Element, Scope)> {
        self.space();
        if self.rest().starts_with("<?") {
            self.need("<?xml ")?;
            self.until('>')?;
            self.space();
        }
        let tag = self.tag()?;
        let mut scope = Scope::new();
        let header = self.resolve(&tag, &mut scope)?;
        if tag.empty || !header.is(STREAM, "stream") {
            return self.bad("<stream:stream> before this");
        }
        Ok((header, scope))
    }

    fn top(&mut self, scope: &Scope) -> Parsed<Item> {
        self.space();
        if self.rest().starts_with("</") {
            self.need("</stream:stream>")?;
            return Ok(Item::Close);
        }
        self.element(scope).map(Item::Element)
    }

    fn element(&mut self, outer: &Scope) -> Parsed<Element> {
        let tag = self.tag()?;
        let mut scope = outer.clone();
        let mut element = self.resolve(&tag, &mut scope)?;
        if tag.empty {
            return Ok(element);
        }
        loop {
            let raw = self.rest().split('<').next().unwrap_or_default();
            if raw.len() == self.rest().len() {
                return Err(Stop::Incomplete);
            }
            if raw.contains("]]>") {
                return self.bad("text without ]]>");
            }
            if !raw.is_empty() {
                element.nodes.push(Node::Text(self.unescape(raw)?));
                self.at += raw.len();
            }
            if self.rest().starts_with("</") {
                self.need(&format!("</{}", tag.name))?;
                self.space();
                self.need(">")?;
                return Ok(element);
            }
            if self.rest().len() < 2 {
                return Err(Stop::Incomplete);
            }
            element.nodes.push(Node::Element(self.element(&scope)?));
        }
    }

    /// Applies the tag's declarations to `scope` and resolves its names.
    fn resolve(&self, tag: &Tag, scope: &mut Scope) -> Parsed<Element> {
        for (key, value) in &tag.attrs {
            if key == "xmlns" {
                scope.push((String::new(), value.clone()));
            } else if let Some(prefix) = key.strip_prefix("xmlns:") {
                scope.push((prefix.to_owned(), value.clone()));
            }
        }
        let find = |prefix: &str| scope.iter().rev().find(|(known, _)| known == prefix).map(|(_, ns)| ns.clone());
        let (ns, name) = match tag.name.split_once(':') {
            Some((prefix, name)) => match find(prefix) {
                Some(ns) => (ns, name),
                None => return self.bad(&format!("prefix {prefix} to be declared")),
            },
            None => (find("").unwrap_or_default(), tag.name.as_str()),
        };
        let mut attrs = Vec::new();
        for (key, value) in tag.attrs.iter().filter(|(key, _)| key != "xmlns" && !key.starts_with("xmlns:")) {
            let (ns, name) = match key.split_once(':') {
                None => (String::new(), key.as_str()),
                Some(("xml", name)) => (XML.to_owned(), name),
                Some((prefix, name)) => match find(prefix) {
                    Some(ns) => (ns, name),
                    None => return self.bad(&format!("prefix {prefix} to be declared")),
                },
            };
            attrs.push(Attr { ns, name: name.to_owned(), value: value.clone() });
        }
        Ok(Element { ns, name: name.to_owned(), attrs, nodes: Vec::new() })
    }
}

impl fmt::Display for Element {
    /// For failure messages: namespaces are written wherever they differ from the parent's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_element(f, self, CLIENT)
    }
}

fn write_element(f: &mut fmt::Formatter<'_>, element: &Element, parent: &str) -> fmt::Result {
    let Element { ns, name, attrs, nodes } = element;
    write!(f, "<{name}")?;
    if ns != parent {
        write!(f, " xmlns='{ns}'")?;
    }
    for Attr { ns, name, value } in attrs {
        let prefix = if ns == XML { "xml:" } else { "" };
        write!(f, " {prefix}{name}='{}'", escape(value))?;
    }
    if nodes.is_empty() {
        return f.write_str("/>");
    }
    f.write_str(">")?;
    for node in nodes {
        match node {
            Node::Element(child) => write_element(f, child, ns)?,
            Node::Text(text) => f.write_str(&escape(text))?,
        }
    }
    write!(f, "</{name}>")
}

/// Text as it may stand in content and in attributes.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&apos;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams' id='1' version='1.0'>";

    fn read(text: &str) -> Result<Vec<Item>, XmlError> {
        let mut reader = Reader::default();
        reader.push(text.as_bytes());
        std::iter::from_fn(|| reader.next_item().transpose()).collect()
    }

    #[test]
    fn any_cut_reads_the_same() {
        let text = format!(
            "{HEADER}<stream:features/> <message to='a@b' id=\"it&apos;s\"><body>1 &lt; 2 é 😀</body>\
             <x:y xmlns:x='urn:x' x:z='1' xml:lang='de'><inner/></x:y></message></stream:stream>"
        );
        let whole = read(&text).unwrap();
        assert_eq!(whole.len(), 4);
        let Item::Element(message) = &whole[2] else { panic!("{whole:?}") };
        assert_eq!(message.child(CLIENT, "body").unwrap().text(), "1 < 2 é 😀");
        assert_eq!(message.attr("id"), Some("it's"));
        let odd = message.child("urn:x", "y").unwrap();
        assert!(odd.child(CLIENT, "inner").is_some() && odd.attr("z").is_none());
        for cut in 0..text.len() {
            let mut reader = Reader::default();
            let mut items = Vec::new();
            for part in [&text.as_bytes()[..cut], &text.as_bytes()[cut..]] {
                reader.push(part);
                while let Some(item) = reader.next_item().unwrap() {
                    items.push(item);
                }
            }
            assert_eq!(items, whole, "cut at {cut}");
            assert!(reader.pending().is_empty());
        }
    }

    #[test]
    fn what_no_server_may_write() {
        for bad in [
            "<a></b>",
            "<a b='1' b='2'/>",
            "<a b='<'/>",
            "<p:a/>",
            "<a>&nbsp;</a>",
            "<a>&#0;</a>",
            "<a>x & y</a>",
            "<a>]]></a>",
            "<!-- x -->",
            "<a><![CDATA[x]]></a>",
            "<a b=1/>",
            "<a b='1'c='2'/>",
            "<1a/>",
        ] {
            let read = read(&format!("{HEADER}{bad}"));
            assert!(read.is_err(), "{bad}: {read:?}");
        }
        assert!(read("<stream:stream xmlns:stream='urn:wrong'>").is_err());
    }

    #[test]
    fn patterns() {
        let element = pattern("<iq type='*' *='*'><*/><stream:error/></iq>").unwrap();
        assert_eq!(element.ns, CLIENT);
        assert_eq!(element.children().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["*", "error"]);
        assert!(pattern("<a/><b/>").is_err() && pattern("<a>").is_err());
        assert_eq!(
            pattern("<a b='&amp;'>x<c xmlns='d'/></a>").unwrap().to_string(),
            "<a b='&amp;'>x<c xmlns='d'/></a>"
        );
    }
}
