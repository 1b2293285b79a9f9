//! An explained deployment as a drawing: nodes, instances, NPUs with their ranks, experts and memory, and links.
//!
//! The drawing is one SVG element without anything from outside. It can be a file of its own or stand in a page: its
//! rules apply to its own class alone, `servingsim-drawing`, follow the reader's colour scheme, and are held to one of
//! the two by a further class, `light` or `dark`.
//!
//! Nodes and instances that are alike are drawn once, so that a cluster of hundreds fits a page.

mod canvas;
mod card;

use std::collections::BTreeMap;

use explain::{DimensionFacts, Explanation, GroupKind, Ids, NodeKind};

use crate::human;
use canvas::Canvas;
use card::Card;

const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 12.0;
const GAP: f64 = 12.0;
/// Height of a node's two lines of text.
const NODE_HEAD: f64 = 40.0;
/// Between two rails of links.
const RAIL: f64 = 9.0;
/// Groups whose members are joined by rails; those beyond are told in words alone.
const RAILS_MAX: usize = 6;
/// Instances of one kind on a node that are drawn when there are more.
const CARDS_OF_RUN: usize = 2;
/// Nodes that are drawn one by one though alike, where there are no more.
const NODES_EACH: usize = 4;
/// Nodes that are drawn; those beyond are told in words.
const NODES_MAX: usize = 16;

/// The drawing as an SVG element, with a line break at its end.
pub fn drawing(explanation: &Explanation) -> String {
    let mut canvas = Canvas::new(WIDTH);
    let mut rails = Rails::of(explanation);
    let mut y = MARGIN;
    let nodes = nodes(explanation);
    for shown in nodes.iter().take(NODES_MAX) {
        y = node(&mut canvas, shown, explanation, &mut rails, y) + GAP;
    }
    if let Some(more) = nodes.len().checked_sub(NODES_MAX).filter(|&more| more > 0) {
        canvas.text(MARGIN, y + 12.0, "faint", &format!("{more} more nodes, each unlike those above, are not drawn"));
        y += 24.0;
    }
    if let Some(pool) = &explanation.pool {
        canvas.rect(MARGIN, y, WIDTH - 2.0 * MARGIN, 28.0, "node");
        let text = format!(
            "CXL memory {}, {} devices of {} GB/s, {} ns",
            human::bytes(pool.memory_bytes),
            pool.devices,
            pool.bandwidth_gb_per_s,
            pool.latency_ns
        );
        canvas.text(MARGIN + 10.0, y + 18.0, "", &text);
        y += 28.0 + GAP;
    }
    rails.draw(&mut canvas);
    y = legend(&mut canvas, &explanation.groups, &rails, y);
    canvas.finish("Deployment", &summary(explanation), y + MARGIN)
}

/// What the drawing shows, in a sentence.
fn summary(explanation: &Explanation) -> String {
    let nodes: usize = explanation.nodes.iter().map(|kind| kind.nodes.count()).sum();
    let instances: usize = explanation.instances.iter().map(|kind| kind.instances.count()).sum();
    let groups: usize = explanation.groups.iter().map(|kind| kind.groups.count()).sum();
    format!("{nodes} nodes, {} NPUs, {instances} instances in {groups} groups", explanation.npus.len())
}

/// A node that is drawn, for itself or for all of its kind.
struct Shown<'e> {
    kind: &'e NodeKind,
    nodes: Ids,
    instances: Ids,
}

/// Every node where there are few, else one of each kind.
fn nodes(explanation: &Explanation) -> Vec<Shown<'_>> {
    let kinds = explanation.nodes.iter();
    if explanation.nodes.iter().map(|kind| kind.nodes.count()).sum::<usize>() > NODES_EACH {
        let all = |kind| Shown { kind, nodes: kind.nodes.clone(), instances: kind.first_instances.clone() };
        return kinds.map(all).collect();
    }
    let each = kinds.flat_map(|kind| kind.nodes.iter().map(move |node| (node, kind)));
    let mut shown: Vec<_> = each.collect();
    shown.sort_by_key(|(node, _)| *node);
    let on_node = |node: u32| {
        let mut instances: Vec<u32> =
            explanation.npus.iter().filter(|npu| npu.node == node).map(|npu| npu.instance).collect();
        instances.dedup();
        instances.into_iter().collect()
    };
    let of = |(node, kind)| Shown { kind, nodes: [node].into_iter().collect(), instances: on_node(node) };
    shown.into_iter().map(of).collect()
}

