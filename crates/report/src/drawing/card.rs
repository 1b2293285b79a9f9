//! One instance: a cell for each NPU, stages below each other, ranks side by side.

use explain::{Explanation, Ids, InstanceKind, Npu};

use super::canvas::Canvas;
use crate::human;

const CELL_WIDTH: f64 = 96.0;
const CELL_HEIGHT: f64 = 58.0;
const CELL_GAP: f64 = 10.0;
const PADDING: f64 = 10.0;
const HEAD: f64 = 42.0;
const LEAST_WIDTH: f64 = 240.0;
/// Width of a character, on average.
const CHAR: f64 = 7.0;
/// Ranks and stages that are drawn; of more the last one drawn says how many there are.
const COLUMNS_MAX: usize = 8;
const ROWS_MAX: usize = 4;

/// What stands for one instance, or for several that are like the one before.
pub(super) enum Card<'e> {
    Instance {
        kind: &'e InstanceKind,
        /// Row by row: those that compute, stage by stage, then their peers.
        rows: Vec<Vec<&'e Npu>>,
        group_name: Option<&'e str>,
    },
    Alike(Ids, Option<u32>),
}

impl<'e> Card<'e> {
    /// The card of an instance.
    pub(super) fn of(instance: u32, explanation: &'e Explanation) -> Option<Self> {
        let kind = explanation.instances.iter().find(|kind| kind.instances.contains(instance))?;
        // NPUs are in order of their numbers, which run instance by instance.
        let start = explanation.npus.partition_point(|npu| npu.instance < instance);
        let npus: Vec<&Npu> = explanation.npus[start..].iter().take_while(|npu| npu.instance == instance).collect();
        let rows = npus.chunks(kind.tp as usize).map(<[&Npu]>::to_vec).collect();
        let group = explanation.groups.iter().find(|kind| kind.instances.contains(instance))?;
        let place = npus.first().and_then(|npu| group.groups.iter().position(|id| id == npu.group));
        let group_name = place.and_then(|place| group.names.get(place)).map(String::as_str);
        Some(Card::Instance { kind, rows, group_name })
    }

    /// A card that says that these are like the one before.
    pub(super) fn alike(instances: Ids, group: Option<u32>) -> Self {
        Card::Alike(instances, group)
    }

    /// The group that it is joined to others in.
    pub(super) fn group(&self) -> Option<u32> {
        match self {
            Card::Instance { rows, .. } => rows.first()?.first().map(|npu| npu.group),
            Card::Alike(_, group) => *group,
        }
    }

    pub(super) fn width(&self) -> f64 {
        let columns = match self {
            Card::Instance { rows, .. } => rows.iter().map(Vec::len).max().unwrap_or(0).min(COLUMNS_MAX),
            Card::Alike(..) => return 150.0,
        };
        let cells = columns as f64 * (CELL_WIDTH + CELL_GAP) - CELL_GAP;
        (cells + 2.0 * PADDING).max(LEAST_WIDTH)
    }

    pub(super) fn height(&self) -> f64 {
        let rows = match self {
            Card::Instance { rows, .. } => rows.len().min(ROWS_MAX),
            Card::Alike(..) => 1,
        };
        HEAD + rows as f64 * (CELL_HEIGHT + CELL_GAP) - CELL_GAP + PADDING
    }

    pub(super) fn draw(&self, canvas: &mut Canvas, x: f64, y: f64) {
        canvas.rect(x, y, self.width(), self.height(), "card");
        let Card::Instance { kind, rows, group_name } = self else {
            let Card::Alike(instances, _) = self else { return };
            canvas.text(x + PADDING, y + 22.0, "head", &format!("… {} more", instances.count()));
            canvas.text(x + PADDING, y + 38.0, "faint", &cut(&format!("instances {instances}"), 130.0));
            canvas.text(x + PADDING, y + 54.0, "faint", "alike");
            return;
        };
        let Some(first) = rows.first().and_then(|row| row.first()) else { return };
        let role = if kind.role == "whole" { String::new() } else { format!(" · {}", kind.role) };
        let group = match group_name {
            Some(name) => format!(" · {name} dp {}", first.dp),
            None => String::new(),
        };
        let room = self.width() - 2.0 * PADDING;
        let title = format!("Instance {}{role}{group}", first.instance);
        canvas.text(x + PADDING, y + 17.0, "head", &cut(&title, room));
        let model = kind.model.rsplit('/').next().unwrap_or(&kind.model);
        canvas.text(x + PADDING, y + 32.0, "faint", &cut(&format!("{model} on {}", kind.hardware), room));
        for (stage, row) in rows.iter().take(ROWS_MAX).enumerate() {
            let top = y + HEAD + stage as f64 * (CELL_HEIGHT + CELL_GAP);
            let is_last_of_more = stage + 1 == ROWS_MAX && rows.len() > ROWS_MAX;
            self.draw_row(canvas, row, (x + PADDING, top), is_last_of_more.then_some(rows.len() - stage));
            if stage > 0 {
                let middle = x + PADDING + CELL_WIDTH / 2.0;
                canvas.line(middle, top - CELL_GAP, middle, top, "link");
            }
        }
    }

