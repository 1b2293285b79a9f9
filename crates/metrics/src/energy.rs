//! Joules, by who used them and on what.

use std::array;
use std::iter::Sum;
use std::ops::{Add, Sub};

use units::Duration;

/// What draws power in a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// Everything that is not one of the others.
    Base,
    /// NPUs.
    Npu,
    /// Processors.
    Cpu,
    /// Host memory, and the processing in it.
    Dram,
    /// Links.
    Link,
    /// Network cards.
    Nic,
    /// Storage devices.
    Storage,
}

impl Component {
    /// Every component, in the order in which they are shown.
    pub const ALL: [Component; 7] = [
        Component::Base,
        Component::Npu,
        Component::Cpu,
        Component::Dram,
        Component::Link,
        Component::Nic,
        Component::Storage,
    ];
}

/// Joules by component.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Energy {
    /// In the order of [`Component::ALL`].
    pub(crate) joules: [f64; Component::ALL.len()],
    /// Joules that standby added to what the NPUs would have used idling; part of theirs.
    pub npu_standby_j: f64,
}

impl Energy {
    /// Joules of one component.
    pub fn of(&self, component: Component) -> f64 {
        self.joules[component as usize]
    }

    /// Joules of all components.
    pub fn total_j(&self) -> f64 {
        self.joules.iter().sum()
    }

    /// Mean power of all components over so long a time, in watts; 0 for no time.
    pub fn mean_w(&self, length: Duration) -> f64 {
        mean_w(self.total_j(), length)
    }

    /// Mean power of one component over so long a time, in watts; 0 for no time.
    pub fn mean_w_of(&self, component: Component, length: Duration) -> f64 {
        mean_w(self.of(component), length)
    }
}

fn mean_w(joules: f64, length: Duration) -> f64 {
    if length == Duration::ZERO { 0.0 } else { joules / length.secs_f64() }
}

impl Add for Energy {
    type Output = Energy;
    fn add(self, rhs: Energy) -> Energy {
        Energy {
            joules: array::from_fn(|index| self.joules[index] + rhs.joules[index]),
            npu_standby_j: self.npu_standby_j + rhs.npu_standby_j,
        }
    }
}

impl Sub for Energy {
    type Output = Energy;
    fn sub(self, rhs: Energy) -> Energy {
        Energy {
            joules: array::from_fn(|index| self.joules[index] - rhs.joules[index]),
            npu_standby_j: self.npu_standby_j - rhs.npu_standby_j,
        }
    }
}

impl Sum for Energy {
    fn sum<I: Iterator<Item = Energy>>(energies: I) -> Energy {
        energies.fold(Energy::default(), Add::add)
    }
}

/// What a [`PowerMeter`](crate::PowerMeter) shows at some instant, or the difference between two such.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PowerReading {
    /// All that a node used, by node.
    pub nodes: Vec<Energy>,
    /// What an instance's own NPUs used, and what its steps added to its node's processors, memory and links, by
    /// instance. It is in its node's energy too.
    pub instances: Vec<Energy>,
}

impl PowerReading {
    /// What was used since an `earlier` reading.
    pub fn since(&self, earlier: &PowerReading) -> PowerReading {
        let differences =
            |now: &[Energy], then: &[Energy]| now.iter().zip(then).map(|(&now, &then)| now - then).collect();
        PowerReading {
            nodes: differences(&self.nodes, &earlier.nodes),
            instances: differences(&self.instances, &earlier.instances),
        }
    }

    /// What all nodes used.
    pub fn cluster(&self) -> Energy {
        self.nodes.iter().copied().sum()
    }
}
