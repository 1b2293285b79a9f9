use std::fs;

use super::*;

/// Two kinds of requests a second, of any length.
fn recipe() -> Recipe {
    Recipe {
        arrivals: "poisson:10/s".parse().unwrap(),
        time_scale: 1.0,
        lengths: LengthsSpec::Independent {
            input: "uniform:100..200".parse().unwrap(),
            output: "uniform:1..50".parse().unwrap(),
        },
        prefixes: None,
        sessions: None,
        token_ids: false,
        vocabulary: 32_000,
        num_requests: Some(2_000),
        duration_s: None,
        seed: 1,
    }
}

fn with_sessions(calls: &str) -> Recipe {
    let sessions = SessionSpec {
        calls: calls.parse().unwrap(),
        tool_time: "exponential:2s".parse().unwrap(),
        tool_tokens: "uniform:5..20".parse().unwrap(),
        context_max: None,
    };
    Recipe { sessions: Some(sessions), num_requests: Some(200), ..recipe() }
}

fn items(recipe: &Recipe) -> Vec<Item> {
    let mut generator = Generator::new(recipe).unwrap_or_else(|faults| panic!("{faults}"));
    let items: Vec<Item> = generator.by_ref().collect();
    assert_eq!(generator.finish(), Ok(items.len() as u64));
    items
}

fn arrivals(items: &[Item]) -> Vec<u64> {
    items.iter().map(|item| item.arrival_ns.expect("what is made arrives")).collect()
}

fn seconds_of(spec: &str, num: usize) -> Vec<f64> {
    let mut arrivals = Arrivals::new(&spec.parse().unwrap(), 1.0, 9).unwrap();
    (0..num).map(|_| arrivals.next().expect("more arrivals") as f64 / 1e9).collect()
}

/// Mean and coefficient of variation of the gaps before each arrival.
fn gaps(seconds: &[f64]) -> (f64, f64) {
    let gaps: Vec<f64> = std::iter::once(&0.0).chain(seconds).zip(seconds).map(|(a, b)| b - a).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    (mean, variance.sqrt() / mean)
}

#[test]
fn gaps_have_the_rate_and_burstiness_that_were_asked_for() {
    assert_eq!(seconds_of("constant:4/s", 5), [0.0, 0.25, 0.5, 0.75, 1.0]);
    assert_eq!(seconds_of("at-once", 2), [0.0, 0.0]);
    const NUM: usize = 40_000;
    for (spec, mean, cv) in [
        ("poisson:600/min", 0.1, 1.0),
        ("gamma:5/s,cv=0.5", 0.2, 0.5),
        ("gamma:5/s,shape=4", 0.2, 0.5),
        ("gamma:5/s,burstiness=0.25", 0.2, 2.0),
        ("gamma:3600/h,cv=1", 1.0, 1.0),
    ] {
        let (found_mean, found_cv) = gaps(&seconds_of(spec, NUM));
        let error = (found_mean / mean - 1.0) / (cv / (NUM as f64).sqrt());
        println!("{spec}: mean {error:.2} standard errors off, cv {found_cv:.3}");
        assert!(error.abs() < 3.3, "{spec}: mean gap {found_mean}");
        // Shape 1/4 has a kurtosis of 27, so its cv is known to 1.6 % at best; three times that.
        assert!((found_cv / cv - 1.0).abs() < 0.05, "{spec}: cv {found_cv}");
    }
}

