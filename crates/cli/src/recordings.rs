//! From recorded runs: experts that tokens chose, routes of requests, and when requests arrived.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use diagnostics::{Fault, Faults};
use engine::{Deployment, ExpertRouting, InstanceSpec, Role, RoutingTable};
use moe::{MoeShape, RecordedRouting};
use units::RequestId;
use workload::Workload;

use crate::parquet::{read_run, read_table};

/// Routes told one by one when they can't be followed.
const FAULTS_MAX: usize = 20;

/// Has every mixture-of-experts instance route its tokens as the file at `path` says, block by block.
pub(crate) fn route_experts(path: &Path, deployment: &mut Deployment) -> Result<(), Faults> {
    read_table(path, |name, text| route_experts_as(name, text, deployment))
}

fn route_experts_as(name: &str, text: &str, deployment: &mut Deployment) -> Result<(), Faults> {
    let mut read: HashMap<MoeShape, Arc<dyn ExpertRouting>> = HashMap::new();
    for instance in &mut deployment.instances {
        let Some(shape) = shape(instance) else { continue };
        let routing = match read.get(&shape) {
            Some(routing) => Arc::clone(routing),
            None => Arc::new(RecordedRouting::read(name, text, &shape)?),
        };
        read.insert(shape, Arc::clone(&routing));
        instance.expert_routing = Some(routing);
        // Recordings are of layers, so each block has a routing of its own.
        instance.block_copy = false;
    }
    if read.is_empty() {
        let fault = Fault::new("--expert-routing-file", "no instance serves a mixture-of-experts model");
        return Err(fault.hint("leave the flag out").into());
    }
    Ok(())
}

fn shape(instance: &InstanceSpec) -> Option<MoeShape> {
    let experts = instance.model.experts?;
    Some(MoeShape {
        num_layers: u32::try_from(instance.model.num_hidden_layers).ok()?,
        num_experts: experts.count,
        experts_per_token: experts.per_token.clamp(1, experts.count),
    })
}

/// The routes in the file at `path`, which must have one for each of the workload's `num_requests`, to an instance that
/// takes requests in.
pub(crate) fn read_routes(path: &Path, deployment: &Deployment, num_requests: u64) -> Result<RoutingTable, Faults> {
    let routes = read_table(path, workload::parse_routes)?;
    let name = path.display().to_string();
    let fault_of = |id: RequestId| match routes.get(&id) {
        None => Some(format!("request {id} has no route")),
        Some(instance) => match deployment.instances.get(instance.index()) {
            None => Some(format!("request {id} goes to instance {instance}, which is not there")),
            Some(spec) if spec.role == Role::Decode => {
                Some(format!("request {id} goes to instance {instance}, which only decodes"))
            }
            Some(_) => None,
        },
    };
    let faults: Vec<String> = (0..num_requests).filter_map(|id| fault_of(RequestId(id))).collect();
    let mut told = Faults::new();
    faults.iter().take(FAULTS_MAX).for_each(|fault| told.push(Fault::new(&name, fault)));
    let more = faults.len().saturating_sub(FAULTS_MAX);
    if more > 0 {
        told.push(Fault::new(&name, format!("{more} more requests have no route that can be followed")));
    }
    told.into_result(routes.into_iter().collect())
}

/// Has the requests of `workload` arrive as they did in the run measured at `path`, the first when it would have anyway.
pub(crate) fn replay_arrivals(path: &Path, workload: &mut Workload) -> Result<(), Faults> {
    let run = read_run(path)?;
    let fault = |message: String| Fault::new(path.display().to_string(), message);
    let offsets = run.arrival_offsets().ok_or_else(|| {
        fault("does not tell when requests arrived".to_owned()).hint("every request needs its time of arrival")
    })?;
    let entries = workload.keep()?;
    if entries.iter().any(|entry| entry.num_calls() > 1) {
        let sessions =
            fault("tells when requests arrived, but later calls of a session follow the earlier ones".to_owned());
        return Err(sessions.hint("leave out --arrivals-from: the workload has sessions").into());
    }
    if offsets.len() != entries.len() {
        let message = format!("has {} requests, and the workload {}", offsets.len(), entries.len());
        return Err(fault(message).hint("take the workload that was measured; --num-reqs cuts it").into());
    }
    let first = entries.iter().map(|entry| entry.arrival).min().unwrap_or_default();
    // Recordings number requests as the workload's file does.
    entries.sort_by_key(|entry| entry.first_id);
    for (entry, offset) in entries.iter_mut().zip(offsets) {
        entry.arrival = first + offset;
    }
    entries.sort_by_key(|entry| entry.arrival);
    Ok(())
}
