//! The data the binary carries: example clusters and workloads.
//!
//! They are files like a user's own, so that they can be written out, edited and run from there. The clusters are made
//! up; the workloads are random token ids with lengths and arrivals as in chat and agent traffic.

/// One example.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it shows, in one line.
    pub summary: &'static str,
    /// Its cluster file.
    pub cluster: TextFile,
    /// Its workload file.
    pub workload: TextFile,
}

/// A text with the name it has as a file.
#[derive(Clone, Copy, Debug)]
pub struct TextFile {
    /// The file name.
    pub name: &'static str,
    /// The text.
    pub text: &'static str,
}

macro_rules! text_file {
    ($name:literal) => {
        TextFile { name: $name, text: include_str!(concat!("../data/", $name)) }
    };
}

/// Every example; the first is what runs when nothing is asked for.
pub const EXAMPLES: &[Example] = &[
    Example {
        name: "moe-dp-ep",
        summary: "Qwen3-30B-A3B on 2 GPUs: data-parallel attention, experts shared by both (DP+EP)",
        cluster: text_file!("moe-dp-ep.cluster.json"),
        workload: text_file!("chat.workload.jsonl"),
    },
    Example {
        name: "moe-ep",
        summary: "Qwen3-30B-A3B on 2 GPUs: tensor-parallel attention, experts split 64 + 64 (EP)",
        cluster: text_file!("moe-ep.cluster.json"),
        workload: text_file!("chat.workload.jsonl"),
    },
    Example {
        name: "moe-dp-ep-agents",
        summary: "the DP+EP cluster under agents: calls of a session follow one another after tool time",
        cluster: text_file!("moe-dp-ep.cluster.json"),
        workload: text_file!("agents.workload.jsonl"),
    },
    Example {
        name: "dense-tp",
        summary: "Qwen3-32B on 2 GPUs, tensor-parallel",
        cluster: text_file!("dense-tp.cluster.json"),
        workload: text_file!("chat.workload.jsonl"),
    },
    Example {
        name: "dense",
        summary: "Llama-3.1-8B on one RTX 4090",
        cluster: text_file!("dense.cluster.json"),
        workload: text_file!("chat.workload.jsonl"),
    },
    Example {
        name: "dense-pd",
        summary: "Llama-3.1-8B on 2 RTX 4090: one prefills, the other decodes",
        cluster: text_file!("dense-pd.cluster.json"),
        workload: text_file!("chat.workload.jsonl"),
    },
];

/// The example of this name.
pub fn find(name: &str) -> Option<&'static Example> {
    EXAMPLES.iter().find(|example| example.name == name)
}

/// The files of all examples, each once.
pub fn files() -> Vec<TextFile> {
    let mut files: Vec<TextFile> = Vec::new();
    for file in EXAMPLES.iter().flat_map(|example| [example.cluster, example.workload]) {
        if files.iter().all(|known| known.name != file.name) {
            files.push(file);
        }
    }
    files
}
