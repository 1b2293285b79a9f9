//! Distributions as they are typed: `kind:value,key=value,…`, such as `lognormal:median=512,sigma=1,max=8192`.
//!
//! A [`Spec`] takes such a text apart. Whoever knows the kind says which options it has, so that others are refused, and
//! takes them. Messages show what could have been written.

use documents::suggest;

/// A kind, perhaps one plain value, and options by name.
#[derive(Debug)]
pub(crate) struct Spec<'a> {
    pub(crate) kind: &'a str,
    plain: Option<&'a str>,
    options: Vec<(&'a str, &'a str)>,
}

pub(crate) type Result<T> = std::result::Result<T, String>;

impl<'a> Spec<'a> {
    /// Takes `text` apart.
    ///
    /// # Errors
    /// When an option has no name or stands there twice.
    pub(crate) fn new(text: &'a str) -> Result<Self> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let mut spec = Self { kind: kind.trim(), plain: None, options: Vec::new() };
        spec.read(rest)?;
        Ok(spec)
    }

    /// Takes a list of options without a kind apart.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn options(text: &'a str) -> Result<Self> {
        let mut spec = Self { kind: "", plain: None, options: Vec::new() };
        spec.read(text)?;
        Ok(spec)
    }

    fn read(&mut self, text: &'a str) -> Result<()> {
        for (index, part) in text.split(',').enumerate() {
            match part.split_once('=') {
                Some((name, value)) => {
                    let name = name.trim();
                    if self.options.iter().any(|&(known, _)| known == name) {
                        return Err(format!("`{name}` stands here twice"));
                    }
                    self.options.push((name, value.trim()));
                }
                None if part.trim().is_empty() && index == 0 => {}
                None if index == 0 => self.plain = Some(part.trim()),
                None => return Err(format!("expected `name=value` after the comma, found `{part}`")),
            }
        }
        Ok(())
    }

    /// The value that stands without a name.
    pub(crate) fn plain(&mut self) -> Option<&'a str> {
        self.plain.take()
    }

    /// Says which options there are.
    ///
    /// # Errors
    /// When there is another one.
    pub(crate) fn allow(&self, known: &[&str]) -> Result<()> {
        match self.options.iter().find(|(name, _)| !known.contains(name)) {
            Some((name, _)) if known.is_empty() => Err(format!("`{}` takes no option `{name}`", self.kind)),
            Some((name, _)) => Err(format!("unknown option `{name}`, {}", suggest::hint(name, known))),
            None => Ok(()),
        }
    }

    /// The value of option `name`, read with `read`.
    ///
    /// # Errors
    /// When it can't be read.
    pub(crate) fn option<T>(&mut self, name: &'static str, read: impl Fn(&str) -> Result<T>) -> Result<Option<T>> {
        let Some(at) = self.options.iter().position(|&(known, _)| known == name) else { return Ok(None) };
        let (_, value) = self.options.remove(at);
        read(value).map(Some).map_err(|message| format!("`{name}`: {message}"))
    }

    /// The same, of an option that must be there.
    ///
    /// # Errors
    /// As [`option`](Self::option), and when it is not there.
    pub(crate) fn required<T>(&mut self, name: &'static str, read: impl Fn(&str) -> Result<T>) -> Result<T> {
        self.option(name, read)?.ok_or_else(|| format!("`{name}=` is missing"))
    }

    /// The plain value, which must be there.
    ///
    /// # Errors
    /// When it is not there, or can't be read.
    pub(crate) fn value<T>(&mut self, wanted: &str, read: impl Fn(&str) -> Result<T>) -> Result<T> {
        let text = self.plain().ok_or_else(|| format!("{wanted} is missing after `{}:`", self.kind))?;
        read(text)
    }

    /// To be asked at the end: whether a plain value is left that nobody took.
    ///
    /// # Errors
    /// When there is one.
    pub(crate) fn finish(self) -> Result<()> {
        match self.plain {
            Some(plain) => Err(format!("expected `name=value`, found `{plain}`")),
            None => Ok(()),
        }
    }

    /// The message that nobody knows the kind.
    pub(crate) fn unknown_kind(&self, known: &[&str]) -> String {
        match self.kind {
            "" => format!("no kind is given, {}", suggest::hint("", known)),
            kind => format!("unknown kind `{kind}`, {}", suggest::hint(kind, known)),
        }
    }
}

