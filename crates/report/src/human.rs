//! Numbers as people read them.

/// Bytes in powers of 1024, which is how memory sizes are given: `512 KB`, `81.2 GB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let (number, prefix) = scaled(bytes as f64, 1024.0);
    format!("{number} {}B", prefix.to_uppercase())
}

/// A count or rate in powers of 1000: `520`, `1.4k`, `2M`.
pub(crate) fn count(count: f64) -> String {
    let (number, prefix) = scaled(count, 1000.0);
    format!("{number}{prefix}")
}

/// A whole number with its thousands apart: `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A part of a whole, from 0 to 1, in percent: `4.8 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Three digits at most before the prefix, one of them after the point where there is room and it is not zero.
fn scaled(mut value: f64, base: f64) -> (String, &'static str) {
    let mut prefixes = ["", "k", "M", "G", "T", "P"].into_iter();
    let mut prefix = prefixes.next().unwrap_or_default();
    // By the rounded value, so that 999.7 becomes 1k and not 1000.
    while value.round() >= base
        && let Some(next) = prefixes.next()
    {
        value /= base;
        prefix = next;
    }
    let number = if value < 99.95 { format!("{value:.1}") } else { format!("{value:.0}") };
    let number = number.strip_suffix(".0").unwrap_or(&number).to_owned();
    (number, prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_by_1024() {
        let check = |number, expected: &str| assert_eq!(bytes(number), expected);
        check(0, "0 B");
        check(1_000, "1000 B");
        check(1_024, "1 KB");
        check(1_536, "1.5 KB");
        check(512 << 10, "512 KB");
        check((1 << 20) - 1, "1 MB");
        check(87_187_835_617, "81.2 GB");
        check(3 << 40, "3 TB");
        check(u64::MAX, "16384 PB");
    }

    #[test]
    fn counts_by_1000() {
        let check = |number, expected: &str| assert_eq!(count(number), expected);
        check(0.0, "0");
        check(0.04, "0");
        check(2.5, "2.5");
        check(99.94, "99.9");
        check(99.96, "100");
        check(520.4, "520");
        check(999.4, "999");
        check(999.7, "1k");
        check(1_400.0, "1.4k");
        check(21_249.0, "21.2k");
        check(1_960_000.0, "2M");
    }

    #[test]
    fn thousands_apart() {
        let check = |number, expected: &str| assert_eq!(grouped(number), expected);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(123_456, "123,456");
        check(u64::MAX, "18,446,744,073,709,551,615");
    }
}
