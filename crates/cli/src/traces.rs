//! Chakra traces of a run, and what they can be replayed on.

use std::path::Path;

use astra::{PimChannels, Setup, Texts};
use diagnostics::{Fault, Faults};
use engine::{Deployment, Polling};
use network::{Fabric, Memory, MemoryDevices};
use report::{Batches, TraceGroup, TraceWriter};

use crate::args::{OutputArgs, Schema};

pub(crate) fn create(dir: &Path, args: &OutputArgs, deployment: &Deployment) -> Result<TraceWriter, Faults> {
    let computes_in_memory = deployment.instances.iter().any(|instance| instance.pim.is_some());
    if computes_in_memory && args.chakra_schema == Schema::Mlcommons {
        let fault = Fault::new("--chakra-schema", "MLCommons' numbering has no node that computes in memory");
        return Err(fault.hint("leave out --chakra-schema, or attention offloading").into());
    }
    let batches = match &args.chakra_batches[..] {
        [] => Batches::all(),
        ranges => Batches::of(ranges.to_vec()),
    };
    let groups = deployment.groups.iter().map(|group| {
        let fabric =
            Fabric { topology: group.topology.clone(), system: deployment.system.clone(), memory: memory(deployment) };
        let setup = Setup { fabric, pim_channels: pim_channels(deployment), peak_tflops: None };
        let Texts { network_yml, system_json, memory_json } = Texts::of(&setup)?;
        let files = [("network.yml", network_yml), ("system.json", system_json), ("memory.json", memory_json)];
        Ok(TraceGroup { num_dims: group.topology.dims().len(), files: files.to_vec() })
    });
    let groups = groups.collect::<Result<Vec<_>, Faults>>()?;
    let (numbering, network_model) = (args.chakra_schema.numbering(), deployment.system.network_model);
    Ok(TraceWriter::create(dir, batches, numbering, &groups, network_model)?)
}

fn pim_channels(deployment: &Deployment) -> PimChannels {
    let channels = deployment.instances.iter().filter_map(|instance| instance.pim).map(|pim| pim.num_channels);
    PimChannels { host: channels.max().unwrap_or(0), pool: 0 }
}

/// The memory of the run. With exact polling the channels of different hosts are apart, and by ASTRA-Sim's numbering
/// they are where there are no fewer devices than channels.
fn memory(deployment: &Deployment) -> Memory {
    let (memory, num_channels) = (deployment.memory, pim_channels(deployment).host);
    let (speed, num_devices) = (memory.host.speed(), memory.host.num_devices());
    if deployment.options.polling == Polling::Reference || num_devices <= 1 || num_channels <= num_devices {
        return memory;
    }
    let (latency_ns, bandwidth) = (speed.latency().ns() as f64, speed.bandwidth_gb_per_s() as f64);
    Memory { host: MemoryDevices::new(latency_ns, bandwidth, num_channels), ..memory }
}
