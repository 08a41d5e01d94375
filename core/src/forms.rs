//! Data Forms: written and read, with the field names that XEP-0068 has registered for their type.

use crate::features::{Feature, Spec};
use crate::limits;
use hearth_wire::StanzaCondition;
use hearth_wire::tree::{Builder, Element};

/// Namespace of `<x/>`.
pub const NS: &str = "jabber:x:data";

/// Says of what kind a form is (XEP-0068 §3.1).
const FORM_TYPE: &str = "FORM_TYPE";

/// Advertised by the protocols that use forms (XEP-0004 §6).
pub const FEATURE: Feature = Feature { spec: Spec::Xep(4, "2.13.2"), ..Feature::EMPTY };

/// The names of fields.
pub const FIELD_NAMES: Feature = Feature { spec: Spec::Xep(68, "1.3.0"), ..Feature::EMPTY };

/// How a value is to be entered (XEP-0004 §3.3); what this server uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldType {
    Boolean,
    JidSingle,
    ListMulti,
    TextPrivate,
    TextSingle,
}

impl FieldType {
    const fn attribute(self) -> &'static str {
        match self {
            FieldType::Boolean => "boolean",
            FieldType::JidSingle => "jid-single",
            FieldType::ListMulti => "list-multi",
            FieldType::TextPrivate => "text-private",
            FieldType::TextSingle => "text-single",
        }
    }
}

/// One field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    pub var: &'static str,
    /// For people; empty for none.
    pub label: &'static str,
    pub ty: FieldType,
    pub required: bool,
    pub values: Vec<String>,
}

impl Field {
    /// A field that may stay empty.
    pub fn new(var: &'static str, ty: FieldType, label: &'static str) -> Field {
        Field { var, label, ty, required: false, values: Vec::new() }
    }

    /// Writes it with its type and label, as in a form to fill in and in `<reported/>`.
    pub fn write(&self, out: &mut Builder) {
        out.open(None, "field").attr("var", self.var).attr("type", self.ty.attribute());
        if !self.label.is_empty() {
            out.attr("label", self.label);
        }
        if self.required {
            out.open(None, "required").close();
        }
        self.values.iter().for_each(|value| {
            out.leaf(None, "value", value);
        });
        out.close();
    }
}

/// Opens `<x/>` of this type with its hidden FORM_TYPE; the caller writes fields and closes it.
pub fn open(out: &mut Builder, ty: &str, form_type: &str) {
    out.open(Some(NS), "x").attr("type", ty);
    out.open(None, "field").attr("var", FORM_TYPE).attr("type", "hidden");
    out.leaf(None, "value", form_type).close();
}

/// A form to fill in.
pub fn to_fill_in(out: &mut Builder, form_type: &str, title: &str, instructions: &str, fields: &[Field]) {
    out.open(Some(NS), "x").attr("type", "form");
    out.leaf(None, "title", title).leaf(None, "instructions", instructions);
    out.open(None, "field").attr("var", FORM_TYPE).attr("type", "hidden");
    out.leaf(None, "value", form_type).close();
    fields.iter().for_each(|field| field.write(out));
    out.close();
}

/// What an entity says of itself beyond identity and features (XEP-0128): values by field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Info {
    pub form_type: &'static str,
    pub fields: Vec<(&'static str, Vec<String>)>,
}

impl Info {
    /// Writes the form of type `result`.
    pub fn write(&self, out: &mut Builder) {
        open(out, "result", self.form_type);
        for (var, values) in &self.fields {
            out.open(None, "field").attr("var", var);
            values.iter().for_each(|value| {
                out.leaf(None, "value", value);
            });
            out.close();
        }
        out.close();
    }

    /// Its part of a verification string (XEP-0115 §5.1, steps 7 and 8).
    pub fn verify(&self, text: &mut String) {
        let mut put = |part: &str| {
            text.push_str(part);
            text.push('<');
        };
        put(self.form_type);
        let mut fields: Vec<_> = self.fields.iter().collect();
        fields.sort_by_key(|(var, _)| *var);
        for (var, values) in fields {
            put(var);
            let mut values: Vec<&str> = values.iter().map(String::as_str).collect();
            values.sort_unstable();
            values.into_iter().for_each(&mut put);
        }
    }
}