/// In phases of fixed length, arrivals of each phase are a Poisson process with its rate.
#[test]
fn phases_take_turns() {
    let seconds = seconds_of("on-off:on=50/s,off=2/s,on-time=3s,off-time=7s,phases=fixed", 60_000);
    let turns = (seconds.last().unwrap() / 10.0).floor();
    let (mut on, mut off) = (0.0, 0.0);
    for second in seconds.iter().filter(|&&second| second < turns * 10.0) {
        *(if second % 10.0 < 3.0 { &mut on } else { &mut off }) += 1.0;
    }
    for (found, expected) in [(on, turns * 150.0), (off, turns * 14.0)] {
        let error: f64 = (found - expected) / f64::sqrt(expected);
        println!("{found} of {expected}: {error:.2} standard errors off");
        assert!(error.abs() < 3.3, "{found} arrivals, expected {expected}");
    }
    // Phases of random length have the same rate on average, and are in bunches.
    let seconds = seconds_of("on-off:on=50/s,off=2/s,on-time=3s,off-time=7s", 100_000);
    let (mean, cv) = gaps(&seconds);
    // Some 6,000 phases; the on-phases are 3 s with a deviation of 3 s each.
    assert!((mean * 16.4 - 1.0).abs() < 0.06, "{mean}");
    assert!(cv > 1.5, "{cv}");
    // An off-phase may be silent.
    let silent = seconds_of("on-off:on=100/s,on-time=1s,off-time=9s,phases=fixed", 5_000);
    assert!(silent.iter().all(|second| second % 10.0 < 1.0));
}

fn draws(spec: &str, num: usize) -> Vec<u64> {
    let mut lengths = Lengths::new(&spec.parse().unwrap(), Side::Input, Stream::new(4, spec)).unwrap();
    (0..num).map(|_| lengths.draw()).collect()
}

#[test]
fn lengths_have_the_distributions_that_were_asked_for() {
    const NUM: usize = 40_000;
    let quantile = |values: &[u64], share: f64| {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        sorted[(share * values.len() as f64) as usize] as f64
    };
    let mean = |values: &[u64]| values.iter().sum::<u64>() as f64 / values.len() as f64;
    assert_eq!(draws("fixed:7", 3), [7; 3]);
    assert_eq!(draws("7", 3), [7; 3]);

    let uniform = draws("uniform:32..256", NUM);
    // Deviation of 225 equally likely numbers: sqrt((225² − 1) / 12) = 64.95.
    assert!((mean(&uniform) - 144.0).abs() < 3.3 * 64.95 / 200.0, "{}", mean(&uniform));
    assert_eq!((uniform.iter().min(), uniform.iter().max()), (Some(&32), Some(&256)));

    // The standard normal's 10th and 90th percentile are 1.2816 away. A quantile's standard error is
    // sqrt(p (1 − p) / n) / density: in the logarithm 0.0063 at the median and 0.0085 there.
    for spec in ["lognormal:median=2000,sigma=1", "lognormal:mean=3297.4,sigma=1", "lognormal:median=2000,cv=1.31083"] {
        let values = draws(spec, NUM);
        for (share, expected, error) in [(0.5, 0.0, 0.0063), (0.1, -1.2816, 0.0085), (0.9, 1.2816, 0.0085)] {
            let found = (quantile(&values, share) / 2000.0).ln();
            assert!((found - expected).abs() < 3.3 * error, "{spec}: {share} at {found}, not {expected}");
        }
    }
    let cut = draws("lognormal:median=500,sigma=2,min=100,max=1000", NUM);
    assert_eq!((cut.iter().min(), cut.iter().max()), (Some(&100), Some(&1000)));
    // What is beyond the bounds is at them: Φ(−ln 5 / 2) = 0.2105, 1 − Φ(ln 2 / 2) = 0.3645.
    let share = |value: u64| cut.iter().filter(|&&tokens| tokens == value).count() as f64 / NUM as f64;
    assert!((share(100) - 0.2105).abs() < 0.008 && (share(1000) - 0.3645).abs() < 0.008);

    // 1 / (1 + 1/2 + 1/3 + 1/4) of four ranks.
    let zipf = draws("zipf:s=1,min=10,max=13", NUM);
    let first = zipf.iter().filter(|&&tokens| tokens == 10).count() as f64 / NUM as f64;
    assert!((first - 0.48).abs() < 0.0083, "{first}");
    assert_eq!(zipf.iter().max(), Some(&13));
}