/// A message with what can be written below it, each with what it means.
pub(crate) fn with_forms(message: String, forms: &[(&str, &str)]) -> String {
    let width = forms.iter().map(|(form, _)| form.len()).max().unwrap_or(0);
    let lines = forms.iter().map(|(form, meaning)| format!("\n    {form:<width$}  {meaning}"));
    format!("{message}\n  possible are:{}", lines.collect::<String>())
}

/// A number above 0.
///
/// # Errors
/// When it is none.
pub fn positive(text: &str) -> Result<f64> {
    let sound = text.parse().ok().filter(|&number: &f64| number > 0.0 && number <= 1e12);
    sound.ok_or_else(|| format!("expected a number above 0, found `{text}`"))
}

/// A number from 0.
pub(crate) fn from_zero(text: &str) -> Result<f64> {
    let sound = text.parse().ok().filter(|number| (0.0..=1e12).contains(number));
    sound.ok_or_else(|| format!("expected a number from 0, found `{text}`"))
}

/// A share: from 0 to 1.
pub(crate) fn share(text: &str) -> Result<f64> {
    let sound = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    sound.ok_or_else(|| format!("expected a share from 0 to 1, found `{text}`"))
}

/// Most tokens of one request: what a workload may hold.
pub(crate) const TOKENS_MAX: u64 = u32::MAX as u64;

/// A count from 1.
///
/// # Errors
/// When it is none, or above what a workload holds.
pub fn count(text: &str) -> Result<u64> {
    let sound = text.parse().ok().filter(|number| (1..=TOKENS_MAX).contains(number));
    sound.ok_or_else(|| format!("expected a whole number from 1 to {TOKENS_MAX}, found `{text}`"))
}

/// A rate: so many a second, minute or hour.
pub(crate) fn rate_per_s(text: &str) -> Result<f64> {
    let wanted = || format!("expected a rate such as `10/s`, `600/min` or `1000/h`, found `{text}`");
    let (number, unit) = text.split_once('/').ok_or_else(wanted)?;
    let seconds = match unit.trim() {
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wanted()),
    };
    let rate = number.trim().parse::<f64>().map_err(|_| wanted())? / seconds;
    if !(0.0..=1e9).contains(&rate) {
        return Err(format!("expected a rate from 0 to 1000000000/s, found `{text}`"));
    }
    Ok(rate)
}

/// Longest time that can be typed: 31 years.
const SECONDS_MAX: f64 = 1e9;

/// A length of time such as `500ms`, `10s`, `5min` or `1h`, in seconds.
///
/// # Errors
/// When it is none, or has no unit.
pub fn seconds(text: &str) -> Result<f64> {
    let wanted = || format!("expected a time such as `500ms`, `10s`, `5min` or `1h`, found `{text}`");
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(wanted()),
    };
    let seconds = digits.trim().parse::<f64>().map_err(|_| wanted())? * unit;
    if (0.0..=SECONDS_MAX).contains(&seconds) { Ok(seconds) } else { Err(wanted()) }
}

/// A length of time above 0, in seconds.
pub(crate) fn some_seconds(text: &str) -> Result<f64> {
    match seconds(text)? {
        0.0 => Err("expected a time above 0".to_owned()),
        seconds => Ok(seconds),
    }
}

/// `FIRST..LAST`, both read with `read`, the first not above the last.
pub(crate) fn range<T: PartialOrd>(text: &str, read: impl Fn(&str) -> Result<T>) -> Result<(T, T)> {
    let wanted = || format!("expected a range such as `A..B`, found `{text}`");
    let (first, last) = text.split_once("..").ok_or_else(wanted)?;
    let (first, last) = (read(first.trim())?, read(last.trim_start_matches('=').trim())?);
    if first <= last { Ok((first, last)) } else { Err(format!("in `{text}` the first is above the last")) }
}
