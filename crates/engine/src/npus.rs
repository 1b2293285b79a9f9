//! Which NPUs belong to which instance.
//!
//! On a [`network::Machine`], NPUs are numbered topology by topology, and so group by group and member by member.

use units::{InstanceId, NpuId};

use crate::deployment::Deployment;

#[derive(Debug)]
pub(crate) struct NpuMap {
    /// By instance: its first NPU, how many it has, and where its first one is in its group.
    ranges: Vec<(u32, u32, u32)>,
    instances: Vec<InstanceId>,
}

impl NpuMap {
    pub(crate) fn new(deployment: &Deployment) -> Self {
        let mut ranges = vec![(0, 0, 0); deployment.instances.len()];
        let mut instances = Vec::new();
        for group in &deployment.groups {
            let first_of_group = instances.len() as u32;
            for &instance in &group.members {
                let num_npus = deployment.instances[instance.index()].num_npus_with_peers();
                let first = instances.len() as u32;
                ranges[instance.index()] = (first, num_npus, first - first_of_group);
                instances.extend((0..num_npus).map(|_| instance));
            }
            let num_ranks = instances.len() - first_of_group as usize;
            assert_eq!(num_ranks, group.topology.num_npus(), "a group's topology has its NPUs and no others");
        }
        Self { ranges, instances }
    }

    pub(crate) fn num_npus(&self) -> usize {
        self.instances.len()
    }

    pub(crate) fn instance_of(&self, npu: NpuId) -> InstanceId {
        self.instances[npu.index()]
    }

    /// An instance's NPUs: those that compute, then their peers.
    pub(crate) fn of(&self, instance: InstanceId) -> impl Iterator<Item = NpuId> + use<> {
        let (first, num_npus, _) = self.ranges[instance.index()];
        (first..first + num_npus).map(NpuId)
    }

    /// Where an instance's first NPU is in the topology of its group.
    pub(crate) fn rank_in_group(&self, instance: InstanceId) -> u32 {
        self.ranges[instance.index()].2
    }
}
