//! `power` of a node.

use documents::schema::{Key, Shape, Value};

use super::by_name;
use crate::power::{AMOUNT, MODULE_GIB, MOST_PARTS, SHARE};

const W: Value = Value::Number(AMOUNT);
const PARTS: Value = Value::Count { least: 0, most: MOST_PARTS };

pub(crate) const NODE: Shape = Shape::of(
    "power",
    "What the parts of a node draw, in watts.",
    &[
        Key::required("base_node_power", W, "Everything that is not one of the others."),
        Key::required("npu", Value::Object(&NPUS), "NPUs, by their type."),
        Key::required("cpu", Value::Object(&CPU), "Processors."),
        Key::required("dram", Value::Object(&DRAM), "Host memory."),
        Key::required("link", Value::Object(&LINK), "Links."),
        Key::required("nic", Value::Object(&NIC), "Network cards."),
        Key::required("storage", Value::Object(&STORAGE), "Storage devices."),
    ],
);

const NPUS: Shape = by_name("power.npu", "NPUs, by their type: the `hardware` of instances.", &Value::Object(&NPU));

pub(crate) const NPU: Shape = Shape::of(
    "power.npu.<hardware>",
    "One NPU.",
    &[
        Key::required("idle_power", W, "Watts when it is idle."),
        Key::required("standby_power", W, "Watts for a while after it computed."),
        Key::required("active_power", W, "Watts while it computes."),
        Key::required("standby_duration", W, "Seconds of standby."),
    ],
);

pub(crate) const CPU: Shape = Shape::of(
    "power.cpu",
    "The processors of a node.",
    &[
        Key::required("idle_power", W, "Watts when they are idle."),
        Key::required("active_power", W, "Watts when they are busy."),
        Key::required("util", Value::Number(SHARE), "The part of the time for which they are, from 0 to 1."),
    ],
);

pub(crate) const DRAM: Shape = Shape::of(
    "power.dram",
    "Host memory.",
    &[
        Key::optional("dimm_size", Value::Number(MODULE_GIB), "GiB of a module. Needed unless the memory computes."),
        Key::optional("idle_power", W, "Watts of a module. Needed unless the memory computes."),
        Key::required("energy_per_bit", W, "Picojoules for each bit moved."),
    ],
);

pub(crate) const LINK: Shape = Shape::of(
    "power.link",
    "Links.",
    &[
        Key::required("num_links", PARTS, "How many there are."),
        Key::required("idle_power", W, "Watts of each."),
        Key::required("energy_per_bit", W, "Picojoules for each bit moved."),
    ],
);

pub(crate) const NIC: Shape = Shape::of(
    "power.nic",
    "Network cards.",
    &[Key::required("num_nics", PARTS, "How many there are."), Key::required("idle_power", W, "Watts of each.")],
);

pub(crate) const STORAGE: Shape = Shape::of(
    "power.storage",
    "Storage devices.",
    &[Key::required("num_devices", PARTS, "How many there are."), Key::required("idle_power", W, "Watts of each.")],
);
