//! Bundles written by hand: what is looked up where, and what is said of faulty ones.

use std::fs;
use std::path::{Path, PathBuf};

use diagnostics::{Fault, Faults};
use latency::{AttentionShape, Bundle, NoProfile, OpLatency, OtherTables, Profile, read_samples_with};
use model::{Architecture, Layer};
use tempfile::TempDir;

const DENSE: &str = "layer,tokens,time_us\nqkv_proj,1,1\nqkv_proj,3,2\nlayernorm,1,5\n";
const PER_SEQUENCE: &str = "layer,sequences,time_us\nlm_head,1,10\nlm_head,2,11.5\nsampler,1,7\n";
/// Without history or prefill: 1 µs + 1 ns a token of KV and decode.
const ATTENTION: &str = "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n\
    0,0,2,0,1\n0,0,2,1000,3\n0,0,4,0,1\n0,0,4,1000,5\n16,0,2,0,100\n";
const MOE: &str = "tokens,activated_experts,time_us\n1,8,1\n3,8,3\n1,16,11\n3,16,13\n";
const SKEW: &str = "pc,n_label,skew_rate_label,kv_big_label,kp_label,alpha,n_samples\n\
    0,n<=2,sr<=15%,kvB<=1k,kp=0,0.5,4\n0,n<=2,sr<=40%,kvB<=1k,kp=0,-5,4\n0,n<=2,sr<=70%,kvB<=1k,kp=0,0,4\n";
const META: &str = "engine_effective: {max_num_batched_tokens: 2048, max_num_seqs: 256}\n\
    skew_fit:\n  enabled: true\n  per_tp:\n    1: {alpha_default: 0.25, bucket_table: tp1/skew_fit.csv}\n";

/// A bundle of one degree that has everything.
fn complete() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("meta.yaml", META),
        ("tp1/dense.csv", DENSE),
        ("tp1/per_sequence.csv", PER_SEQUENCE),
        ("tp1/attention.csv", ATTENTION),
        ("tp1/moe.csv", MOE),
        ("tp1/skew_fit.csv", SKEW),
    ] {
        write(dir.path(), path, text);
    }
    dir
}

