//! Clusters in the few numbers that matter, and the deployments they stand for.
//!
//! What must fit together is derived, not drawn: degrees follow the rules of a cluster file (behaviour contract,
//! section 2), and limits are stated as what is spare beyond what the largest request needs, so that every plan is one
//! that a run can finish.

use std::sync::Arc;

use engine::{
    All2AllBackend, CaptureSizes, Deployment, Engine, Entry, GroupSpec, InstanceSpec, KvSpec, Polling, RequestRouting,
    Role, RunOptions, SchedulerSpec, TierSpec,
};
use model::{Architecture, Experts, Model};
use moe::ExpertRouting;
use network::{
    CollectiveKind, Curve, DimMask, Dimension, Measured, Memory, MemoryDevices, NetworkModel, System, Topology,
};
use units::{Duration, GroupId, InstanceId, NodeId};

use super::features::{OneExpert, PimPlan, PlacementPlan, TierPlan, TierSharing, npu_memory, pool};
use super::latency::Affine;

pub(crate) const ELEMENT_BYTES: u64 = 2;
pub(crate) const HIDDEN_SIZE: u64 = 96;
pub(crate) const ENDPOINT_DELAY_NS: u64 = 10;
pub(crate) const LOCAL_MEMORY_GB_PER_S: u64 = 100;

#[derive(Clone, Debug)]
pub(crate) struct ClusterPlan {
    pub(crate) groups: Vec<GroupPlan>,
    /// Whether instance ids go round the groups instead of through one after the other.
    pub(crate) interleaved: bool,
    pub(crate) num_nodes: u32,
    pub(crate) link_gib_per_s: f64,
    pub(crate) link_latency_ns: f64,
    /// Whether messages slow each other down.
    pub(crate) network_model: NetworkModel,
    /// Whether some collectives are read off measured curves.
    pub(crate) is_measured: bool,
    pub(crate) host_gb_per_s: f64,
    pub(crate) host_latency_ns: f64,
    pub(crate) tier_sharing: TierSharing,
    /// Whether requests bring the KV of their prompts along.
    pub(crate) skips_prefill: bool,
    pub(crate) options: RunOptions,
}

#[derive(Clone, Debug)]
pub(crate) struct GroupPlan {
    pub(crate) tp: u32,
    pub(crate) pp: u32,
    /// Of a lone instance.
    pub(crate) role: Role,
    /// Blocks of the model, raised to one a pipeline stage.
    pub(crate) num_blocks: u64,
    /// Whether queries and keys are normed, as in Qwen 3.
    pub(crate) qk_norm: bool,
    pub(crate) experts: Option<ExpertPlan>,
    /// Whether all tokens take the same expert, whatever the run's policy.
    pub(crate) takes_one_expert: bool,
    pub(crate) members: Vec<MemberPlan>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpertPlan {
    /// Expert-parallel ranks of each member, cut to its number of NPUs.
    pub(crate) local_ep: u32,
    /// Experts in a block, raised to the next multiple of the number of ranks.
    pub(crate) count: u32,
    pub(crate) per_token: u32,
}

/// What members of a group need not agree on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemberPlan {
    /// Its node, counted round.
    pub(crate) node: u32,
    pub(crate) latency: Affine,
    pub(crate) max_num_seqs: Option<u64>,
    /// Token budget of a step; without chunked prefill, on top of the longest prompt.
    pub(crate) step_tokens: u64,
    pub(crate) long_prefill_token_threshold: u64,
    pub(crate) chunked_prefill: bool,
    pub(crate) reserve_full_isl: bool,
    pub(crate) block_size: u32,
    /// Blocks beyond those that the longest sequence takes.
    pub(crate) spare_kv_blocks: u32,
    pub(crate) prefix_caching: bool,
    pub(crate) block_copy: bool,
    pub(crate) placement: PlacementPlan,
    /// Without effect where nothing is cached on the NPU.
    pub(crate) tier: Option<TierPlan>,
    pub(crate) pim: Option<PimPlan>,
}