#[test]
fn lengths_and_arrivals_out_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.csv");
    let text = "at,TIMESTAMP,ContextTokens,GeneratedTokens\n\
                100,2024-05-10 00:00:05+00:00,10,1\n150,2024-05-10 00:00:06+00:00,20,2\n175,2024-05-10 00:00:09+00:00,30,3\n";
    fs::write(&path, text).unwrap();
    let file = path.display();
    let values = draws(&format!("empirical:{file}"), 3_000);
    for value in [10, 20, 30] {
        let count = values.iter().filter(|&&found| found == value).count();
        // A third of 3,000 within 3.3 deviations of 25.8.
        assert!((915..1_085).contains(&count), "{value}: {count}");
    }
    let column = draws(&format!("empirical:{file},column=at"), 100);
    assert!(column.iter().all(|value| [100, 150, 175].contains(value)));

    let joint = Recipe { lengths: LengthsSpec::Joint(path.clone()), ..recipe() };
    let joint = items(&joint);
    assert!(joint.iter().all(|item| item.calls[0].input_tokens == item.calls[0].output_tokens * 10));
    assert!([10, 20, 30].iter().all(|&tokens| joint.iter().any(|item| item.calls[0].input_tokens == tokens)));

    let replay = |spec: String| {
        let arrivals = spec.parse().unwrap();
        self::arrivals(&items(&Recipe { arrivals, num_requests: None, time_scale: 0.5, ..recipe() }))
    };
    assert_eq!(replay(format!("replay:{file}")), [0, 500_000_000, 2_000_000_000]);
    assert_eq!(replay(format!("replay:{file},column=at,unit=ms")), [0, 25_000_000, 37_500_000]);
    assert_eq!(replay(format!("replay:{file},column=TIMESTAMP")), [0, 500_000_000, 2_000_000_000]);
    let too_many = Recipe { arrivals: format!("replay:{file}").parse().unwrap(), num_requests: Some(4), ..recipe() };
    let mut generator = Generator::new(&too_many).unwrap();
    generator.by_ref().for_each(drop);
    let fault = generator.finish().unwrap_err().to_string();
    assert!(fault.contains("4 are wanted, and there are 3 arrivals"), "{fault}");
}

#[test]
fn the_same_seed_gives_the_same_and_another_another() {
    let recipe = Recipe { token_ids: true, ..with_sessions("uniform:1..4") };
    assert_eq!(items(&recipe), items(&recipe));
    let other = items(&Recipe { seed: 2, ..recipe.clone() });
    assert!(arrivals(&other).iter().zip(arrivals(&items(&recipe))).all(|(a, b)| *a != b));
}

/// What is drawn for one purpose stays where it is when something else changes.
#[test]
fn streams_are_per_purpose() {
    let plain = items(&recipe());
    let lengths = |items: &[Item]| -> Vec<(u64, u64)> {
        items.iter().map(|item| (item.calls[0].input_tokens, item.calls[0].output_tokens)).collect()
    };
    let log_normal = LengthsSpec::Independent {
        input: "lognormal:median=512,sigma=1".parse().unwrap(),
        output: "uniform:1..50".parse().unwrap(),
    };
    let changed = items(&Recipe { lengths: log_normal, ..recipe() });
    assert_eq!(arrivals(&changed), arrivals(&plain), "arrivals don't follow from lengths");
    assert!(lengths(&changed).iter().zip(lengths(&plain)).all(|(a, b)| a.1 == b.1), "nor answers from prompts");
    let bursty = items(&Recipe { arrivals: "gamma:10/s,cv=3".parse().unwrap(), ..recipe() });
    assert_eq!(lengths(&bursty), lengths(&plain), "lengths don't follow from arrivals");
    let prefixed = items(&Recipe { prefixes: Some("count=3,tokens=64".parse().unwrap()), ..recipe() });
    assert_eq!(arrivals(&prefixed), arrivals(&plain));
    let without_prefix: Vec<_> = lengths(&prefixed).iter().map(|&(input, output)| (input - 64, output)).collect();
    assert_eq!(without_prefix, lengths(&plain));
    let first = items(&Recipe { num_requests: Some(10), ..recipe() });
    assert_eq!(first, plain[..10], "fewer are the first of more");
    let timed = items(&Recipe { num_requests: None, duration_s: Some(20.0), ..recipe() });
    let before = plain.iter().take_while(|item| item.arrival_ns < Some(20_000_000_000)).count();
    assert_eq!(timed, plain[..before]);
}

