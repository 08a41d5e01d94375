//! Until when a certificate is valid: the one date of X.509 that an operator must not miss.

/// Milliseconds since 1970 of `notAfter` (RFC 5280 §4.1.2.5). `None` if it is not there or not as it must be.
pub(crate) fn not_after_ms(certificate: &[u8]) -> Option<u64> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut fields, _) = element(certificate, SEQUENCE)?;
    // version [0], serialNumber, signature, issuer: whatever stands before the validity.
    if fields.first() == Some(&VERSION) {
        (_, fields) = element(fields, VERSION)?;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, fields) = element(fields, tag)?;
    }
    let (validity, _) = element(fields, SEQUENCE)?;
    let (_, not_after) = any(validity)?;
    let (time, _) = any(not_after)?;
    match not_after.first() {
        Some(&UTC_TIME) => {
            // RFC 5280 §4.1.2.5.1: two digits of the year, 1950 to 2049.
            let year = digits(time.get(..2)?)?;
            moment(if year < 50 { 2000 } else { 1900_u64 }.checked_add(year)?, time.get(2..)?)
        }
        Some(&GENERALIZED_TIME) => moment(digits(time.get(..4)?)?, time.get(4..)?),
        _ => None,
    }
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The content of an element with this tag, and what lies behind it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    if der.first() == Some(&tag) { any(der) } else { None }
}

fn any(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match first.checked_sub(0x80) {
        None => (usize::from(*first), rest),
        Some(count @ 1..=4) => {
            let (bytes, rest) = rest.split_at_checked(usize::from(count))?;
            (bytes.iter().fold(0, |len: usize, byte| len << 8 | usize::from(*byte)), rest)
        }
        Some(_) => return None,
    };
    rest.split_at_checked(len)
}

fn digits(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

/// `MMDDHHMMSSZ` of a year.
fn moment(year: u64, rest: &[u8]) -> Option<u64> {
    let [fields @ .., b'Z'] = rest else { return None };
    let mut fields = fields.chunks_exact(2).map(digits);
    let mut next = |max: u64| fields.next().flatten().filter(|value| *value <= max);
    let (month, day) = (next(12)?, next(31)?);
    let (hour, minute, second) = (next(23)?, next(59)?, next(60)?);
    // Days from civil, counted from March so that the leap day is the last.
    let (year, month) =
        if month > 2 { (year, month.checked_sub(3)?) } else { (year.checked_sub(1)?, month.checked_add(9)?) };
    let leap_days = (year / 4).checked_sub(year / 100)?.checked_add(year / 400)?;
    let day_of_year = month.checked_mul(153)?.checked_add(2)?.checked_div(5)?.checked_add(day.checked_sub(1)?)?;
    let days = year.checked_mul(365)?.checked_add(leap_days)?.checked_add(day_of_year)?.checked_sub(719_468)?;
    let seconds = days.checked_mul(86_400)?.checked_add(hour.checked_mul(3600)?)?;
    seconds.checked_add(minute.checked_mul(60)?)?.checked_add(second)?.checked_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        for (year, rest, want) in [
            (1970, "0101000000Z", Some(0)),
            (2000, "0229123456Z", Some(951_827_696_000)),
            (2026, "1122151456Z", Some(1_795_360_496_000)),
            (2049, "1231235959Z", Some(2_524_607_999_000)),
            (9999, "1231235959Z", Some(253_402_300_799_000)),
            (2026, "1322151456Z", None),
            (2026, "1122151456", None),
            (2026, "11221514Z", None),
            (2026, "11 2151456Z", None),
        ] {
            assert_eq!(moment(year, rest.as_bytes()), want, "{year} {rest}");
        }
    }

    #[test]
    fn the_date_of_a_certificate() {
        for (year, month, day) in [(2031, 2, 3), (2049, 12, 31), (2050, 1, 1), (1999, 7, 8), (4096, 1, 1)] {
            let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(1990, 1, 1);
            params.not_after = rcgen::date_time_ymd(year, month, day);
            let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            let want = u64::try_from(rcgen::date_time_ymd(year, month, day).unix_timestamp()).unwrap() * 1000;
            assert_eq!(not_after_ms(made.der()), Some(want), "{year}");
            // Bytes of a stranger's file: no cut of them, and no change, does harm.
            for at in 0..made.der().len() {
                let _ = not_after_ms(&made.der()[..at]);
                let mut changed = made.der().to_vec();
                changed[at] ^= 0xff;
                let _ = not_after_ms(&changed);
            }
        }
    }
}