impl Default for MemberPlan {
    /// A member that has plenty of everything, and no prefix cache.
    fn default() -> Self {
        Self {
            node: 0,
            latency: Affine::default(),
            max_num_seqs: None,
            step_tokens: 8192,
            long_prefill_token_threshold: 0,
            chunked_prefill: true,
            reserve_full_isl: true,
            block_size: 16,
            spare_kv_blocks: 100_000,
            prefix_caching: false,
            block_copy: true,
            placement: PlacementPlan::default(),
            tier: None,
            pim: None,
        }
    }
}

impl Default for GroupPlan {
    /// A dense model of two blocks on one instance of one NPU.
    fn default() -> Self {
        Self {
            tp: 1,
            pp: 1,
            role: Role::Whole,
            num_blocks: 2,
            qk_norm: false,
            experts: None,
            takes_one_expert: false,
            members: vec![MemberPlan::default()],
        }
    }
}

impl GroupPlan {
    /// A dense model of two blocks on one instance of `tp` NPUs.
    pub(crate) fn dense(tp: u32) -> Self {
        Self { tp, ..Self::default() }
    }

    fn ep(&self) -> u32 {
        self.local_ep() * self.experts.map_or(1, |_| self.members.len() as u32)
    }

    fn local_ep(&self) -> u32 {
        self.experts.map_or(1, |experts| experts.local_ep.min(self.tp))
    }

    fn num_blocks(&self) -> u64 {
        self.num_blocks.max(u64::from(self.pp))
    }

    /// NPUs of each member along the dimensions of the group's topology: tensor parallelism, stages, members. A lone
    /// instance has its stages, and its peers as so many more, in the second dimension, or in the first where there is no
    /// tensor parallelism.
    fn dims(&self) -> Vec<u32> {
        let sides = if self.role == Role::Prefill { 2 } else { 1 };
        let mut dims = match (self.members.len() as u32, self.tp) {
            (1, 1) => vec![self.pp, sides],
            (1, tp) => vec![tp, self.pp * sides],
            (size, tp) if self.pp == 1 => vec![tp, size],
            (size, tp) => vec![tp, self.pp, size],
        };
        while dims.len() > 1 && dims.last() == Some(&1) {
            dims.pop();
        }
        dims
    }

    fn model(&self) -> Model {
        let experts = self.experts.map(|plan| Experts {
            count: plan.count.next_multiple_of(self.ep()),
            per_token: plan.per_token,
            intermediate_size: 48,
        });
        let model_type = match (experts, self.qk_norm) {
            (None, false) => "llama",
            (None, true) => "qwen3",
            (Some(_), false) => "mixtral",
            (Some(_), true) => "qwen3_moe",
        };
        Model {
            name: "small".to_owned(),
            model_type: model_type.to_owned(),
            hidden_size: HIDDEN_SIZE,
            num_hidden_layers: self.num_blocks(),
            num_attention_heads: 12,
            num_key_value_heads: 6,
            head_dim: 8,
            intermediate_size: 192,
            vocab_size: 1000,
            max_position_embeddings: 4096,
            experts,
            torch_dtype: None,
        }
    }

    /// Which dimensions collectives involve: experts reach across members unless their ranks fit into one, and never
    /// across stages.
    fn masks(&self) -> (DimMask, DimMask) {
        let (in_stage, over_members) = (self.ep() <= self.tp || self.tp > 1, self.ep() > self.tp);
        let experts: &[bool] = if self.pp == 1 { &[in_stage, over_members] } else { &[in_stage, false, over_members] };
        (DimMask::new(&[true]), DimMask::new(experts))
    }
}

