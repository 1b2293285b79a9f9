//! A node's attributes by name.

use crate::wire::Attribute;

/// The attributes that mean something here. Of several with one name, the last counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attributes<'a> {
    pub(crate) is_cpu_op: Option<&'a Attribute>,
    pub(crate) num_ops: Option<&'a Attribute>,
    pub(crate) tensor_size: Option<&'a Attribute>,
    pub(crate) tensor_loc: Option<&'a Attribute>,
    pub(crate) tensor_device: Option<&'a Attribute>,
    pub(crate) tensor_channel: Option<&'a Attribute>,
    pub(crate) comm_type: Option<&'a Attribute>,
    pub(crate) comm_size: Option<&'a Attribute>,
    pub(crate) comm_src: Option<&'a Attribute>,
    pub(crate) comm_dst: Option<&'a Attribute>,
    pub(crate) comm_tag: Option<&'a Attribute>,
    pub(crate) comm_priority: Option<&'a Attribute>,
    pub(crate) involved_dim: Option<&'a Attribute>,
    pub(crate) pg_name: Option<&'a Attribute>,
}

impl<'a> Attributes<'a> {
    pub(crate) fn of(attributes: &'a [Attribute]) -> Self {
        let mut known = Self::default();
        for attribute in attributes {
            let slot = match attribute.name.as_str() {
                "is_cpu_op" => &mut known.is_cpu_op,
                "num_ops" => &mut known.num_ops,
                "tensor_size" => &mut known.tensor_size,
                "tensor_loc" => &mut known.tensor_loc,
                "tensor_device" => &mut known.tensor_device,
                "tensor_channel" => &mut known.tensor_channel,
                "comm_type" => &mut known.comm_type,
                "comm_size" => &mut known.comm_size,
                "comm_src" => &mut known.comm_src,
                "comm_dst" => &mut known.comm_dst,
                "comm_tag" => &mut known.comm_tag,
                "comm_priority" => &mut known.comm_priority,
                "involved_dim" => &mut known.involved_dim,
                "pg_name" => &mut known.pg_name,
                _ => continue,
            };
            *slot = Some(attribute);
        }
        known
    }

    /// Whether there is any attribute of messages or collectives.
    pub(crate) fn communicates(&self) -> bool {
        let all = [
            self.comm_type,
            self.comm_size,
            self.comm_src,
            self.comm_dst,
            self.comm_tag,
            self.comm_priority,
            self.involved_dim,
            self.pg_name,
        ];
        all.iter().any(Option::is_some)
    }
}
