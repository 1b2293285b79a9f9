use super::*;

/// Numbers drawn for each check.
const NUM: usize = 50_000;

/// The error function, to 1.5e-7 (Abramowitz and Stegun, 7.1.26).
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let series =
        ((((1.061_405_429 * t - 1.453_152_027) * t + 1.421_413_741) * t - 0.284_496_736) * t + 0.254_829_592) * t;
    (1.0 - series * (-x * x).exp()).copysign(x)
}

/// The numbers have this mean, variance and distribution function. The bounds are passed by one seed in a thousand or
/// fewer each.
#[track_caller]
fn check(what: &str, mean: f64, variance: f64, cdf: impl Fn(f64) -> f64, mut draw: impl FnMut(&mut Stream) -> f64) {
    let mut stream = Stream::new(1, what);
    let mut numbers: Vec<f64> = (0..NUM).map(|_| draw(&mut stream)).collect();
    numbers.sort_by(f64::total_cmp);
    let n = NUM as f64;
    let found_mean = numbers.iter().sum::<f64>() / n;
    let squares: Vec<f64> = numbers.iter().map(|x| (x - found_mean).powi(2)).collect();
    let found_variance = squares.iter().sum::<f64>() / (n - 1.0);
    let mean_error = (found_mean - mean) / (variance / n).sqrt();
    assert!(mean_error.abs() < 3.3, "{what}: mean {found_mean}, not {mean}: {mean_error} standard errors off");
    let fourth = squares.iter().map(|square| square * square).sum::<f64>() / n;
    let variance_error = (found_variance - variance) / ((fourth - variance * variance) / n).sqrt();
    assert!(
        variance_error.abs() < 3.5,
        "{what}: variance {found_variance}, not {variance}: {variance_error} errors off"
    );
    // Kolmogorov and Smirnov: the largest distance between the distribution functions.
    let distance = |(index, &x): (usize, &f64)| {
        let expected = cdf(x);
        (expected - index as f64 / n).abs().max(((index + 1) as f64 / n - expected).abs())
    };
    let ks = numbers.iter().enumerate().map(distance).fold(0.0, f64::max);
    println!(
        "{what}: mean {mean_error:.2} and variance {variance_error:.2} standard errors off, KS {:.2}",
        ks * n.sqrt()
    );
    assert!(ks < 1.95 / n.sqrt(), "{what}: KS distance {ks}");
}

#[test]
fn distributions_are_what_they_are_called() {
    check("uniform", 0.5, 1.0 / 12.0, |x| x, Stream::uniform);
    check("exponential", 1.0, 1.0, |x| 1.0 - (-x).exp(), Stream::exponential);
    check("normal", 0.0, 1.0, |x| 0.5 * (1.0 + erf(x / 2.0_f64.sqrt())), Stream::normal);
    // A gamma distribution of shape 1/2 is the square of a normal one; whole shapes are sums of exponential ones.
    check("gamma 0.5", 1.0, 2.0, |x| erf((x / 2.0).sqrt()), |stream| stream.gamma(0.5));
    check("gamma 1", 1.0, 1.0, |x| 1.0 - (-x).exp(), |stream| stream.gamma(1.0));
    let erlang_4 = |x: f64| {
        let y = 4.0 * x;
        1.0 - (-y).exp() * (1.0 + y + y * y / 2.0 + y.powi(3) / 6.0)
    };
    check("gamma 4", 1.0, 0.25, erlang_4, |stream| stream.gamma(4.0));
}

/// Counts of ranks are as likely as chance has it: Pearson's chi-square is within 4 of its own deviations.
#[test]
fn ranks_have_the_probabilities_of_zipf() {
    for (n, s) in [(1, 1.0), (2, 0.0), (10, 0.0), (10, 0.5), (10, 1.0), (50, 1.2), (1000, 2.5)] {
        let zipf = Zipf::new(n, s);
        let mut stream = Stream::new(7, "zipf");
        let mut counts = vec![0_u64; n as usize];
        (0..NUM).for_each(|_| counts[zipf.draw(&mut stream) as usize - 1] += 1);
        let weights: Vec<f64> = (1..=n).map(|rank| (rank as f64).powf(-s)).collect();
        let all: f64 = weights.iter().sum();
        // Ranks that hardly ever come are taken together.
        let (mut chi_square, mut classes, mut rest) = (0.0, 0.0, (0.0, 0.0));
        for (&count, weight) in counts.iter().zip(&weights) {
            let expected = weight / all * NUM as f64;
            if expected >= 10.0 {
                chi_square += (count as f64 - expected).powi(2) / expected;
                classes += 1.0;
            } else {
                rest = (rest.0 + count as f64, rest.1 + expected);
            }
        }
        if rest.1 > 0.0 {
            chi_square += (rest.0 - rest.1).powi(2) / rest.1;
            classes += 1.0;
        }
        let freedom: f64 = classes - 1.0;
        let off = (chi_square - freedom) / (2.0 * freedom).sqrt().max(1.0);
        println!("n {n} s {s}: chi-square {chi_square:.1} of {freedom} degrees of freedom");
        assert!(off.abs() < 4.0, "n {n} s {s}: chi-square {chi_square} of {freedom} degrees of freedom");
    }
}

#[test]
fn ranks_stay_within_their_bounds_however_many_there_are() {
    let mut stream = Stream::new(3, "zipf");
    for n in [1, 2, 3, u64::from(u32::MAX)] {
        for s in [0.0, 0.3, 1.0, 1.0 + 1e-12, 3.0, 40.0] {
            let zipf = Zipf::new(n, s);
            assert!((0..200).all(|_| (1..=n).contains(&zipf.draw(&mut stream))), "n {n} s {s}");
        }
    }
}

#[test]
fn whole_numbers_below_an_end() {
    let mut stream = Stream::new(5, "below");
    let mut counts = [0_u32; 7];
    (0..70_000).for_each(|_| counts[stream.below(7) as usize] += 1);
    // Each within four deviations of 10,000.
    assert!(counts.iter().all(|&count| (9_630..10_370).contains(&count)), "{counts:?}");
    assert_eq!(stream.below(1), 0);
}

#[test]
fn streams_have_nothing_in_common() {
    let numbers = |seed, purpose| {
        let mut stream = Stream::new(seed, purpose);
        (0..1000).map(|_| stream.uniform()).collect::<Vec<f64>>()
    };
    assert_eq!(numbers(1, "arrivals"), numbers(1, "arrivals"));
    let streams = [numbers(1, "arrivals"), numbers(1, "input tokens"), numbers(2, "arrivals"), numbers(3, "arrivals")];
    for (index, a) in streams.iter().enumerate() {
        for b in &streams[..index] {
            let products: f64 = a.iter().zip(b).map(|(a, b)| (a - 0.5) * (b - 0.5)).sum();
            let correlation = products * 12.0 / a.len() as f64;
            assert!(correlation.abs() < 0.12, "correlation {correlation}");
        }
    }
}
