use compare::{Request, Run};
use serde_json::Value;
use units::{Duration, Instant};

use super::*;

fn at(ms: u64) -> Instant {
    Instant::from_ns(ms * 1_000_000)
}

fn request(id: &str, arrived_ms: u64, first_ms: u64, last_ms: u64, output_tokens: u64) -> Request {
    Request {
        id: id.to_owned(),
        input_tokens: Some(10),
        output_tokens,
        arrived: Some(at(arrived_ms)),
        queued: None,
        first_scheduled: Some(at(arrived_ms + 1)),
        first_token: at(first_ms),
        first_delivered: None,
        last_token: at(last_ms),
        sent_after: None,
        itl: None,
    }
}

/// The page as text, and the data that it carries.
fn written(page: &Page) -> (String, Value) {
    let mut bytes = Vec::new();
    page.write(&mut bytes).expect("memory takes everything");
    let text = String::from_utf8(bytes).expect("a page is UTF-8");
    let data = text.split("id=\"data\">").nth(1).and_then(|rest| rest.split("</script>").next());
    let json = serde_json::from_str(data.expect("the data has its element")).expect("the data is JSON");
    (text, json)
}

#[test]
fn requests_are_told_in_order_of_arrival() {
    let requests = vec![request("7", 105, 130, 230, 3), request("a", 100, 140, 140, 1)];
    let (_, data) = written(&Page::new("t").with(PageRun::of_requests(&Run::new("r.csv", requests))));
    let requests = &data["runs"][0]["requests"];
    assert_eq!(requests["id"], serde_json::json!(["a", 7]));
    assert_eq!(requests["arrival_ns"], serde_json::json!([0, 5_000_000]));
    assert_eq!(requests["ttft_ns"], serde_json::json!([40_000_000, 25_000_000]));
    assert_eq!(requests["tpot_ns"], serde_json::json!([0, 50_000_000]));
    assert_eq!(requests["latency_ns"], serde_json::json!([40_000_000, 125_000_000]));
    let distributions = &data["runs"][0]["distributions"];
    assert_eq!((&distributions["tpot"]["count"], &distributions["ttft"]["mean"]), (&1.into(), &32.5.into()));
    assert_eq!(distributions["itl"], Value::Null);
}

#[test]
fn nothing_in_the_data_ends_the_page() {
    let name = "</script><script>alert(1)</script><!-- {{style}}";
    let run = Run { notes: vec![name.to_owned()], ..Run::new(name, vec![request(name, 0, 1, 2, 2)]) };
    let (text, data) = written(&Page::new(name).with(PageRun::of_requests(&run)));
    assert_eq!(data["title"], name);
    assert_eq!(data["runs"][0]["notes"][0], name);
    assert!(!text.contains("<script>alert"));
    // uPlot names its home in a comment; nothing else may name a place on the network.
    assert_eq!(text.matches("https://").count(), 1);
    assert_eq!(text.matches("http://").count() + text.matches("src=").count(), 0);
}

#[test]
fn digits_are_kept() {
    let check = |value, digits, expected: f64| assert_eq!(data::digits(value, digits), expected);
    check(0.0, 4, 0.0);
    check(123.456, 4, 123.5);
    check(123_456.0, 4, 123_500.0);
    check(0.001_234_56, 4, 0.001_235);
    check(-2.000_04, 4, -2.0);
    check(f64::NAN, 4, 0.0);
}

#[test]
fn many_requests_are_thinned_and_the_page_stays_small() {
    let requests = |num: u64| {
        let one = |id: u64| request(&id.to_string(), 37 * id, 37 * id + 90 + id % 61, 37 * id + 4_000 + id % 997, 128);
        let mut requests: Vec<Request> = (0..num).map(one).collect();
        requests.iter_mut().for_each(|request| request.last_token += Duration::from_ns(123_457));
        requests
    };
    let (text, data) = written(&Page::new("t").with(PageRun::of_requests(&Run::new("r", requests(10_000)))));
    assert_eq!(data["runs"][0]["requests"]["id"].as_array().map(Vec::len), Some(10_000));
    assert!(text.len() < 1_000_000, "{} bytes", text.len());
    let (_, data) = written(&Page::new("t").with(PageRun::of_requests(&Run::new("r", requests(40_000)))));
    assert_eq!(data["runs"][0]["requests"]["total"], 40_000);
    assert_eq!(data["runs"][0]["requests"]["id"].as_array().map(Vec::len), Some(13_334));
}
