//! Hand-made inputs, small enough to be broken in one place at a time.

use crate::support::Folder;

/// One instance on one NPU that serves the model of [`MODEL`].
pub(crate) const CLUSTER: &str = r#"{
  "num_nodes": 1,
  "link_bw": 16,
  "link_latency": 1000,
  "nodes": [
    {
      "num_instances": 1,
      "cpu_mem": {"mem_size": 512, "mem_bw": 256, "mem_latency": 0},
      "instances": [
        {
          "model_name": "tiny",
          "hardware": "RTXPRO6000",
          "npu_mem": {"mem_size": 8, "mem_bw": 1597, "mem_latency": 0},
          "tp_size": 1,
          "pd_type": null
        }
      ]
    }
  ]
}
"#;

/// Three requests; the prompts of the first two share 32 tokens.
pub(crate) const WORKLOAD: &str = r#"{"input_toks": 40, "output_toks": 4, "arrival_time_ns": 0, "input_tok_ids": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40]}
{"input_toks": 34, "output_toks": 3, "arrival_time_ns": 2000000, "input_tok_ids": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 90, 91]}
{"input_toks": 12, "output_toks": 5, "arrival_time_ns": 3000000}
"#;

/// A dense model of two small blocks.
pub(crate) const MODEL: &str = r#"{
  "model_type": "llama",
  "hidden_size": 1024,
  "intermediate_size": 4096,
  "num_hidden_layers": 2,
  "num_attention_heads": 8,
  "num_key_value_heads": 8,
  "vocab_size": 32000,
  "max_position_embeddings": 4096,
  "torch_dtype": "bfloat16"
}
"#;

/// Folder of the model's profile, below the folder of profiles.
pub(crate) const BUNDLE: &str = "profiles/RTXPRO6000/tiny/bf16";

/// Flags that name the files of [`write_inputs`].
pub(crate) const INPUT_FLAGS: [&str; 8] = [
    "--cluster-config",
    "cluster.json",
    "--dataset",
    "workload.jsonl",
    "--model-dir",
    "models",
    "--profile-dir",
    "profiles",
];

/// Writes the cluster, the workload, the model, and a profile of it.
pub(crate) fn write_inputs(folder: &Folder) {
    folder.write("cluster.json", CLUSTER);
    folder.write("workload.jsonl", WORKLOAD);
    folder.write("models/tiny.json", MODEL);
    let write = |name: &str, text: &str| folder.write(&format!("{BUNDLE}/{name}"), text);
    write("meta.yaml", "engine_effective: {max_num_batched_tokens: 2048, max_num_seqs: 128}\n");
    let layers = "embedding layernorm qkv_proj rotary_emb o_proj gate_up_proj act_fn down_proj final_layernorm";
    let rows: String = layers.split(' ').map(|layer| format!("{layer},1,10.0\n{layer},64,40.0\n")).collect();
    write("tp1/dense.csv", &format!("layer,tokens,time_us\n{rows}"));
    let rows = "lm_head,1,20.0\nlm_head,8,30.0\nsampler,1,5.0\nsampler,8,5.0\n";
    write("tp1/per_sequence.csv", &format!("layer,sequences,time_us\n{rows}"));
    let rows = "0,0,1,16,8.0\n0,0,1,64,9.0\n16,0,0,0,12.0\n64,0,0,0,24.0\n";
    write("tp1/attention.csv", &format!("prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n{rows}"));
}
