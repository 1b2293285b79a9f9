//! The servingsim command.

fn main() {}