#[test]
fn prefixes_are_shared_and_the_rest_is_not() {
    let prefixes = Some("count=4,tokens=48,choice=zipf,s=1,share=0.75".parse().unwrap());
    let items = items(&Recipe { prefixes, num_requests: Some(8_000), ..recipe() });
    let mut counts = std::collections::HashMap::<&[u32], u64>::new();
    let mut tails = std::collections::HashSet::new();
    for item in &items {
        let call = &item.calls[0];
        assert_eq!(call.input_ids.len() as u64, call.input_tokens);
        assert!(call.input_ids.iter().all(|&id| id < 32_000) && call.output_ids.is_empty());
        *counts.entry(&call.input_ids[..48]).or_default() += 1;
        tails.insert(&call.input_ids[call.input_ids.len() - 50..]);
    }
    assert_eq!(tails.len(), items.len(), "no two prompts end alike");
    let mut shared: Vec<u64> = counts.values().copied().filter(|&count| count > 1).collect();
    shared.sort_unstable_by(|a, b| b.cmp(a));
    // 6,000 of them in proportion to 12 : 6 : 4 : 3; standard errors of some 40.
    let expected = [2_880.0, 1_440.0, 960.0, 720.0];
    assert_eq!(shared.len(), 4);
    assert!(shared.iter().zip(expected).all(|(&a, b)| (a as f64 - b).abs() < 140.0), "{shared:?}");
}

#[test]
fn each_call_of_a_session_goes_on_from_the_one_before() {
    let recipe = Recipe {
        prefixes: Some("count=2,tokens=32".parse().unwrap()),
        num_requests: Some(300),
        ..with_sessions("uniform:1..5")
    };
    let sessions = items(&recipe);
    let mut num_calls = [0; 6];
    for session in &sessions {
        num_calls[session.calls.len()] += 1;
        for pair in session.calls.windows(2) {
            let before = [pair[0].input_ids.as_slice(), &pair[0].output_ids].concat();
            assert!(pair[1].input_ids.starts_with(&before));
            let tool_tokens = pair[1].input_tokens - before.len() as u64;
            assert!((5..=20).contains(&tool_tokens) && pair[0].tool_time.ns() > 0);
        }
        for call in &session.calls {
            let listed = (call.input_ids.len() as u64, call.output_ids.len() as u64);
            assert_eq!(listed, (call.input_tokens, call.output_tokens));
        }
        assert_eq!(session.calls.last().unwrap().tool_time.ns(), 0);
    }
    assert!(num_calls[1..].iter().all(|&num| (35..90).contains(&num)), "{num_calls:?}");
    let times: Vec<f64> = sessions
        .iter()
        .flat_map(|session| &session.calls[..session.calls.len() - 1])
        .map(|call| call.tool_time.ns() as f64 / 1e9)
        .collect();
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    assert!((mean - 2.0).abs() < 3.3 * 2.0 / (times.len() as f64).sqrt(), "{mean} s on average");

    let mut short = with_sessions("9");
    short.sessions.as_mut().unwrap().context_max = Some(400);
    let sessions = items(&short);
    assert!(
        sessions.iter().flat_map(|session| &session.calls).all(|call| call.input_tokens + call.output_tokens <= 400)
    );
    // Nine calls need 150 + 9 · 25.5 + 8 · 12.5 = 479.5 tokens with a deviation of 53.8, so 186 of 200 are cut short,
    // give or take 3.6.
    let num_cut = sessions.iter().filter(|session| session.calls.len() < 9).count();
    assert!((175..198).contains(&num_cut), "{num_cut}");
}