/// A form as somebody filled it in; types are not looked at, a submitted field need not have one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filled(Vec<(String, Vec<String>)>);

impl Filled {
    /// The form of this type in `query`; `None` if there is no form. Another type, a type other than
    /// `submit`, a field twice or more than [`limits::FORM_FIELDS_MAX`] are `bad-request`.
    pub fn within(query: &Element<'_>, form_type: &str) -> Result<Option<Filled>, StanzaCondition> {
        let Some(form) = query.child(NS, "x") else { return Ok(None) };
        if form.attr("type") != Some("submit") {
            return Err(StanzaCondition::BadRequest);
        }
        let mut filled = Filled::default();
        for field in form.children().filter(|child| child.is(NS, "field")) {
            let var = field.attr("var").ok_or(StanzaCondition::BadRequest)?;
            let values: Vec<String> =
                field.children().filter(|child| child.is(NS, "value")).map(|value| value.text()).collect();
            // XEP-0068 §3.2: without a FORM_TYPE it is what the question says it is.
            if var == FORM_TYPE {
                if values.first().is_none_or(|found| found != form_type) {
                    return Err(StanzaCondition::BadRequest);
                }
            } else if filled.values(var).is_some() || filled.0.len() >= limits::FORM_FIELDS_MAX {
                return Err(StanzaCondition::BadRequest);
            } else {
                filled.0.push((var.to_owned(), values));
            }
        }
        Ok(Some(filled))
    }

    fn values(&self, var: &str) -> Option<&[String]> {
        self.0.iter().find(|(other, _)| other == var).map(|(_, values)| values.as_slice())
    }

    /// The first value of a field; `None` if the field or its value is not there.
    pub fn get(&self, var: &str) -> Option<&str> {
        self.values(var)?.first().map(String::as_str)
    }

    /// A boolean (XEP-0004 §3.3); what is none is `bad-request`.
    pub fn boolean(&self, var: &str) -> Result<Option<bool>, StanzaCondition> {
        match self.get(var) {
            None => Ok(None),
            Some("1" | "true") => Ok(Some(true)),
            Some("0" | "false") => Ok(Some(false)),
            Some(_) => Err(StanzaCondition::BadRequest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::stanza;
    use hearth_wire::tree;

    fn read(form: &str) -> Result<Option<Filled>, StanzaCondition> {
        let iq = stanza(&format!("<iq type='set' id='1'><query xmlns='urn:q'>{form}</query></iq>"));
        Filled::within(&tree::first(iq.view().payload).unwrap(), "urn:q")
    }

    #[test]
    fn a_filled_in_form_is_read() {
        let x = |fields: &str| read(&format!("<x xmlns='jabber:x:data' type='submit'>{fields}</x>"));
        let typed = "<field var='FORM_TYPE'><value>urn:q</value></field>";
        let a = "<field var='a'><value>1</value><value>2</value></field>";
        let filled = x(&format!("{typed}{a}<field var='empty'/>")).unwrap().unwrap();
        assert_eq!((filled.get("a"), filled.get("empty"), filled.get("b")), (Some("1"), None, None));
        assert_eq!((filled.boolean("a"), filled.boolean("b")), (Ok(Some(true)), Ok(None)));
        assert_eq!(x(a).unwrap().unwrap().get("a"), Some("1"), "without FORM_TYPE");
        assert_eq!(read("<a/>"), Ok(None));
        let other = "<field var='FORM_TYPE' type='hidden'><value>urn:other</value></field>";
        for bad in
            [&format!("{other}{a}"), &format!("{a}{a}"), "<field><value>1</value></field>", "<field var='FORM_TYPE'/>"]
        {
            assert_eq!(x(bad), Err(StanzaCondition::BadRequest), "{bad}");
        }
        let many: String = (0..=limits::FORM_FIELDS_MAX).map(|n| format!("<field var='f{n}'/>")).collect();
        assert_eq!(x(&many), Err(StanzaCondition::BadRequest));
        assert_eq!(read("<x xmlns='jabber:x:data' type='form'/>"), Err(StanzaCondition::BadRequest));
        let word = x("<field var='a'><value>yes</value></field>").unwrap().unwrap();
        assert_eq!(word.boolean("a"), Err(StanzaCondition::BadRequest));
    }
}
