//! Measured collectives (`link_model`): for each dimension of the topology, innermost first, an object with a list of
//! `[bytes, nanoseconds]` for any kind of collective, or `null`.
//!
//! Sizes count as in NCCL tests (`network::Curve`). What has points is interpolated instead of computed.

use documents::json::{Cursor, Placed};
use network::{CollectiveKind, Curve, Measured};

use crate::cluster::LATENCY;
use crate::schema;

/// Curves, and where the list stands.
pub(crate) type LinkModel = Placed<(Measured, usize)>;

/// Far above any memory, and exact in a double.
pub(crate) const MOST_BYTES: u64 = 1 << 53;

/// Of the line through the last two points, which goes on beyond them.
const STEEPEST_NS_PER_BYTE: f64 = 1000.0;

/// Reads the list; the number beside the curves is its length.
pub(crate) fn read(value: &Cursor<'_>) -> Option<LinkModel> {
    let elements = value.array()?;
    let mut measured = Measured::default();
    let mut is_sound = true;
    for (dim, element) in elements.iter().enumerate().filter(|(_, element)| !element.is_null()) {
        let Some(object) = element.object() else {
            is_sound = false;
            continue;
        };
        object.reject_unknown_in(&schema::LINK_MODEL);
        for kind in CollectiveKind::ALL {
            let Some(points) = object.get(kind.name()) else { continue };
            match curve(&points) {
                Some(curve) => measured.set(dim, kind, curve),
                None => is_sound = false,
            }
        }
    }
    is_sound.then(|| Placed { value: (measured, elements.len()), place: value.place() })
}

fn curve(value: &Cursor<'_>) -> Option<Curve> {
    let elements = value.array()?;
    let points: Vec<_> = elements.iter().map(point).collect();
    let points = points.into_iter().collect::<Option<Vec<_>>>()?;
    if points.is_empty() {
        value.push(value.place().fault("a curve needs a point").hint("write [[bytes, nanoseconds], …]"));
        return None;
    }
    for (pair, element) in points.windows(2).zip(&elements[1..]) {
        if pair[0].0 >= pair[1].0 {
            let message = format!("{} bytes after {}", pair[1].0, pair[0].0);
            element.push(element.place().fault(message).hint("sort the points by size, each size once"));
            return None;
        }
    }
    if let [.., low, high] = points[..]
        && high.1 - low.1 > STEEPEST_NS_PER_BYTE * (high.0 - low.0) as f64
    {
        let last = elements.last().expect("there are two");
        let message = "from the point before, time grows by more than 1 µs a byte (1 MB/s), and would go on so";
        last.push(last.place().fault(message).hint("points are [bytes, nanoseconds]"));
        return None;
    }
    Some(Curve::new(points))
}

fn point(value: &Cursor<'_>) -> Option<(u64, f64)> {
    let elements = value.array()?;
    let [bytes, time] = &elements[..] else {
        let message = format!("a point has 2 numbers, not {}", elements.len());
        value.push(value.place().fault(message).hint("write [bytes, nanoseconds]"));
        return None;
    };
    let (bytes, time) = (bytes.count(0, MOST_BYTES), time.number(LATENCY));
    Some((bytes?.value, time?.value))
}
