//! Minimisation without derivatives: the simplex of Nelder and Mead (1965), with the coefficients that Gao and Han
//! (2012) adapt to the number of dimensions, begun anew from its own result so that a collapsed simplex does not end
//! the search.

/// A point and its cost.
type Vertex = (Vec<f64>, f64);

/// The point of least `cost` found from `start`, and that cost.
///
/// Each of `rounds` searches begins with a simplex of edge `edge` around the best point so far and looks at no more than
/// `evaluations` points. The same input has the same result.
pub(super) fn minimise(
    cost: impl Fn(&[f64]) -> f64,
    start: &[f64],
    edge: f64,
    rounds: usize,
    evaluations: usize,
) -> Vertex {
    let mut best = (start.to_vec(), cost(start));
    for round in 0..rounds {
        // Turned round each time, so that a simplex that lost a direction gets it back from the other side.
        let edge = if round % 2 == 0 { edge } else { -edge };
        let found = search(&cost, &best, edge, evaluations);
        if found.1 < best.1 {
            best = found;
        }
    }
    best
}

fn search(cost: &impl Fn(&[f64]) -> f64, start: &Vertex, edge: f64, evaluations: usize) -> Vertex {
    let dimensions = start.0.len() as f64;
    let (expand, contract, shrink) = (1.0 + 2.0 / dimensions, 0.75 - 0.5 / dimensions, 1.0 - 1.0 / dimensions);
    let mut left = evaluations;
    let mut look = |point: Vec<f64>| {
        left = left.saturating_sub(1);
        let cost = cost(&point);
        ((point, cost), left)
    };

    let mut simplex = vec![start.clone()];
    for dimension in 0..start.0.len() {
        let mut point = start.0.clone();
        point[dimension] += edge;
        simplex.push(look(point).0);
    }
    loop {
        simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
        let worst = simplex.len() - 1;
        let (low, high) = (simplex[0].1, simplex[worst].1);
        let centre = centre(&simplex[..worst]);
        let along = |simplex: &[Vertex], step: f64| mix(&centre, &simplex[worst].0, step);

        let (reflected, left) = look(along(&simplex, -1.0));
        if left == 0 || high - low <= 1e-9 * low.abs() {
            return simplex.swap_remove(0);
        }
        if reflected.1 < low {
            let (expanded, _) = look(along(&simplex, -expand));
            simplex[worst] = if expanded.1 < reflected.1 { expanded } else { reflected };
        } else if reflected.1 < simplex[worst - 1].1 {
            simplex[worst] = reflected;
        } else {
            let (step, limit) = if reflected.1 < high { (-contract, reflected.1) } else { (contract, high) };
            let (contracted, _) = look(along(&simplex, step));
            if contracted.1 <= limit {
                simplex[worst] = contracted;
            } else {
                let best = simplex[0].0.clone();
                for vertex in &mut simplex[1..] {
                    *vertex = look(mix(&best, &vertex.0, shrink)).0;
                }
            }
        }
    }
}

/// The mean of the points.
fn centre(simplex: &[Vertex]) -> Vec<f64> {
    let mut centre = vec![0.0; simplex[0].0.len()];
    for (point, _) in simplex {
        for (sum, x) in centre.iter_mut().zip(point) {
            *sum += x / simplex.len() as f64;
        }
    }
    centre
}

/// `from`, moved towards `to` by `step` times their distance.
fn mix(from: &[f64], to: &[f64], step: f64) -> Vec<f64> {
    from.iter().zip(to).map(|(from, to)| from + step * (to - from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_minima() {
        let check = |cost: fn(&[f64]) -> f64, start: &[f64], expected: &[f64]| {
            let (found, _) = minimise(cost, start, 0.5, 4, 4000);
            let distance = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(distance < 1e-3, "{found:?} is not {expected:?}");
        };
        check(|x| (x[0] - 3.0).powi(2) + 10.0 * (x[1] + 1.0).powi(2), &[0.0, 0.0], &[3.0, -1.0]);
        // Rosenbrock's valley.
        check(|x| (1.0 - x[0]).powi(2) + 100.0 * (x[1] - x[0] * x[0]).powi(2), &[-1.2, 1.0], &[1.0, 1.0]);
        // Not smooth.
        check(
            |x| x.iter().zip([1.0, 2.0, 3.0, 4.0]).map(|(x, at)| (x - at).abs()).sum(),
            &[0.0; 4],
            &[1.0, 2.0, 3.0, 4.0],
        );
    }
}
