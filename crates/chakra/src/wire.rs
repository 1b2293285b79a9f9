//! The messages as they stand in a file.
//!
//! Field numbers and types are those of Chakra's protobuf schema. Fields that nothing here reads are left out, which
//! makes the decoder skip them: a node's start time, inputs and outputs, an attribute's description, and all lists but
//! the one of booleans.

/// The first message of a file.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct GlobalMetadata {
    #[prost(string, tag = "1")]
    pub(crate) version: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) attributes: Vec<Attribute>,
}

/// Each further message.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Node {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    /// An open enumeration: what a number means is for [`crate::Numbering`] to say.
    #[prost(int32, tag = "3")]
    pub(crate) kind: i32,
    #[prost(uint64, repeated, tag = "4")]
    pub(crate) ctrl_deps: Vec<u64>,
    #[prost(uint64, repeated, tag = "5")]
    pub(crate) data_deps: Vec<u64>,
    /// Nanoseconds, whatever the format calls them.
    #[prost(uint64, tag = "7")]
    pub(crate) duration_micros: u64,
    #[prost(message, repeated, tag = "10")]
    pub(crate) attributes: Vec<Attribute>,
}

/// A named value.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Attribute {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// `None` also where the file has a list that is left out below.
    #[prost(oneof = "Value", tags = "3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 28, 29, 31")]
    pub(crate) value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Value {
    #[prost(double, tag = "3")]
    Double(f64),
    #[prost(float, tag = "5")]
    Float(f32),
    #[prost(int32, tag = "7")]
    Int32(i32),
    #[prost(int64, tag = "9")]
    Int64(i64),
    #[prost(uint32, tag = "11")]
    Uint32(u32),
    #[prost(uint64, tag = "13")]
    Uint64(u64),
    #[prost(sint32, tag = "15")]
    Sint32(i32),
    #[prost(sint64, tag = "17")]
    Sint64(i64),
    #[prost(fixed32, tag = "19")]
    Fixed32(u32),
    #[prost(fixed64, tag = "21")]
    Fixed64(u64),
    #[prost(sfixed32, tag = "23")]
    Sfixed32(i32),
    #[prost(sfixed64, tag = "25")]
    Sfixed64(i64),
    #[prost(bool, tag = "27")]
    Bool(bool),
    #[prost(message, tag = "28")]
    BoolList(BoolList),
    #[prost(string, tag = "29")]
    String(String),
    #[prost(bytes = "vec", tag = "31")]
    Bytes(Vec<u8>),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct BoolList {
    #[prost(bool, repeated, tag = "1")]
    pub(crate) values: Vec<bool>,
}

impl Attribute {
    /// The value, if it is a whole number of any type.
    pub(crate) fn integer(&self) -> Option<i128> {
        match *self.value.as_ref()? {
            Value::Int32(value) | Value::Sint32(value) | Value::Sfixed32(value) => Some(value.into()),
            Value::Int64(value) | Value::Sint64(value) | Value::Sfixed64(value) => Some(value.into()),
            Value::Uint32(value) | Value::Fixed32(value) => Some(value.into()),
            Value::Uint64(value) | Value::Fixed64(value) => Some(value.into()),
            _ => None,
        }
    }

    /// The kind of value, with its article.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            None => "empty or a list",
            Some(Value::Double(_) | Value::Float(_)) => "a floating-point number",
            Some(Value::Bool(_)) => "a boolean",
            Some(Value::BoolList(_)) => "a list of booleans",
            Some(Value::String(_)) => "a string",
            Some(Value::Bytes(_)) => "raw bytes",
            Some(_) => "an integer",
        }
    }
}
