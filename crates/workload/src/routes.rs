//! Recorded routes: which instance each request went to.
//!
//! A CSV file with the header `request,instance`, one row a request, in any order. Requests are numbered as in the
//! workload file: line by line from 0, every call of a session counting.

use std::collections::HashMap;

use diagnostics::{Fault, Faults, Position};
use units::{InstanceId, RequestId};

/// Faults reported in full.
const FAULTS_MAX: usize = 20;

const HEADER: &str = "request,instance";

/// Reads recorded routes from `text`; `name` stands for it in faults.
///
/// # Errors
/// Every faulty row with its line, and requests that are routed twice.
pub fn parse_routes(name: &str, text: &str) -> Result<HashMap<RequestId, InstanceId>, Faults> {
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let header = lines.next().map_or("", |(_, line)| line.trim_start_matches('\u{feff}'));
    if header != HEADER {
        let fault = Fault::new(name, format!("the first line is `{header}`")).at(Position { line: 1, column: 1 });
        return Err(fault.hint(format!("it names the columns: `{HEADER}`")).into());
    }
    let mut routes = HashMap::new();
    let mut faults = Vec::new();
    for (line, row) in lines.filter(|(_, row)| !row.is_empty()) {
        let fault = |message: String| Fault::new(name, message).at(Position { line, column: 1 });
        match route(row) {
            None => faults.push(fault(format!("`{row}` is not two whole numbers")).hint("such as `17,2`")),
            Some((request, instance)) => {
                if routes.insert(request, instance).is_some() {
                    faults.push(fault(format!("request {request} stands here a second time")));
                }
            }
        }
    }
    let mut told = Faults::new();
    let more = faults.len().saturating_sub(FAULTS_MAX);
    faults.into_iter().take(FAULTS_MAX).for_each(|fault| told.push(fault));
    if more > 0 {
        told.push(Fault::new(name, format!("{more} more faulty rows")));
    }
    told.into_result(routes)
}

fn route(row: &str) -> Option<(RequestId, InstanceId)> {
    let (request, instance) = row.split_once(',')?;
    Some((RequestId(request.trim().parse().ok()?), InstanceId(instance.trim().parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_in_any_order() {
        let routes = parse_routes("r.csv", "\u{feff}request,instance\r\n3,0\n\n 1 , 2\n").unwrap();
        assert_eq!(routes, HashMap::from([(RequestId(3), InstanceId(0)), (RequestId(1), InstanceId(2))]));
    }

    #[test]
    fn faults_have_their_lines() {
        let check =
            |text: &str, expected: &str| assert_eq!(parse_routes("r.csv", text).unwrap_err().to_string(), expected);
        check("", "error: r.csv:1:1: the first line is ``\n  hint: it names the columns: `request,instance`");
        let hint = "\n  hint: such as `17,2`";
        check(
            "request,instance\n1,2\nx,3\n4\n1,0\n5,-1\n",
            &format!(
                "error: r.csv:3:1: `x,3` is not two whole numbers{hint}\n\
                 error: r.csv:4:1: `4` is not two whole numbers{hint}\n\
                 error: r.csv:5:1: request 1 stands here a second time\n\
                 error: r.csv:6:1: `5,-1` is not two whole numbers{hint}"
            ),
        );
    }
}
