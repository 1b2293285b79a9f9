//! Development tasks: set-up and tests.

fn main() {}
