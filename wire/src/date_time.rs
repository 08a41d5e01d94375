//! Moments as text: XEP-0082 DateTime, which is RFC 3339 in UTC.

/// Appends a moment, given in milliseconds since 1970, as a XEP-0082 DateTime in UTC.
pub fn write(ms: u64, out: &mut Vec<u8>) {
    /// The last millisecond of the year 9999, whose form has no room for more.
    const LAST_MS: u64 = 253_402_300_799_999;
    let ms = ms.min(LAST_MS);
    let (days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    // Years are counted from March, so that the day that comes and goes is their last one; 400 of them are an era.
    let since_0000_03 = days.saturating_add(719_468);
    let (era, of_era) = (since_0000_03 / 146_097, since_0000_03 % 146_097);
    let leap_days = (of_era / 1_460).saturating_add(of_era / 146_096).saturating_sub(of_era / 36_524);
    let year_of_era = of_era.saturating_sub(leap_days) / 365;
    let days_before = year_of_era.saturating_mul(365).saturating_add(year_of_era / 4).saturating_sub(year_of_era / 100);
    let day_of_year = of_era.saturating_sub(days_before);
    let month_from_march = day_of_year.saturating_mul(5).saturating_add(2) / 153;
    let day = day_of_year.saturating_sub(month_from_march.saturating_mul(153).saturating_add(2) / 5).saturating_add(1);
    let month = if month_from_march < 10 { month_from_march.saturating_add(3) } else { month_from_march - 9 };
    let year = era.saturating_mul(400).saturating_add(year_of_era).saturating_add(u64::from(month <= 2));
    digits(year, 4, out);
    out.push(b'-');
    digits(month, 2, out);
    out.push(b'-');
    digits(day, 2, out);
    out.push(b'T');
    digits(in_day / 3_600_000, 2, out);
    out.push(b':');
    digits(in_day / 60_000 % 60, 2, out);
    out.push(b':');
    digits(in_day / 1_000 % 60, 2, out);
    out.push(b'.');
    digits(in_day % 1_000, 3, out);
    out.push(b'Z');
}

/// A moment as a text of its own.
pub fn text(ms: u64) -> String {
    let mut out = Vec::with_capacity(24);
    write(ms, &mut out);
    // Digits and punctuation only.
    out.into_iter().map(char::from).collect()
}

fn digits(value: u64, count: u32, out: &mut Vec<u8>) {
    for place in (0..count).rev() {
        out.push(b'0' | (value / 10u64.pow(place) % 10) as u8);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn stamps() {
        let stamp = super::text;
        assert_eq!(stamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(stamp(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(stamp(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(stamp(951_868_800_000), "2000-03-01T00:00:00.000Z");
        assert_eq!(stamp(1_709_164_800_000), "2024-02-29T00:00:00.000Z");
        assert_eq!(stamp(1_735_689_599_999), "2024-12-31T23:59:59.999Z");
        assert_eq!(stamp(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(stamp(u64::MAX), "9999-12-31T23:59:59.999Z");

        let mut day = 0u64;
        for year in 1970..2801u64 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            for (month, length) in (1..).zip([31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
                for of_month in 1..=length {
                    let expected = format!("{year:04}-{month:02}-{of_month:02}T12:34:56.789Z");
                    assert_eq!(stamp(day * 86_400_000 + 45_296_789), expected);
                    day += 1;
                }
            }
        }
    }
}