/// Curves of all-gathers in every dimension, and of all-reduces in the first.
fn measured() -> Measured {
    let mut measured = Measured::default();
    let curve = |base_ns: f64| Curve::new(vec![(64, base_ns), (4096, 3.0 * base_ns)]);
    for dim in 0..3 {
        measured.set(dim, CollectiveKind::AllGather, curve(700.0));
    }
    measured.set(0, CollectiveKind::AllReduce, curve(1100.0));
    measured
}

impl ClusterPlan {
    /// These groups on one node, with free links and host memory: only operators take time.
    pub(crate) fn new(groups: Vec<GroupPlan>) -> Self {
        Self {
            groups,
            interleaved: false,
            num_nodes: 1,
            link_gib_per_s: 1e9,
            link_latency_ns: 0.0,
            network_model: NetworkModel::Unaware,
            is_measured: false,
            host_gb_per_s: 1e9,
            host_latency_ns: 0.0,
            tier_sharing: TierSharing::Nobody,
            skips_prefill: false,
            options: RunOptions {
                request_routing: RequestRouting::Load,
                expert_routing: moe::Policy::Balanced,
                all2all_backend: All2AllBackend::AllGatherReduceScatter,
                polling: Polling::Exact,
                engine: Engine::Reference,
                log_interval: Duration::from_ns(1_000_000_000),
                seed: 1,
            },
        }
    }

    /// `number` equal instances by themselves, of one NPU each.
    pub(crate) fn lone_instances(number: usize) -> Self {
        Self::new(vec![GroupPlan::dense(1); number])
    }

    /// The deployment, with room for the largest of `workload`.
    pub(crate) fn deployment(&self, workload: &[Entry]) -> Deployment {
        let seats = self.seats();
        let instance = |&(group, member): &(usize, usize)| self.instance(group, member, workload);
        let mut instances: Vec<InstanceSpec> = seats.iter().map(instance).collect();
        let plans = seats.iter().map(|&(group, member)| &self.groups[group].members[member]);
        let tiers = self.give_tiers(&mut instances, plans);
        let group = |(group, plan): (usize, &GroupPlan)| {
            let members = (0..seats.len()).filter(|&instance| seats[instance].0 == group).map(InstanceId::from);
            let size = plan.members.len() as u32;
            let (bandwidth_gib_per_s, latency_ns) = (self.link_gib_per_s, self.link_latency_ns);
            let dimension = |npus| Dimension::fully_connected(npus, bandwidth_gib_per_s, latency_ns);
            GroupSpec {
                name: (size > 1).then(|| format!("group {group}")),
                members: members.collect(),
                topology: Topology::new(plan.dims().into_iter().map(dimension).collect()),
            }
        };
        Deployment {
            instances,
            groups: self.groups.iter().enumerate().map(group).collect(),
            system: System {
                network_model: self.network_model,
                measured: self.is_measured.then(|| Arc::new(measured())),
                ..System::new(ENDPOINT_DELAY_NS, LOCAL_MEMORY_GB_PER_S as f64)
            },
            memory: Memory {
                host: MemoryDevices::new(self.host_latency_ns, self.host_gb_per_s, self.num_nodes),
                pool: Some(pool()),
                npu: Some(npu_memory()),
            },
            tiers,
            power: None,
            options: self.options,
        }
    }

    /// By instance, its group and its place in it.
    fn seats(&self) -> Vec<(usize, usize)> {
        let members = |group: usize| (0..self.groups[group].members.len()).map(move |member| (group, member));
        let mut seats: Vec<(usize, usize)> = (0..self.groups.len()).flat_map(members).collect();
        if self.interleaved {
            seats.sort_by_key(|&(group, member)| (member, group));
        }
        seats
    }

