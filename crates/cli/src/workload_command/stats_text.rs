//! What is in workloads, for people: tables, histograms of lengths, arrivals over time.

use report::{columns, grouped, percent};
use traffic::{Counts, SessionStats, Stats, TimeStats};

/// The statistics of each workload, in lines of at most `width` columns.
pub(super) fn text(all: &[Stats], width: usize) -> String {
    all.iter().map(|stats| one(stats, width)).collect::<Vec<_>>().join("\n")
}

fn one(stats: &Stats, width: usize) -> String {
    let mut parts = vec![totals(stats), spreads(stats, width)];
    for (name, counts) in [("Input tokens", &stats.input_tokens), ("Output tokens", &stats.output_tokens)] {
        parts.push(histogram(name, counts, width));
    }
    if let Some(sessions) = &stats.sessions {
        parts.push(histogram("Calls of a session", &sessions.calls, width));
    }
    parts.extend(stats.arrivals.as_ref().and_then(|arrivals| over_time(arrivals, width)));
    format!("{} ({})\n", stats.name, stats.format) + &parts.join("\n")
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).into()
}

fn totals(stats: &Stats) -> String {
    let (input, output) = (stats.input_tokens.sum(), stats.output_tokens.sum());
    // Only a sum of more tokens than there are atoms in a gram would not fit.
    let tokens = |tokens: u128| grouped(u64::try_from(tokens).unwrap_or(u64::MAX));
    let mut rows = vec![row(["Requests", &grouped(stats.num_requests)])];
    if let Some(sessions) = &stats.sessions {
        let num = sessions.calls.num();
        let plain = stats.num_arrivals - num;
        rows.push(row(["Sessions", &format!("{}, and {} requests without one", grouped(num), grouped(plain))]));
    }
    rows.push(row(["Tokens", &format!("{}: {} in, {} out", tokens(input + output), tokens(input), tokens(output))]));
    match &stats.arrivals {
        Some(arrivals) => rows.extend(times(stats.num_arrivals, arrivals)),
        None => rows.push(row(["Arrivals", "not told"])),
    }
    if let Some(prefixes) = &stats.prefixes {
        let share = percent(prefixes.hit_share());
        let (hits, all) = (grouped(prefixes.hit_tokens), grouped(prefixes.lookup_tokens));
        let what = format!("{share} of prompts: {hits} of {all} tokens, in blocks of {}", prefixes.block_size);
        rows.push(row(["Shared prefixes", &what]));
        let listed = prefixes.num_requests;
        if listed < stats.num_requests {
            rows.push(row(["", &format!("{} requests list token ids", grouped(listed))]));
        }
    }
    columns(&rows, 2)
}

fn times(num_arrivals: u64, arrivals: &TimeStats) -> Vec<Vec<String>> {
    let rate = arrivals.per_s.map_or("all at once".to_owned(), |per_s| {
        format!("{} a second over {} s", significant(per_s), significant(arrivals.duration_s))
    });
    let first = significant(arrivals.first_s);
    let mut rows = vec![row(["Arrivals", &format!("{}: {rate}, the first at {first} s", grouped(num_arrivals))])];
    if let Some(cv) = arrivals.gap_cv {
        let burstiness =
            if cv > 0.0 { format!(" (burstiness {})", significant((cv * cv).recip())) } else { String::new() };
        let word = match cv {
            ..0.8 => "even",
            0.8..1.25 => "as at random",
            _ => "in bunches",
        };
        rows.push(row(["Gaps between", &format!("cv {}{burstiness}: {word}", significant(cv))]));
    }
    rows
}

