//! Times as text, to whole nanoseconds, exactly.

/// A decimal number such as `12.5`, times ten to the `power`, rounded to a whole number. `None` if it is no such number,
/// negative, or 2^62 and more.
pub(crate) fn scaled(text: &str, power: u32) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_plain(whole) || !is_plain(fraction) || (whole.is_empty() && fraction.is_empty()) {
        // With an exponent, as programs write very large and very small numbers.
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)?;
        let is_exponential = text.contains(['e', 'E']);
        let value = (number * 10_f64.powi(power as i32)).round();
        return (is_exponential && value < LIMIT as f64).then_some(value as u64);
    }
    let mut value: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut digits = fraction.bytes();
    for _ in 0..power {
        let digit = u64::from(digits.next().unwrap_or(b'0') - b'0');
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    let rounds_up = digits.next().is_some_and(|digit| digit >= b'5');
    Some(value + u64::from(rounds_up)).filter(|&value| value < LIMIT)
}

/// As late as a workload can hold.
const LIMIT: u64 = 1 << 62;

/// A date and time of day, such as `2023-11-16 18:17:03.9799600` or `2024-05-10 00:00:00.009930+00:00`, in nanoseconds
/// from 1970. What is after the fraction is the distance from UTC.
pub(crate) fn date_ns(text: &str) -> Option<u64> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (Some(year), Some(month), Some(day), None) = (date.next()?, date.next()?, date.next()?, date.next()) else {
        return None;
    };
    let (time, offset_s) = match time.strip_suffix('Z').or_else(|| time.strip_suffix(" UTC")) {
        Some(time) => (time, 0),
        None => match time.rfind(['+', '-']) {
            Some(at) => (&time[..at], offset_s(&time[at..])?),
            None => (time, 0),
        },
    };
    let mut parts = time.splitn(3, ':');
    let (hour, minute): (i64, i64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let second_ns = scaled(parts.next()?, 9)?;
    let is_date = (1970..2200).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_date || !(0..24).contains(&hour) || !(0..60).contains(&minute) || second_ns >= 61_000_000_000 {
        return None;
    }
    let minutes = days_since_1970(year, month, day) * 24 * 60 + hour * 60 + minute;
    let seconds = u64::try_from(minutes * 60 - offset_s).ok()?;
    Some(seconds.checked_mul(1_000_000_000)? + second_ns).filter(|&ns| ns < LIMIT)
}

fn offset_s(text: &str) -> Option<i64> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits: String = text[1..].chars().filter(|letter| *letter != ':').collect();
    let (hours, minutes) = match digits.len() {
        2 => (digits.parse::<i64>().ok()?, 0),
        4 => (digits[..2].parse::<i64>().ok()?, digits[2..].parse::<i64>().ok()?),
        _ => return None,
    };
    Some(sign * (hours * 60 + minutes) * 60)
}

/// Days of the Gregorian calendar. Years are counted from March, so that leap days come last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days_before_month = (153 * month + 2) / 5;
    year * 365 + year / 4 - year / 100 + year / 400 + days_before_month + day - 719_469
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals() {
        #[track_caller]
        fn check(text: &str, power: u32, expected: Option<u64>) {
            assert_eq!(scaled(text, power), expected, "{text}");
        }
        check("12.5", 9, Some(12_500_000_000));
        check("19440110.0", 9, Some(19_440_110_000_000_000));
        check("0.1234567895", 9, Some(123_456_790));
        check("1699999999.123456789", 9, Some(1_699_999_999_123_456_789));
        check(".5", 3, Some(500));
        check("7", 0, Some(7));
        check("1e-3", 9, Some(1_000_000));
        check("2.5E3", 0, Some(2_500));
        for bad in ["", ".", "-1", "1,5", "inf", "nan", "1e400", "9999999999999", "0x10", "+1"] {
            check(bad, 9, None);
        }
    }

    /// As `date -u -d … +%s` has them.
    #[test]
    fn dates() {
        #[track_caller]
        fn check(text: &str, expected: Option<u64>) {
            assert_eq!(date_ns(text), expected, "{text}");
        }
        check("1970-01-01 00:00:00", Some(0));
        check("2023-11-16 18:17:03.9799600", Some(1_700_158_623_979_960_000));
        check("2024-05-10 00:00:00.009930+00:00", Some(1_715_299_200_009_930_000));
        check("2024-02-29T12:00:00Z", Some(1_709_208_000_000_000_000));
        check("2024-03-01 00:30:00+02:00", Some(1_709_245_800_000_000_000));
        check("2000-03-01 00:00:00-0130", Some(951_874_200_000_000_000));
        for bad in ["", "2023-11-16", "2023-13-01 00:00:00", "2023-11-16 24:00:00", "16.11.2023 18:17:03", "12.5"] {
            check(bad, None);
        }
    }
}