/// Draws a node at `y`, and returns where it ends.
fn node(canvas: &mut Canvas, shown: &Shown<'_>, explanation: &Explanation, rails: &mut Rails, y: f64) -> f64 {
    let at = canvas.mark();
    let Shown { kind, nodes, instances } = shown;
    let cards = cards(instances, explanation);
    let left = MARGIN + 10.0;
    let right = WIDTH - MARGIN - 10.0 - rails.width();
    let (mut x, mut top) = (left, y + NODE_HEAD);
    let mut row: Vec<(f64, f64, Option<u32>)> = Vec::new();
    let mut height: f64 = 0.0;
    for card in &cards {
        if x > left && x + card.width() > right {
            top = rails.end_row(canvas, &mut row, top + height) + GAP;
            (x, height) = (left, 0.0);
        }
        card.draw(canvas, x, top);
        row.push((x + card.width() / 2.0, top + card.height(), card.group()));
        x += card.width() + GAP;
        height = height.max(card.height());
    }
    let end = rails.end_row(canvas, &mut row, top + height) + 10.0;
    let mut frame = Canvas::new(WIDTH);
    let (count, inner) = (nodes.count(), WIDTH - 2.0 * MARGIN);
    if count > 1 {
        frame.rect(MARGIN + 4.0, y + 4.0, inner, end - y, "node");
    }
    frame.rect(MARGIN, y, inner, end - y, "node");
    let title = match count {
        1 => format!("Node {nodes}"),
        _ => format!("Nodes {nodes}: {count} alike, the first is drawn"),
    };
    frame.text(left, y + 17.0, "head", &title);
    let memory = format!(
        "host memory {}, {} GB/s, {} ns",
        human::bytes(kind.host_memory_bytes),
        kind.host_bandwidth_gb_per_s,
        kind.host_latency_ns
    );
    frame.text(left, y + 32.0, "faint", &memory);
    canvas.insert(at, frame);
    end
}

/// What is drawn of the instances of a node: of each run of instances that are alike the first ones.
fn cards<'e>(instances: &Ids, explanation: &'e Explanation) -> Vec<Card<'e>> {
    let instance_kind = |id: u32| explanation.instances.iter().position(|kind| kind.instances.contains(id));
    let group_kind = |id: u32| explanation.groups.iter().position(|kind| kind.instances.contains(id));
    let ids: Vec<u32> = instances.iter().collect();
    let mut cards = Vec::new();
    for run in ids.chunk_by(|&a, &b| instance_kind(a) == instance_kind(b) && group_kind(a) == group_kind(b)) {
        let shown = if run.len() > CARDS_OF_RUN + 1 { CARDS_OF_RUN } else { run.len() };
        cards.extend(run[..shown].iter().filter_map(|&id| Card::of(id, explanation)));
        if shown < run.len() {
            let group = explanation.npus.iter().find(|npu| npu.instance == run[shown]).map(|npu| npu.group);
            cards.push(Card::alike(run[shown..].iter().copied().collect(), group));
        }
    }
    cards
}

/// The links between members of groups: a line below each row of instances, and a rail on the right that joins several.
struct Rails {
    /// By group: its place on the right, and its lines.
    groups: BTreeMap<u32, (usize, Vec<Line>)>,
}

/// A line below a row of instances.
struct Line {
    y: f64,
    from: f64,
    to: f64,
}

impl Rails {
    fn of(explanation: &Explanation) -> Self {
        let several = explanation.groups.iter().filter(|kind| kind.first_members.count() > 1);
        let ids = several.flat_map(|kind| kind.groups.iter()).take(RAILS_MAX);
        Self { groups: ids.enumerate().map(|(place, id)| (id, (place, Vec::new()))).collect() }
    }

