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

use explain::{Explanation, GroupKind, NodeKind};

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
/// Kinds of nodes that are drawn; those beyond are told in words.
const NODES_MAX: usize = 16;

/// The drawing as an SVG element, with a line break at its end.
pub fn drawing(explanation: &Explanation) -> String {
    let mut canvas = Canvas::new(WIDTH);
    let mut rails = Rails::of(explanation);
    let mut y = MARGIN;
    for kind in explanation.nodes.iter().take(NODES_MAX) {
        y = node(&mut canvas, kind, explanation, &mut rails, y) + GAP;
    }
    if let Some(more) = explanation.nodes.len().checked_sub(NODES_MAX).filter(|&more| more > 0) {
        canvas.text(MARGIN, y + 12.0, "faint", &format!("{more} more kinds of nodes are not drawn"));
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

/// Draws a node at `y`, and returns where it ends.
fn node(canvas: &mut Canvas, kind: &NodeKind, explanation: &Explanation, rails: &mut Rails, y: f64) -> f64 {
    let at = canvas.mark();
    let cards = cards(kind, explanation);
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
    let (count, inner) = (kind.nodes.count(), WIDTH - 2.0 * MARGIN);
    if count > 1 {
        frame.rect(MARGIN + 4.0, y + 4.0, inner, end - y, "node");
    }
    frame.rect(MARGIN, y, inner, end - y, "node");
    let title = match count {
        1 => format!("Node {}", kind.nodes),
        _ => format!("Nodes {}: {count} alike, the first is drawn", kind.nodes),
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

/// What is drawn of the first node of a kind: of each run of instances that are alike the first ones.
fn cards<'e>(kind: &NodeKind, explanation: &'e Explanation) -> Vec<Card<'e>> {
    let instance_kind = |id: u32| explanation.instances.iter().position(|kind| kind.instances.contains(id));
    let group_kind = |id: u32| explanation.groups.iter().position(|kind| kind.instances.contains(id));
    let ids: Vec<u32> = kind.first_instances.iter().collect();
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

/// The links between members of groups: a line below each row of instances, and a rail on the right that joins them.
struct Rails {
    /// By group: its place on the right, and where its lines meet its rail.
    groups: BTreeMap<u32, (usize, Vec<f64>)>,
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

    /// Draws the lines below a row of instances that ends at `bottom`, and returns where they end.
    fn end_row(&mut self, canvas: &mut Canvas, row: &mut Vec<(f64, f64, Option<u32>)>, bottom: f64) -> f64 {
        let mut y = bottom;
        for (id, (place, ys)) in &mut self.groups {
            let members: Vec<_> = row.iter().filter(|(.., group)| *group == Some(*id)).collect();
            let Some(first) = members.first() else { continue };
            y += RAIL;
            let class = format!("link g{place}");
            let offset = |x: f64| x + *place as f64 * 4.0;
            canvas.line(offset(first.0), y, Self::x(*place), y, &class);
            members.iter().for_each(|(x, bottom, _)| canvas.line(offset(*x), *bottom, offset(*x), y, &class));
            ys.push(y);
        }
        row.clear();
        y
    }

    fn draw(&self, canvas: &mut Canvas) {
        for (place, ys) in self.groups.values() {
            if let [first, .., last] = ys[..] {
                canvas.line(Self::x(*place), first, Self::x(*place), last, &format!("link g{place}"));
            }
        }
    }
}

/// Draws what links there are and what colours mean at `y`, and returns where it ends.
fn legend(canvas: &mut Canvas, groups: &[GroupKind], rails: &Rails, mut y: f64) -> f64 {
    canvas.text(MARGIN, y + 12.0, "head", "Links");
    y += 18.0;
    for kind in groups {
        let place = kind.groups.first().and_then(|id| rails.groups.get(&id)).map(|(place, _)| *place);
        let many = if kind.groups.count() == 1 { "Group" } else { "Groups" };
        for (dim, dimension) in kind.dimensions.iter().enumerate() {
            if let Some(place) = place {
                canvas.line(MARGIN, y + 8.0, MARGIN + 18.0, y + 8.0, &format!("link g{place}"));
            }
            let carries = if dimension.carries.is_empty() {
                String::new()
            } else {
                format!(", carries {}", dimension.carries.join(" and "))
            };
            let joins = if dimension.joins.is_empty() {
                String::new()
            } else {
                format!(" along {}", dimension.joins.join(" and "))
            };
            let text = format!(
                "{many} {}, dimension {dim}: {} NPUs{joins}, {} GiB/s, {} ns{carries}",
                kind.groups, dimension.npus, dimension.bandwidth_gib_per_s, dimension.latency_ns
            );
            canvas.text(MARGIN + 26.0, y + 12.0, "", &text);
            y += 18.0;
        }
    }
    y += 6.0;
    canvas.text(MARGIN, y + 12.0, "head", "Memory of an NPU");
    let mut x = MARGIN + 120.0;
    for (class, name) in [("weights", "weights"), ("kv", "KV blocks"), ("other", "overheads"), ("free", "not used")] {
        canvas.rect(x, y + 4.0, 12.0, 10.0, class);
        canvas.text(x + 18.0, y + 12.0, "", name);
        x += 100.0;
    }
    y + 18.0
}
