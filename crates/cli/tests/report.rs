//! Pages: what their data says, and what is refused.

mod support;

use std::fs;

use serde_json::Value;
use support::Folder;

/// The data that the page `name` in `folder` carries.
fn data(folder: &Folder, name: &str) -> Value {
    let text = fs::read_to_string(folder.path(name)).expect("the page was written");
    let json = text.split("id=\"data\">").nth(1).and_then(|rest| rest.split("</script>").next());
    serde_json::from_str(json.expect("a page carries its data")).expect("the data is JSON")
}

fn sum(values: &Value, of: impl Fn(&Value) -> f64) -> f64 {
    values.as_array().expect("a list").iter().map(of).sum()
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// What instances are said to have done adds up to the summary, and parts of steps to steps, on every example and with
/// either engine.
#[test]
fn parts_add_up() {
    for example in ["moe-dp-ep", "moe-ep", "moe-dp-ep-agents", "dense-tp", "dense"] {
        for engine in ["reference", "vllm"] {
            let folder = Folder::new();
            let run = ["run", "--quiet", "--example", example, "--engine", engine, "--report", "page.html"];
            let said = folder.run(&[&run[..], &["--format", "json"]].concat());
            assert_eq!(said.code, Some(0), "{said}");
            let summary: Value = serde_json::from_str(&said.stdout).expect("the summary is JSON");
            let run = &data(&folder, "page.html")["runs"][0];
            assert_eq!(run["summary"], summary);
            assert_eq!(sum(&run["breakdown"], |one| number(&one["steps"])), number(&summary["steps"]));
            for one in run["breakdown"].as_array().expect("a list") {
                let parts = sum(&one["parts"], |part| number(&part[1])) + number(&one["waiting_ms"]);
                let time = number(&one["time_ms"]) + number(&one["overlap_ms"]);
                assert!((parts / time - 1.0).abs() < 1e-9, "{example}, {engine}: {parts} of {time}");
            }
            let series = &run["timeline"]["series"][0];
            let width_s = number(&run["timeline"]["bin_ms"]) / 1e3;
            let computed = sum(&series["decode"], number) * width_s;
            // Each token but a request's first is decoded; last chunks of prompts can be single tokens too.
            let decoded = number(&summary["generated_tokens"]) - number(&summary["requests"]);
            assert!(computed >= decoded * 0.999 && computed < decoded * 1.05, "{example}: {computed} of {decoded}");
            let dummies = sum(&run["groups"], |group| sum(&group["members"], |member| number(&member["dummies"])));
            assert_eq!(dummies, number(&summary["dummy_steps"]));
            let requests = run["requests"]["id"].as_array().map(Vec::len);
            assert_eq!(requests, Some(number(&summary["requests"]) as usize));
        }
    }
}

#[test]
fn the_same_run_gives_the_same_page() {
    let folder = Folder::new();
    for name in ["a.html", "b.html"] {
        assert_eq!(folder.run(&["run", "--quiet", "--report", name]).code, Some(0));
    }
    let page = |name| fs::read(folder.path(name)).expect("the page was written");
    assert!(page("a.html") == page("b.html"));
}

#[test]
fn pages_replace_nothing_that_they_come_from() {
    let folder = Folder::new();
    assert_eq!(folder.run(&["run", "--quiet", "--output", "r.csv"]).code, Some(0));
    let result = fs::read(folder.path("r.csv")).expect("the result was written");
    insta::assert_snapshot!("report_onto_its_result", folder.run(&["report", "r.csv", "--output", "r.csv"]));
    insta::assert_snapshot!(
        "compare_onto_its_result",
        folder.run(&["compare", "r.csv", "r.csv", "--report", "./r.csv"])
    );
    insta::assert_snapshot!("report_onto_output", folder.run(&["run", "--quiet", "--output", "x", "--report", "x"]));
    let table = String::from_utf8_lossy(&result).into_owned();
    folder.write("empty.csv", table.lines().next().expect("a header"));
    let nothing = ["report", "missing.csv", "empty.csv", "gone.csv", "--output", "p.html"];
    insta::assert_snapshot!("report_of_nothing", folder.run(&nothing));
    insta::assert_snapshot!("report_help", folder.run(&["report", "--help"]));
    assert_eq!(fs::read(folder.path("r.csv")).expect("the result is there"), result);
    assert!(!folder.path("p.html").exists() && !folder.path("x").exists());
}