    /// The width that they take on the right.
    fn width(&self) -> f64 {
        self.groups.len() as f64 * RAIL
    }

    fn x(place: usize) -> f64 {
        WIDTH - MARGIN - 6.0 - place as f64 * RAIL
    }

    /// Ends a row of instances at `bottom`, and returns where the lines below it end.
    fn end_row(&mut self, canvas: &mut Canvas, row: &mut Vec<(f64, f64, Option<u32>)>, bottom: f64) -> f64 {
        let mut y = bottom;
        for (id, (place, lines)) in &mut self.groups {
            let offset = |x: f64| x + *place as f64 * 4.0;
            let members: Vec<_> = row.iter().filter(|(.., group)| *group == Some(*id)).collect();
            let (Some(first), Some(last)) = (members.first(), members.last()) else { continue };
            y += RAIL;
            members.iter().for_each(|(x, bottom, _)| canvas.line(offset(*x), *bottom, offset(*x), y, &class(*place)));
            lines.push(Line { y, from: offset(first.0), to: offset(last.0) });
        }
        row.clear();
        y
    }

    fn draw(&self, canvas: &mut Canvas) {
        for (place, lines) in self.groups.values() {
            let (class, rail) = (class(*place), Self::x(*place));
            if let [first, .., last] = &lines[..] {
                canvas.line(rail, first.y, rail, last.y, &class);
            }
            for line in lines {
                let to = if lines.len() > 1 { rail } else { line.to };
                canvas.line(line.from, line.y, to, line.y, &class);
            }
        }
    }
}

fn class(place: usize) -> String {
    format!("link g{place}")
}

/// Draws what links there are and what colours mean at `y`, and returns where it ends.
fn legend(canvas: &mut Canvas, groups: &[GroupKind], rails: &Rails, mut y: f64) -> f64 {
    canvas.text(MARGIN, y + 12.0, "head", "Links");
    y += 18.0;
    for kind in groups {
        let place = kind.groups.first().and_then(|id| rails.groups.get(&id)).map(|(place, _)| *place);
        let many = if kind.groups.count() == 1 { "Group" } else { "Groups" };
        let dimensions = kind.dimensions.iter().enumerate().filter(|(_, dimension)| dimension.npus > 1);
        for (dim, dimension) in dimensions {
            let joins_members = dimension.joins.contains(&"dp");
            let class = place.filter(|_| joins_members).map_or("link".to_owned(), class);
            canvas.line(MARGIN, y + 8.0, MARGIN + 18.0, y + 8.0, &class);
            let text = format!("{many} {}, dimension {dim}: {}", kind.groups, link_text(dimension));
            canvas.text(MARGIN + 26.0, y + 12.0, "", &text);
            y += 18.0;
        }
        if kind.npus == 1 {
            canvas.text(MARGIN + 26.0, y + 12.0, "faint", &format!("{many} {}: one NPU, no links", kind.groups));
            y += 18.0;
        }
    }
    y += 6.0;
    canvas.text(MARGIN, y + 12.0, "head", "Memory of an NPU");
    let mut x = MARGIN + 140.0;
    for (class, name) in [("weights", "weights"), ("kv", "KV blocks"), ("other", "overheads"), ("free", "not used")] {
        canvas.rect(x, y + 4.0, 12.0, 10.0, class);
        canvas.text(x + 18.0, y + 12.0, "", name);
        x += 100.0;
    }
    y + 18.0
}

fn link_text(dimension: &DimensionFacts) -> String {
    let joins = |name: &&str| match *name {
        "tp" => "tensor-parallel ranks",
        "pp" => "pipeline stages",
        "dp" => "members of the group",
        _ => "NPUs and their peers",
    };
    let joined: Vec<_> = dimension.joins.iter().map(joins).collect();
    let carries = match &dimension.carries[..] {
        [] => String::new(),
        carries => format!(", carries {} collectives", carries.join(" and ")),
    };
    let (npus, bandwidth, latency) = (dimension.npus, dimension.bandwidth_gib_per_s, dimension.latency_ns);
    format!("joins {npus} {}, {bandwidth} GiB/s, {latency} ns{carries}", joined.join(" and "))
}