    fn draw_row(&self, canvas: &mut Canvas, row: &[&Npu], (x, y): (f64, f64), more_rows: Option<usize>) {
        let Card::Instance { kind, .. } = self else { return };
        for (column, npu) in row.iter().take(COLUMNS_MAX).enumerate() {
            let left = x + column as f64 * (CELL_WIDTH + CELL_GAP);
            if column > 0 {
                canvas.line(left - CELL_GAP, y + CELL_HEIGHT / 2.0, left, y + CELL_HEIGHT / 2.0, "link");
            }
            let is_last_of_more = column + 1 == COLUMNS_MAX && row.len() > COLUMNS_MAX;
            match (more_rows, is_last_of_more) {
                (Some(rows), _) => elided(canvas, (left, y), &format!("… {rows} more rows")),
                (None, true) => elided(canvas, (left, y), &format!("… {} more", row.len() - column)),
                (None, false) => cell(canvas, npu, kind, (left, y)),
            }
        }
    }
}

/// A cell that stands for others.
fn elided(canvas: &mut Canvas, (x, y): (f64, f64), text: &str) {
    canvas.rect(x, y, CELL_WIDTH, CELL_HEIGHT, "npu");
    canvas.text(x + 6.0, y + 33.0, "faint small", text);
}

fn cell(canvas: &mut Canvas, npu: &Npu, kind: &InstanceKind, (x, y): (f64, f64)) {
    let memory = &kind.memory;
    let others = memory.null_block_bytes + memory.activation_peak_bytes + memory.runtime_context_bytes;
    let experts = npu.experts.map(|[first, last]| match last - first {
        0 => format!("expert {first}"),
        _ => format!("experts {first}–{last}"),
    });
    let ranks = match (npu.ep, npu.peer_of) {
        (_, Some(of)) => format!("peer of {of}"),
        (Some(ep), None) => format!("tp {} pp {} ep {ep}", npu.tp, npu.pp),
        (None, None) => format!("tp {} pp {}", npu.tp, npu.pp),
    };
    let [first, last] = npu.blocks;
    let title = format!(
        "NPU {}: node {}, instance {}, group {}, dp {}, {ranks}, {}blocks {first}–{last}; weights {}, KV {}, of {}",
        npu.npu,
        npu.node,
        npu.instance,
        npu.group,
        npu.dp,
        experts.as_ref().map_or_else(String::new, |experts| format!("{experts}, ")),
        human::bytes(memory.weight_bytes),
        human::bytes(memory.kv_bytes),
        human::bytes(memory.total_bytes)
    );
    canvas.begin(&title);
    canvas.rect(x, y, CELL_WIDTH, CELL_HEIGHT, "npu");
    canvas.text(x + 6.0, y + 14.0, "head small", &format!("NPU {}", npu.npu));
    canvas.text(x + 6.0, y + 27.0, "small", &ranks);
    let third = experts.unwrap_or_else(|| {
        if npu.peer_of.is_some() { "takes in KV".to_owned() } else { format!("blocks {first}–{last}") }
    });
    canvas.text(x + 6.0, y + 40.0, "small faint", &cut(&third, 1.15 * CELL_WIDTH));
    let (room, total) = (CELL_WIDTH - 12.0, memory.total_bytes.max(1) as f64);
    canvas.rect(x + 6.0, y + 46.0, room, 6.0, "free");
    let mut left = x + 6.0;
    for (class, bytes) in [("weights", memory.weight_bytes), ("kv", memory.kv_bytes), ("other", others)] {
        let width = room * (bytes as f64 / total).min(1.0);
        if bytes > 0 && npu.peer_of.is_none() {
            canvas.rect(left, y + 46.0, width, 6.0, class);
        }
        left += width;
    }
    canvas.end();
}

/// `text`, cut to about `width`.
fn cut(text: &str, width: f64) -> String {
    let most = (width / CHAR) as usize;
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}
