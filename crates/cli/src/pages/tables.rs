//! Documents, columns and metrics.

use report::{Column, ITL_COLUMN, METRICS, REQUEST_COLUMNS, SPREAD, STAMP_COLUMNS, document_tables, interval_columns};

use crate::schema_command::DOCUMENTS;

pub(super) fn cluster() -> String {
    let cluster = DOCUMENTS[0];
    format!(
        "# Cluster files\n\n{}\n\nIt is strict JSON: no comments, no trailing commas. `null` counts as an absent key, and \
         unknown keys are faults. `servingsim schema` prints this as a JSON schema, and `servingsim check` tells what a \
         file comes to. Keys that instances have in common with flags win over them.\n\n{}",
        cluster.about,
        document_tables(cluster, 2)
    )
}

pub(super) fn documents() -> String {
    let mut text =
        "# Documents\n\nDocuments that users write beside [cluster files](cluster.md). `servingsim schema NAME` \
                    prints the JSON schema of each.\n"
            .to_owned();
    for document in &DOCUMENTS[1..] {
        let null = if document.null_is_absent {
            "`null` counts as an absent key."
        } else {
            "`null` is a value like others, and a fault."
        };
        text += &format!(
            "\n## {}\n\n`servingsim schema {}`\n\n{} {null}\n\n{}",
            document.title,
            document.name,
            document.about,
            document_tables(document, 3)
        );
    }
    text
}

/// `text`, with a full stop and as a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn columns<'c>(columns: impl IntoIterator<Item = &'c Column>) -> String {
    let row = |column: &Column| format!("| `{}` | {} | {} |\n", column.name, column.unit, cell(column.about));
    "| column | unit | meaning |\n|---|---|---|\n".to_owned() + &columns.into_iter().map(row).collect::<String>()
}

pub(super) fn csv() -> String {
    let mut text = format!(
        "# Result files\n\n## Requests\n\n`servingsim run --output FILE` writes one row a finished request, grouped by \
         instance, in order of completion in each. Lines end in `\\r\\n`. It is LLMServingSim's format.\n\n{}\n\
         `--no-itl` leaves this one out:\n\n{}\n`--output-stamps` adds these:\n\n{}",
        columns(&REQUEST_COLUMNS),
        columns([&ITL_COLUMN]),
        columns(&STAMP_COLUMNS)
    );
    text += "\n## Intervals\n\n`servingsim run --interval-output FILE` writes rows of three scopes for each log interval; \
             [what they are](../interval-csv.md), and how power is counted.\n\n| column | scope | unit | meaning |\n\
             |---|---|---|---|\n";
    for column in interval_columns() {
        let scopes = if column.scopes.len() == 3 { "all".to_owned() } else { column.scopes.join(", ") };
        text += &format!("| `{}` | {scopes} | {} | {} |\n", column.name, column.unit, cell(column.about));
    }
    text
}

pub(super) fn metrics() -> String {
    let spread: String = SPREAD.iter().map(|(key, about)| format!("- `{key}`: {about}\n")).collect();
    let mut text = format!(
        "# Metrics of a summary\n\nWhat `servingsim run` tells at the end, as text and with `--format json`. Times are \
         simulated. What has no value, such as the latencies of no requests, is `null`, and what only some deployments \
         have is left out in others.\n\nKeys that end with `.*` are spreads over many values:\n\n{spread}\n\
         | key | in the text | unit | meaning |\n|---|---|---|---|\n"
    );
    for metric in METRICS {
        text += &format!("| `{}` | {} | {} | {} |\n", metric.key, metric.label, metric.unit, cell(metric.about));
    }
    text
}
