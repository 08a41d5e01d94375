//! Names that people take for one another (UTS #39): localparts, prepared.

use unicode_security::mixed_script::AugmentedScriptSet;
use unicode_security::{RestrictionLevel, RestrictionLevelDetection};

/// Of the tables in use: what two names look like may change with it.
pub const UNICODE_VERSION: (u64, u64, u64) = unicode_security::UNICODE_VERSION;

/// What a name looks like (UTS #39 §4): two names with the same skeleton look alike. Not for showing.
pub fn skeleton(name: &str) -> String {
    unicode_security::skeleton(name).collect()
}

/// Whether a name mixes scripts as nobody writes them: beyond "highly restrictive" (UTS #39 §5.2), so Latin with
/// Cyrillic does, Latin with Han and Kana does not. Names of one script never do, whichever it is.
pub fn mixes_scripts(name: &str) -> bool {
    if !AugmentedScriptSet::for_str(name).is_empty() {
        return false;
    }
    // Signs are of no script, but ASCII's are not in the profile of identifiers, which would decide.
    let letters: String = name.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    !letters.as_str().check_restriction_level(RestrictionLevel::HighlyRestrictive)
}

/// All names in ASCII alone, of characters that a prepared localpart may have, with this skeleton; `None` if there are more
/// than `most`.
pub fn in_ascii(skeleton: &str, most: usize) -> Option<Vec<String>> {
    let signs = (0x21..0x7f_u8).map(char::from).filter(|c| !c.is_ascii_uppercase());
    let looks: Vec<(char, String)> = signs.map(|c| (c, self::skeleton(c.encode_utf8(&mut [0; 4])))).collect();
    if !skeleton.chars().all(|c| looks.iter().any(|(_, look)| look.contains(c))) {
        return Some(Vec::new());
    }
    let mut names = Vec::new();
    // What was found of a name, and how much of the skeleton that makes.
    let mut begun = vec![(String::new(), skeleton)];
    while let Some((name, rest)) = begun.pop() {
        if rest.is_empty() {
            names.push(name);
        } else {
            let go_on = |(c, look): &(char, String)| {
                let rest = rest.strip_prefix(look.as_str()).filter(|_| !look.is_empty())?;
                Some((format!("{name}{c}"), rest))
            };
            begun.extend(looks.iter().filter_map(go_on));
        }
        if names.len().saturating_add(begun.len()) > most {
            return None;
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_alike() {
        for (one, other) in [
            ("paypal", "раураl"),  // Cyrillic er, a, u
            ("ada", "аdа"),        // Cyrillic a
            ("m", "rn"),           // as the standard has it
            ("l", "1"),            //
            ("scope", "ѕсоре"),    // Cyrillic throughout
            ("ο", "о"),            // Greek and Cyrillic
            ("a\u{301}da", "áda"), // the same in another form
        ] {
            assert_eq!(skeleton(one), skeleton(other), "{one} {other}");
        }
        for (one, other) in [("ada", "áda"), ("мама", "mama"), ("müller", "muller")] {
            assert_ne!(skeleton(one), skeleton(other), "{one} {other}");
        }
    }

    #[test]
    fn what_mixes_scripts() {
        for name in [
            "ada",
            "ada.lovelace+news",
            "émilie",
            "мария",
            "мария.1987",
            "ελένη",
            "山田太郎",
            "さくら",
            "서울",
            "ada山田",
            "ᏣᎳᎩ",
            "a|b~c",
            "張偉ㄓ",
            "محمد",
            "ada_1",
            "",
            "דוד",
        ] {
            assert!(!mixes_scripts(name), "{name}");
        }
        for name in ["аda", "pаypal", "gracε", "adaмария", "서울さくら", "ελένηмария", "adaدوד", "ᏣᎳᎩada"]
        {
            assert!(mixes_scripts(name), "{name}");
        }
    }

    #[test]
    fn names_in_ascii_are_all_found() {
        let sorted = |skeleton: &str| {
            let mut names = in_ascii(skeleton, 256).unwrap();
            names.sort();
            names
        };
        assert_eq!(sorted(&skeleton("раураl")), ["paypa1", "paypal", "paypa|"]);
        assert_eq!(sorted("arn"), ["am", "arn"]);
        assert_eq!(sorted("áda"), Vec::<String>::new());
        assert_eq!(sorted(""), [""]);
        assert_eq!(in_ascii(&"l".repeat(5), 256).map(|names| names.len()), Some(243));
        assert_eq!(in_ascii(&"l".repeat(6), 256), None);
        assert_eq!(in_ascii("llllllé", 256), Some(Vec::new()));
        assert_eq!(in_ascii(&"l".repeat(1023), 256), None);
        for name in ["ada", "grace.hopper", "mm", "a-b_c", "x0`|1\"z~'"] {
            assert!(sorted(&skeleton(name)).contains(&name.to_owned()), "{name}");
        }
    }
}
