//! The nearest known name to one that is not known.

/// Names below this similarity (0 to 1) are not worth suggesting.
const LEAST_SIMILARITY: f64 = 0.75;

/// The name among `known` that is most like `name`, unless none is.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let (score, best) =
        known.iter().map(|&candidate| (similarity(name, candidate), candidate)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (score >= LEAST_SIMILARITY).then_some(best)
}

/// From 0 to 1, without regard to case. A model may be named without its owner, and cut short.
fn similarity(name: &str, candidate: &str) -> f64 {
    let (name, candidate) = (name.to_lowercase(), candidate.to_lowercase());
    let tail = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let (name_tail, candidate_tail) = (tail(&name), tail(&candidate));
    if !name_tail.is_empty() && candidate_tail.starts_with(&name_tail) {
        return 1.0;
    }
    strsim::jaro_winkler(&name, &candidate).max(0.99 * strsim::jaro_winkler(&name_tail, &candidate_tail))
}

/// What to write instead of `name`: the nearest of `known`, or all of them.
pub fn hint(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(best) => format!("did you mean `{best}`?"),
        None if known.is_empty() => "there are none".to_owned(),
        None => format!("known are {}", listed(known)),
    }
}

/// `a, b, c` in backquotes.
pub fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn nearest_names() {
        #[track_caller]
        fn check(name: &str, expected: Option<&str>) {
            let known = ["tp_size", "ep_size", "hardware", "Qwen/Qwen3-32B", "meta-llama/Llama-3.1-8B"];
            assert_eq!(nearest(name, &known), expected, "{name}");
        }
        check("tp-size", Some("tp_size"));
        check("hardwear", Some("hardware"));
        check("Qwen3-32B", Some("Qwen/Qwen3-32B"));
        check("llama-3.1-8b", Some("meta-llama/Llama-3.1-8B"));
        check("qwen3", Some("Qwen/Qwen3-32B"));
        check("tensor_parallel_size", None);
        check("colour", None);
        check("", None);
    }
}
