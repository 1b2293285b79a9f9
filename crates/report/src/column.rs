//! A column of a file that is written: the table that headers and reference pages share.

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, as the header has it.
    pub name: &'static str,
    /// Its unit; empty where it has none.
    pub unit: &'static str,
    /// What it means.
    pub about: &'static str,
    /// In rows of which scopes it is filled, where a file has several.
    pub scopes: &'static [&'static str],
}

impl Column {
    /// A column of a file whose rows are all of one kind.
    pub const fn new(name: &'static str, unit: &'static str, about: &'static str) -> Self {
        Self { name, unit, about, scopes: &[] }
    }

    /// A column that rows of these scopes fill.
    pub const fn of(
        scopes: &'static [&'static str],
        name: &'static str,
        unit: &'static str,
        about: &'static str,
    ) -> Self {
        Self { name, unit, about, scopes }
    }
}
