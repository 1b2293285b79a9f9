//! What a node draws, as its cluster file says. The engine does not count energy; observers do, from what it reports.

/// What one node's components draw.
#[derive(Clone, Debug, PartialEq)]
pub struct NodePower {
    /// Watts of everything not named below.
    pub base_w: f64,
    /// Its NPUs, by type of hardware.
    pub npus: Vec<NpuPower>,
    /// Its processors.
    pub cpu: CpuPower,
    /// Its memory.
    pub dram: DramPower,
    /// Watts of all links when nothing moves.
    pub link_idle_w: f64,
    /// Picojoules for each bit over a link.
    pub link_pj_per_bit: f64,
    /// Watts of all network cards.
    pub nic_w: f64,
    /// Watts of all storage devices.
    pub storage_w: f64,
}

/// NPUs of one type on one node.
#[derive(Clone, Debug, PartialEq)]
pub struct NpuPower {
    /// The type.
    pub hardware: String,
    /// How many there are.
    pub count: u32,
    /// Watts of one when idle.
    pub idle_w: f64,
    /// Watts of one between two steps.
    pub standby_w: f64,
    /// Watts of one that computes.
    pub active_w: f64,
    /// Seconds after its last step at which one goes from standby to idle.
    pub standby_s: f64,
}

/// The processors of one node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuPower {
    /// Watts when idle.
    pub idle_w: f64,
    /// Watts when busy.
    pub active_w: f64,
    /// The part of them that is always busy, from 0 to 1.
    pub utilization: f64,
}

/// The memory of one node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DramPower {
    /// Watts of all modules when nothing moves.
    pub idle_w: f64,
    /// Picojoules for each bit moved.
    pub pj_per_bit: f64,
    /// Watts that a channel draws, over idle, while it computes attention; 0 without processing in memory.
    pub pim_active_w: f64,
}
