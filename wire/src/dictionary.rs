//! Well-known names and namespaces by number. **Append only**: a number, once released, means its
//! text for ever, and a new entry is understood one release before it is emitted.

/// The number that stands for the parent's namespace.
pub const INHERIT: u16 = 0;

/// All entries; the index is the number. Entry 0 is [`INHERIT`] and never a text.
const ENTRIES: &[&str] = &["\u{0}inherit", "", "jabber:client"];

/// The text of a number.
pub fn entry(number: u16) -> Option<&'static str> {
    ENTRIES.get(usize::from(number)).copied()
}

/// The number of a text, if it has one.
pub fn number(text: &str) -> Option<u16> {
    ENTRIES.iter().position(|entry| *entry == text).and_then(|at| u16::try_from(at).ok())
}