/// A number with four digits, or all that it has before the point.
fn significant(number: f64) -> String {
    let before = if number.abs() < 1.0 { 1 } else { number.abs().log10() as usize + 1 };
    let decimals = 4_usize.saturating_sub(before);
    let text = format!("{number:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    text.to_owned()
}

/// Below this width, two columns are left out of the table of lengths.
const WHOLE_TABLE: usize = 75;

fn spreads(stats: &Stats, width: usize) -> String {
    let mut rows = vec![row(["", "mean", "deviation", "min", "P10", "median", "P90", "P99", "max"])];
    rows.push(spread("Input tokens", &stats.input_tokens));
    rows.push(spread("Output tokens", &stats.output_tokens));
    if let Some(sessions) = &stats.sessions {
        rows.push(spread("Calls", &sessions.calls));
        rows.extend(tool_times(sessions));
    }
    if width < WHOLE_TABLE {
        // The deviation, and the 10th percentile.
        for row in &mut rows {
            row.remove(4);
            row.remove(2);
        }
    }
    columns(&rows, 1)
}

fn spread(name: &str, counts: &Counts) -> Vec<String> {
    let sorted = counts.sorted();
    let percentiles = [0.0, 10.0, 50.0, 90.0, 99.0, 100.0].map(|percent| sorted.percentile(percent));
    let numbers = [counts.mean(), counts.deviation()].into_iter().chain(percentiles);
    [name.to_owned()].into_iter().chain(numbers.map(significant)).collect()
}

fn tool_times(sessions: &SessionStats) -> Option<Vec<String>> {
    let times = &sessions.tool_time_ns;
    if times.is_empty() {
        return None;
    }
    let quantiles = [0.0, 0.1, 0.5, 0.9, 0.99, 1.0].map(|quantile| times.value_at_quantile(quantile) as f64);
    let ns = [times.mean(), times.stdev()].into_iter().chain(quantiles);
    Some(["Tool time (s)".to_owned()].into_iter().chain(ns.map(|ns| significant(ns / 1e9))).collect())
}

/// Most rows of a histogram.
const ROWS_MAX: u64 = 12;

/// Numbers from the first to below the last edge of each row.
fn edges(min: u64, max: u64) -> Vec<u64> {
    if max - min < ROWS_MAX {
        return (min..=max + 1).collect();
    }
    if max / min.max(1) >= 16 {
        // Rows double, or quadruple where there would be too many.
        let first = min.max(1).ilog2();
        let last = max.ilog2() + 1;
        let step = u64::from(last - first).div_ceil(ROWS_MAX) as usize;
        let powers = (first..last).step_by(step).map(|power| 1 << power);
        let top = first + (last - first).div_ceil(step as u32) * step as u32;
        return powers.chain([1_u64 << top.min(63)]).collect();
    }
    // 1, 2 or 5 times a power of ten, such that there are not too many rows.
    let mut width = 1;
    let mut factors = [2, 5, 10].into_iter().cycle();
    let mut base = 1;
    while max / width - min / width >= ROWS_MAX {
        let factor = factors.next().expect("a cycle never ends");
        width = base * factor;
        if factor == 10 {
            base = width;
        }
    }
    (min / width..=max / width + 1).map(|index| index * width).collect()
}

fn histogram(name: &str, counts: &Counts, width: usize) -> String {
    let sorted = counts.sorted();
    let (min, max) = (sorted.percentile(0.0) as u64, sorted.percentile(100.0) as u64);
    let edges = edges(min, max);
    let bins: Vec<(u64, u64, u64)> =
        edges.windows(2).map(|pair| (pair[0], pair[1] - 1, sorted.count_between(pair[0], pair[1]))).collect();
    let digits = grouped(bins.last().map_or(0, |bin| bin.1)).len();
    let most = bins.iter().map(|bin| bin.2).max().unwrap_or(1).max(1);
    // What stands beside a bar: two numbers, a dash, a share, and blanks.
    let bar_width = width.saturating_sub(2 * digits + 3 + 2 + 1 + 8).max(8);
    let mut text = format!("{name}\n");
    for (first, last, count) in bins {
        let bar = bar(count as f64 / most as f64, bar_width);
        let range = if first == last {
            format!("{:>1$}", grouped(first), 2 * digits + 3)
        } else {
            format!("{:>digits$} – {:>digits$}", grouped(first), grouped(last))
        };
        let share = percent(count as f64 / counts.num() as f64);
        text += &format!("{range}  {bar:<bar_width$} {share:>8}\n");
    }
    text
}

/// A bar of eighths of blocks; what is not nothing can be seen.
fn bar(share: f64, width: usize) -> String {
    let eighths = (share * width as f64 * 8.0).round() as usize;
    let eighths = if share > 0.0 { eighths.max(1) } else { eighths };
    let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    "█".repeat(eighths / 8) + part
}

/// Arrivals over time in one line; `None` where all are at once.
fn over_time(arrivals: &TimeStats, width: usize) -> Option<String> {
    arrivals.per_s?;
    let (stretch_s, stretches) = arrivals.binned.stretches(width);
    let most = stretches.iter().copied().fold(0.0, f64::max);
    let level = |&count: &f64| match (count / most * 8.0).round() as usize {
        0 if count > 1e-9 => '▁',
        0 => ' ',
        level => ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'][level - 1],
    };
    let line: String = stretches.iter().map(level).collect();
    Some(format!(
        "Arrivals over time, {} s a column, at most {} a second\n{}\n",
        significant(stretch_s),
        significant(most / stretch_s),
        line.trim_end()
    ))
}