fn write(dir: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path: PathBuf = dir.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn profile(dir: &Path, model_type: &str, tp: u64) -> Profile {
    Bundle::load(dir).unwrap().at(&Architecture::built_in(model_type).unwrap(), tp).unwrap()
}

/// What `bundle` says of a degree or experts that it has not.
fn absent(bundle: &mut Bundle, model_type: &str, tp: u64) -> Fault {
    match bundle.at(&Architecture::built_in(model_type).unwrap(), tp) {
        Err(NoProfile::Absent(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

/// What `bundle` says of files that are faulty.
fn faulty(bundle: &mut Bundle, model_type: &str, tp: u64) -> Faults {
    match bundle.at(&Architecture::built_in(model_type).unwrap(), tp) {
        Err(NoProfile::Faulty(faults)) => faults,
        other => panic!("{other:?}"),
    }
}

#[test]
fn layers_by_tokens_and_sequences() {
    let dir = complete();
    let profile = profile(dir.path(), "qwen3_moe", 1);
    let dense = |tokens| profile.dense(Layer::QkvProj, tokens).ns();
    assert_eq!([0, 1, 2, 3, 5].map(dense), [1000, 1000, 1500, 2000, 3000]);
    let per_sequence = |sequences| profile.per_sequence(Layer::LmHead, sequences).ns();
    assert_eq!([0, 1, 2, 4].map(per_sequence), [10_000, 10_000, 11_500, 14_500]);
    assert_eq!(profile.dense(Layer::Layernorm, 4096).ns(), 5000);
}

#[test]
fn experts_by_tokens_and_active_experts() {
    let dir = complete();
    let profile = profile(dir.path(), "qwen3_moe", 1);
    let check = |tokens, active, expected| {
        assert_eq!(profile.experts(tokens, active).ns(), expected, "{tokens} tokens on {active} experts");
    };
    check(0, 0, 0);
    check(1, 0, 1000); // clamped below
    check(1, 8, 1000);
    check(2, 8, 2000);
    check(2, 12, 7000);
    check(5, 8, 5000); // beyond the last tokens
    check(1, 32, 31_000); // beyond the last experts
}

#[test]
fn decodes_of_unequal_length() {
    let dir = complete();
    let profile = profile(dir.path(), "qwen3_moe", 1);
    let check = |num_decodes, [kv_decode_min, kv_decode_mean, kv_decode_max]: [u64; 3], expected| {
        let shape =
            AttentionShape { num_decodes, kv_decode_min, kv_decode_mean, kv_decode_max, ..AttentionShape::default() };
        assert_eq!(profile.attention(&shape).ns(), expected, "{shape:?}");
    };
    check(2, [500, 500, 500], 2000); // all alike
    check(1, [100, 500, 900], 2000); // one decode has no other
    check(2, [450, 500, 900], 2400); // α = 0.5 between 2000 and 2800
    check(2, [495, 500, 900], 2200); // a bucket that was not measured: the default 0.25
    check(4, [450, 500, 900], 3400); // likewise, between 3000 and 4600
    check(2, [400, 500, 900], 1); // α = −5, and never less than 1
    check(2, [200, 600, 900], 2200); // α = 0
    check(2, [0, 500, 501], 2000); // 2000.5 rounds to even
    check(2, [0, 500, 503], 2002); // 2001.5 too
    check(0, [0, 0, 0], 1000);
    let flat = AttentionShape { prefill_tokens: 16, num_decodes: 2, kv_decode_max: 900, ..AttentionShape::default() };
    assert_eq!(profile.attention(&flat).ns(), 100_000, "nothing to correct by where the longest is no slower");
}

#[test]
fn layers_the_bundle_lacks_are_listed() {
    let dir = complete();
    let profile = profile(dir.path(), "llama", 1);
    use Layer::*;
    assert_eq!(profile.missing_layers(), [Embedding, RotaryEmb, OProj, GateUpProj, ActFn, DownProj, FinalLayernorm]);
    let covered: Vec<Layer> = Layer::ALL.iter().copied().filter(|&layer| profile.covers(layer)).collect();
    assert_eq!(covered, [Layernorm, QkvProj, Attention, LmHead, Sampler]);
}

#[test]
fn stable_layers_and_experts_come_from_the_first_degree() {
    let dir = complete();
    write(dir.path(), "tp2/dense.csv", "layer,tokens,time_us\nqkv_proj,1,0.5\nlayernorm,1,99\n");
    write(dir.path(), "tp2/per_sequence.csv", "layer,sequences,time_us\nlm_head,1,6\nsampler,1,99\n");
    write(dir.path(), "tp2/attention.csv", "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n0,0,1,0,0.5\n");
    let at_two = profile(dir.path(), "qwen3_moe", 2);
    assert_eq!(at_two.dense(Layer::QkvProj, 1).ns(), 500);
    assert_eq!(at_two.dense(Layer::Layernorm, 1).ns(), 5000);
    assert_eq!(at_two.per_sequence(Layer::LmHead, 1).ns(), 6000);
    assert_eq!(at_two.per_sequence(Layer::Sampler, 1).ns(), 7000);
    assert_eq!(at_two.attention(&AttentionShape::default()).ns(), 500);
    assert_eq!(at_two.experts(1, 8).ns(), 1000);

    fs::remove_dir_all(dir.path().join("tp1")).unwrap();
    write(dir.path(), "meta.yaml", "skew_fit: {enabled: false}");
    let alone = profile(dir.path(), "qwen3", 2);
    assert_eq!(alone.dense(Layer::Layernorm, 1).ns(), 99_000, "without degree 1, one's own");
    let fault = absent(&mut Bundle::load(dir.path()).unwrap(), "mixtral", 2);
    assert_eq!(fault.message, "experts are not profiled, and mixtral has them");
}

/// The table with its rows and columns in another order, by a fixed sequence of pseudo-random numbers.
fn shuffled(table: &str, columns_too: bool) -> String {
    let mut state = 7u64;
    let mut below = |count: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % count
    };
    let mut rows: Vec<Vec<&str>> = table.lines().map(|row| row.split(',').collect()).collect();
    (2..rows.len()).for_each(|index| rows.swap(index, 1 + below(index)));
    for column in (1..rows[0].len()).filter(|_| columns_too) {
        let other = below(column);
        rows.iter_mut().for_each(|row| row.swap(column, other));
    }
    rows.iter().map(|row| row.join(",") + "\n").collect()
}

#[test]
fn the_order_of_rows_and_columns_does_not_matter() {
    let mut attention = "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n".to_owned();
    for prefill in [0, 16, 64] {
        for history in [0, 128, 512].iter().take(1 + prefill) {
            for decodes in [0, 1, 2, 8] {
                let kvs = [16, 32, 128, 1024];
                for kv in kvs.iter().take(if prefill + decodes == 0 { 0 } else { 4 - decodes % 3 }) {
                    let time = 1.5 * (prefill + decodes) as f64 + 0.01 * (history * 3 + kv * decodes) as f64;
                    attention += &format!("{prefill},{history},{decodes},{kv},{time:.4}\n");
                }
            }
        }
    }
    let tables = [("dense", DENSE), ("per_sequence", PER_SEQUENCE), ("moe", MOE), ("skew_fit", SKEW)];
    let tables: Vec<(&str, &str)> = tables.into_iter().chain([("attention", attention.as_str())]).collect();
    let answers = |order: &dyn Fn(&str) -> String| {
        let dir = complete();
        tables.iter().for_each(|(name, table)| write(dir.path(), &format!("tp1/{name}.csv"), order(table)));
        let profile = profile(dir.path(), "qwen3_moe", 1);
        let mut times = Vec::new();
        for count in [1, 2, 3, 8, 33, 200] {
            times.push(profile.dense(Layer::QkvProj, count));
            times.push(profile.per_sequence(Layer::LmHead, count));
            times.push(profile.experts(count, count));
            for prefill_tokens in [0, 16, 40, 100] {
                for (num_decodes, kv) in [(0, 0), (1, 16), (2, 50), (5, 700), (9, 4000)] {
                    let shape = AttentionShape {
                        prefill_tokens,
                        prefill_history: count * 10,
                        num_decodes,
                        kv_decode_mean: kv,
                        kv_decode_max: kv + count,
                        kv_decode_min: kv / 2,
                    };
                    times.push(profile.attention(&shape));
                }
            }
        }
        times
    };
    let expected = answers(&|table| table.to_owned());
    assert_eq!(answers(&|table| shuffled(table, false)), expected, "rows in another order");
    assert_eq!(answers(&|table| shuffled(table, true)), expected, "columns too");
    assert_eq!(answers(&|table| table.replace('\n', " \r\n\r\n")), expected, "blanks and empty lines");
}

#[test]
fn only_what_is_needed_is_read() {
    let dir = complete();
    for table in ["dense", "per_sequence", "attention", "skew_fit"] {
        fs::copy(dir.path().join(format!("tp1/{table}.csv")), {
            fs::create_dir_all(dir.path().join("tp2")).unwrap();
            dir.path().join(format!("tp2/{table}.csv"))
        })
        .unwrap();
    }
    let check = |path: &str, model_type: &str, tp: u64, is_needed: bool| {
        let sound = fs::read(dir.path().join(path)).unwrap();
        write(dir.path(), path, "x");
        let mut bundle = Bundle::open(dir.path()).unwrap();
        if is_needed {
            let told = faulty(&mut bundle, model_type, tp).to_string();
            let all = Bundle::load(dir.path()).unwrap_err().to_string();
            assert_eq!(told, all, "{path} for {model_type} at {tp}");
            assert!(faulty(&mut bundle, model_type, tp).is_empty(), "a fault is told once");
        } else {
            bundle.at(&Architecture::built_in(model_type).unwrap(), tp).unwrap();
            assert!(Bundle::load(dir.path()).is_err(), "who reads all finds it");
        }
        write(dir.path(), path, sound);
    };
    check("tp2/dense.csv", "llama", 1, false);
    check("tp2/attention.csv", "llama", 1, false);
    check("tp1/moe.csv", "llama", 1, false);
    check("tp1/moe.csv", "qwen3_moe", 1, true);
    check("tp1/skew_fit.csv", "llama", 1, true);
    // At degree 2, layers that are the same at both and experts come from degree 1.
    check("tp1/dense.csv", "llama", 2, true);
    check("tp1/per_sequence.csv", "llama", 2, true);
    check("tp1/moe.csv", "qwen3_moe", 2, true);
    check("tp1/attention.csv", "llama", 2, false);
    check("tp1/skew_fit.csv", "llama", 2, false);
    check("tp2/attention.csv", "llama", 2, true);
    check("meta.yaml", "llama", 2, true);
}

#[test]
fn all_that_is_needed_is_told_at_once() {
    let dir = complete();
    write(dir.path(), "meta.yaml", "x");
    write(dir.path(), "tp1/dense.csv", "y");
    write(dir.path(), "tp1/attention.csv", "z");
    let mut bundle = Bundle::open(dir.path()).unwrap();
    assert_eq!(faulty(&mut bundle, "llama", 1).iter().count(), 1 + 3 + 5);
    assert!(faulty(&mut bundle, "llama", 4).is_empty(), "without a sound meta.yaml there is no profile");
}

#[test]
fn a_degree_that_was_not_profiled() {
    let dir = complete();
    let mut bundle = Bundle::load(dir.path()).unwrap();
    let fault = absent(&mut bundle, "llama", 4);
    assert_eq!(fault.message, "tp 4 is not profiled");
    assert_eq!(fault.hint.as_deref(), Some("there is tp 1"));
    assert_eq!(bundle.tp_degrees().collect::<Vec<_>>(), [1]);
    assert_eq!(bundle.profiled_limits().max_num_batched_tokens, Some(2048));
    assert_eq!(bundle.profiled_limits().max_num_seqs, Some(256));
}

#[test]
fn faults_are_placed() {
    let check = |path: &str, text: &str, expected: &str| {
        let dir = complete();
        write(dir.path(), path, text);
        let faults = Bundle::load(dir.path()).unwrap_err().to_string();
        assert!(faults.contains(expected), "{path}: {faults}");
    };
    check("tp1/dense.csv", "", "dense.csv: the file is empty");
    check("tp1/dense.csv", "layer,tokens,time_us\n", "dense.csv: the table has a header and no rows");
    check("tp1/dense.csv", "layer,time_us\nqkv_proj,1\n", "dense.csv:1:1: there is no column `tokens`");
    check(
        "tp1/per_sequence.csv",
        "layer,sequences,time_us\nlm_head,one,1\n",
        "per_sequence.csv:2:9 at sequences: `one`",
    );
    check("tp1/attention.csv", &ATTENTION[..ATTENTION.len() - 7], "attention.csv:6:1: the row has 3 cells");
    check("tp1/attention.csv", &ATTENTION.replace("1000,5", "1000,nan"), "attention.csv:5:12 at time_us: `nan`");
    check("tp1/moe.csv", &MOE.replace("3,16,13", "-3,16,13"), "moe.csv:5:1 at tokens: -3 is not a whole number");
    check("tp1/skew_fit.csv", &SKEW.replace("sr<=40%", "sr<=41%"), "skew_fit.csv:3:8 at skew_rate_label: `sr<=41%`");
    check("tp1/skew_fit.csv", &SKEW.replace(",-5,", ",,"), "skew_fit.csv:3:29 at alpha: an empty cell");
    check("meta.yaml", "skew_fit: {enabled: 3}", "meta.yaml:1:21 at enabled");
    check("meta.yaml", &META.replace("tp1/skew", "tp9/skew"), "tp9/skew_fit.csv: the file is missing");
}

#[test]
fn missing_files_are_told_all_at_once() {
    let dir = complete();
    for path in ["meta.yaml", "tp1/dense.csv", "tp1/per_sequence.csv", "tp1/attention.csv"] {
        fs::remove_file(dir.path().join(path)).unwrap();
    }
    let faults = Bundle::load(dir.path()).unwrap_err();
    assert_eq!(faults.iter().filter(|fault| fault.message == "the file is missing").count(), 4, "{faults}");

    fs::remove_dir_all(dir.path().join("tp1")).unwrap();
    fs::create_dir(dir.path().join("tp")).unwrap();
    fs::create_dir(dir.path().join("tp0")).unwrap();
    let faults = Bundle::load(dir.path()).unwrap_err().to_string();
    assert!(faults.contains("no tensor-parallel degree is profiled"), "{faults}");
    let faults = Bundle::load(&dir.path().join("nowhere")).unwrap_err().to_string();
    assert!(faults.contains("no profile here"), "{faults}");
}

/// Every file, cut at every length, and with every byte replaced by a few others: faults or a bundle, never a panic.
#[test]
fn damaged_files_never_panic() {
    let files = [
        ("meta.yaml", META),
        ("tp1/dense.csv", DENSE),
        ("tp1/attention.csv", ATTENTION),
        ("tp1/moe.csv", MOE),
        ("tp1/skew_fit.csv", SKEW),
    ];
    let (mut loaded, mut refused) = (0, 0);
    for (path, text) in files {
        let dir = complete();
        let mut damaged = |bytes: &[u8]| {
            write(dir.path(), path, bytes);
            match Bundle::load(dir.path()) {
                Ok(_) => loaded += 1,
                Err(faults) => {
                    assert!(!faults.is_empty());
                    refused += 1;
                }
            }
        };
        for end in 0..text.len() {
            damaged(&text.as_bytes()[..end]);
            for byte in [b',', b'\n', b'9', 0xff] {
                let mut bytes = text.as_bytes().to_vec();
                bytes[end] = byte;
                damaged(&bytes);
            }
        }
    }
    assert!(loaded > 100 && refused > 100, "{loaded} loaded, {refused} refused");
}

/// Tables of another format stand in for those that are not there, and give the same times.
#[test]
fn tables_in_another_format() {
    fn read(path: &Path) -> Result<String, Fault> {
        let text = fs::read_to_string(path).map_err(|error| Fault::new("other", error.to_string()))?;
        Ok(text.replace(';', ","))
    }
    let others = Some(OtherTables { ending: "other", read });
    let dir = complete();
    let at = |dir: &Path, others, model_type: &str| {
        let mut bundle = Bundle::open_with(dir, others).unwrap();
        let profile = bundle.at(&Architecture::built_in(model_type).unwrap(), 1).unwrap();
        let samples = read_samples_with(dir, 1, others).unwrap();
        samples.iter().map(|sample| (sample.op, sample.op.time(&profile), sample.time)).collect::<Vec<_>>()
    };
    let expected = at(dir.path(), None, "qwen3_moe");
    for table in ["dense", "per_sequence", "attention", "moe", "skew_fit"] {
        let csv = dir.path().join(format!("tp1/{table}.csv"));
        let text = fs::read_to_string(&csv).unwrap();
        fs::write(csv.with_extension("other"), text.replace(',', ";")).unwrap();
        // Where both are there, the CSV counts.
        fs::write(&csv, "x").unwrap();
        assert!(Bundle::load_with(dir.path(), others).is_err(), "{table}");
        fs::remove_file(&csv).unwrap();
        assert_eq!(at(dir.path(), others, "qwen3_moe"), expected, "{table}");
        Bundle::load_with(dir.path(), others).unwrap();
        assert!(Bundle::load(dir.path()).is_err(), "{table}");
    }
    write(dir.path(), "tp1/dense.other", "layer;tokens;time_us\nlayernorm;one;1\n");
    let told = Bundle::load_with(dir.path(), others).unwrap_err().to_string();
    assert!(told.contains("tp1/dense.other:2:11 at tokens: `one` is not a number"), "{told}");
}
