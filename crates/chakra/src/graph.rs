//! Who waits for whom: ids are unique, parents are there, and nobody waits for itself.

use diagnostics::Fault;

use crate::faults::Collected;
use crate::set::Source;
use crate::trace::TraceNode;

/// Nodes of a circle that are named.
const CIRCLE_MAX: usize = 8;

/// Checks the nodes of the file called `source`.
pub(crate) fn check(source: Source<'_>, nodes: &[TraceNode], faults: &mut Collected) {
    let mut places: Vec<(u64, usize)> = nodes.iter().enumerate().map(|(place, node)| (node.id, place)).collect();
    places.sort_unstable();
    let mut is_sound = true;
    for pair in places.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        is_sound = false;
        let [(id, first), (_, second)] = [pair[0], pair[1]];
        faults.push(|| {
            let message = format!("is the id of two nodes, number {} and number {} in the file", first + 1, second + 1);
            Fault::new(source, message).path(format!("node {id}")).hint("ids are unique in a file")
        });
    }
    let place_of = |id: u64| {
        let index = places.binary_search_by_key(&id, |&(id, _)| id).ok()?;
        Some(places[index].1)
    };
    let mut is_in_order = true;
    for (place, node) in nodes.iter().enumerate() {
        for &parent in &node.parents {
            match place_of(parent) {
                Some(parent) => is_in_order &= parent < place,
                None => {
                    is_sound = false;
                    faults.push(|| {
                        Fault::new(source, format!("waits for node {parent}, which is not in the file"))
                            .path(format!("node {}, data_deps", node.id))
                    });
                }
            }
        }
    }
    if is_sound && !is_in_order {
        let parents: Vec<Vec<usize>> =
            nodes.iter().map(|node| node.parents.iter().filter_map(|&parent| place_of(parent)).collect()).collect();
        if let Some(circle) = circle(&parents) {
            faults.push(|| circle_fault(source, nodes, &circle));
        }
    }
}

fn circle_fault(source: Source<'_>, nodes: &[TraceNode], circle: &[usize]) -> Fault {
    let via: Vec<String> = circle.iter().skip(1).take(CIRCLE_MAX).map(|&place| nodes[place].id.to_string()).collect();
    let rest = if circle.len() > CIRCLE_MAX + 1 { ", …" } else { "" };
    let message = match via.len() {
        0 => "waits for itself".to_owned(),
        1 => format!("waits for itself by way of node {}", via[0]),
        _ => format!("waits for itself by way of nodes {}{rest}", via.join(", ")),
    };
    Fault::new(source, message).path(format!("node {}, data_deps", nodes[circle[0]].id))
}

/// Nodes each of which has the next among its parents, and the last the first, if there are any.
fn circle(parents: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut children = vec![Vec::new(); parents.len()];
    let mut num_open: Vec<usize> = parents.iter().map(Vec::len).collect();
    for (place, parents) in parents.iter().enumerate() {
        for &parent in parents {
            children[parent].push(place);
        }
    }
    let mut free: Vec<usize> = (0..parents.len()).filter(|&place| num_open[place] == 0).collect();
    while let Some(place) = free.pop() {
        for &child in &children[place] {
            num_open[child] -= 1;
            if num_open[child] == 0 {
                free.push(child);
            }
        }
    }
    // Whoever is left has a parent that is left: going from one to the next must come back to where it was.
    let mut place = num_open.iter().position(|&open| open > 0)?;
    let mut step_of = vec![None; parents.len()];
    let mut path = Vec::new();
    loop {
        if let Some(step) = step_of[place] {
            return Some(path.split_off(step));
        }
        step_of[place] = Some(path.len());
        path.push(place);
        place = *parents[place].iter().find(|&&parent| num_open[parent] > 0)?;
    }
}
