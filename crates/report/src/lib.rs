//! Result files and console texts.