    /// Gives each instance the tier it is to have; returns them.
    fn give_tiers<'p>(
        &self,
        instances: &mut [InstanceSpec],
        plans: impl Iterator<Item = &'p MemberPlan>,
    ) -> Vec<TierSpec> {
        let mut tiers = Vec::new();
        // By tier, the node and the block size of whom it was made for.
        let mut founders: Vec<(NodeId, u32)> = Vec::new();
        for (instance, plan) in instances.iter_mut().zip(plans) {
            let Some(tier) = plan.tier.filter(|_| plan.prefix_caching) else { continue };
            let KvSpec { block_size, bytes_per_block, .. } = instance.kv;
            let is_shared = |&(node, size): &(NodeId, u32)| match self.tier_sharing {
                TierSharing::Nobody => false,
                TierSharing::Node => (node, size) == (instance.node, block_size),
                TierSharing::Cluster => size == block_size,
            };
            let index = founders.iter().position(is_shared).unwrap_or_else(|| {
                founders.push((instance.node, block_size));
                tiers.push(TierSpec {
                    tokens_per_block: tier.factor * block_size,
                    npu_block_size: block_size,
                    num_blocks: tier.num_blocks,
                    bytes_per_block: u64::from(tier.factor) * bytes_per_block * u64::from(instance.num_npus()),
                });
                tiers.len() - 1
            });
            instance.tier = Some(index);
        }
        tiers
    }

    fn instance(&self, group_index: usize, member_index: usize, workload: &[Entry]) -> InstanceSpec {
        let group = &self.groups[group_index];
        let member = group.members[member_index];
        let model = group.model();
        let (tp_dims, ep_dims) = group.masks();
        let [tp, pp, ep] = [group.tp, group.pp, group.ep()].map(u64::from);
        let calls = || workload.iter().flat_map(Entry::calls);
        let longest_prompt = calls().map(|call| call.input_tokens).max().unwrap_or(1);
        let longest_kv = match group.role {
            Role::Prefill => longest_prompt,
            // The last token generated is never computed, so it needs no KV.
            _ => calls().map(|call| call.input_tokens + call.output_tokens - 1).max().unwrap_or(1),
        };
        let node = NodeId(member.node % self.num_nodes);
        let one_expert = group.takes_one_expert.then(|| Arc::new(OneExpert) as Arc<dyn ExpertRouting>);
        let can_interleave = group.members.len() == 1 && group.pp == 1;
        let kv_token_bytes = model.kv_bytes_per_token(ELEMENT_BYTES, tp * pp);
        InstanceSpec {
            node,
            group: GroupId::from(group_index),
            hardware: "GPU".to_owned(),
            role: group.role,
            pp: group.pp,
            expert_routing: one_expert,
            skips_prefill: self.skips_prefill,
            placement: member.placement.placement(node, model.num_hidden_layers),
            tier: None,
            pim: member.pim.map(|pim| pim.spec(can_interleave)),
            architecture: Arc::new(Architecture::built_in(&model.model_type).expect("a built-in family")),
            latency: Arc::new(member.latency),
            num_sms: None,
            capture_sizes: CaptureSizes::default(),
            tp: group.tp,
            ep: group.ep(),
            local_ep: group.local_ep(),
            tp_dims,
            ep_dims,
            element_bytes: ELEMENT_BYTES,
            weight_bytes: model.weight_bytes_per_npu(tp, pp, ep, ELEMENT_BYTES),
            scheduler: SchedulerSpec {
                max_num_seqs: member.max_num_seqs,
                max_num_batched_tokens: if member.chunked_prefill { 0 } else { longest_prompt } + member.step_tokens,
                long_prefill_token_threshold: member.long_prefill_token_threshold,
                chunked_prefill: member.chunked_prefill,
                reserve_full_isl: member.reserve_full_isl,
            },
            kv: KvSpec {
                num_blocks: longest_kv.div_ceil(u64::from(member.block_size)) as u32 + member.spare_kv_blocks,
                block_size: member.block_size,
                element_bytes: ELEMENT_BYTES,
                bytes_per_block: kv_token_bytes * u64::from(member.block_size),
                prefix_caching: member.prefix_caching,
            },
            block_copy: member.block_copy,
            model: Arc::new(model),
        }
    }
}