#[test]
fn times_have_the_distributions_that_were_asked_for() {
    let mean = |spec: &str| {
        let mut times = Times::new(spec.parse().unwrap(), Stream::new(8, spec));
        let times: Vec<f64> = (0..40_000).map(|_| times.draw().ns() as f64 / 1e9).collect();
        (times.iter().sum::<f64>() / 40_000.0, times.iter().copied().fold(0.0, f64::max))
    };
    assert_eq!(mean("1500ms"), (1.5, 1.5));
    let check = |spec: &str, expected: f64, deviation: f64| {
        let (found, _) = mean(spec);
        assert!((found - expected).abs() < 3.3 * deviation / 200.0, "{spec}: {found}");
    };
    check("uniform:1s..5s", 3.0, 1.1547);
    check("exponential:2s", 2.0, 2.0);
    check("lognormal:mean=2s,cv=1", 2.0, 2.0);
    assert_eq!(mean("exponential:2s,max=3s").1, 3.0);
}

#[test]
fn what_cannot_be_made() {
    let mut shown = String::new();
    let mut check = |what: &str, result: Result<(), String>| {
        shown += &format!("{what}\n    {}\n", result.unwrap_err().replace('\n', "\n    "));
    };
    let arrivals = |text: &str| text.parse::<ArrivalSpec>().map(drop);
    let lengths = |text: &str| text.parse::<LengthSpec>().map(drop);
    let times = |text: &str| text.parse::<TimeSpec>().map(drop);
    let first_line =
        |result: Result<(), String>| result.map_err(|message| message.lines().next().unwrap_or_default().to_owned());
    check("poison:10/s", arrivals("poison:10/s"));
    for text in [
        "",
        "poisson",
        "poisson:10",
        "poisson:0/s",
        "poisson:-1/s",
        "poisson:10/s,cv=2",
        "gamma:10/s",
        "gamma:10/s,cv=2,shape=1",
        "gamma:10/s,cv=0",
        "gamma:10/s,cv=1e6",
        "gamma:10/s,cv=2,cv=3",
        "gamma:10/s,2",
        "on-off:on=5/s",
        "on-off:on=0/s,off=0/s,on-time=1s,off-time=1s",
        "on-off:on=1/s,off=0/s,on-time=1,off-time=1s",
        "on-off:on=1/s,on-time=1s,off-time=1s,phases=fix",
        "replay",
        "replay:f.csv,unit=s",
        "replay:f.csv,column=a,unit=days",
    ] {
        check(text, first_line(arrivals(text)));
    }
    check("lognormal:medin=512,sigma=1", lengths("lognormal:medin=512,sigma=1"));
    for text in [
        "0",
        "5000000000",
        "twelve",
        "uniform:9..3",
        "uniform:9",
        "uniform:0..3",
        "lognormal:median=512",
        "lognormal:median=512,mean=3,sigma=1",
        "lognormal:median=512,sigma=1,min=9,max=3",
        "lognormal:median=512,sigma=99",
        "zipf:s=1",
        "zipf:s=-1,max=9",
        "empirical",
    ] {
        check(text, first_line(lengths(text)));
    }
    check("2", times("2"));
    for text in ["exponential:0s", "uniform:5s..1s", "2 weeks", "1e99s"] {
        check(text, first_line(times(text)));
    }
    check("count=3", "count=3".parse::<PrefixSpec>().map(drop));
    for text in ["count=3,tokens=4,s=1", "count=3,tokens=4,share=2", "count=3,tokens=4,choise=zipf", "3,tokens=4"] {
        check(text, first_line(text.parse::<PrefixSpec>().map(drop)));
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn what_would_never_end() {
    for (arrivals, duration_s) in [("poisson:10/s", None), ("at-once", Some(5.0))] {
        let recipe = Recipe { arrivals: arrivals.parse().unwrap(), num_requests: None, duration_s, ..recipe() };
        let faults = Generator::new(&recipe).unwrap_err().to_string();
        assert!(faults.contains("--num-requests: is needed"), "{faults}");
    }
    let nowhere = LengthsSpec::Joint("nowhere.jsonl".into());
    let recipe = Recipe { arrivals: "replay:elsewhere.csv".parse().unwrap(), lengths: nowhere, ..recipe() };
    let faults = Generator::new(&recipe).unwrap_err();
    assert_eq!(faults.iter().count(), 2, "{faults}");
}
