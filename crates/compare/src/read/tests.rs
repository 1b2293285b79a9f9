use super::*;

/// The requests of `text`, or its faults, one a line.
fn shown(text: &str) -> String {
    let run = match parse("f", text) {
        Ok(run) => run,
        Err(faults) => return faults.to_string(),
    };
    let request = |request: &Request| {
        let stamps = [
            request.arrived,
            request.queued,
            request.first_scheduled,
            Some(request.first_token),
            request.first_delivered,
            Some(request.last_token),
        ];
        let stamps: Vec<_> =
            stamps.iter().map(|stamp| stamp.map_or("-".to_owned(), |at| at.ns().to_string())).collect();
        let input = request.input_tokens.map_or("-".to_owned(), |tokens| tokens.to_string());
        let mut line = format!("{} {input}+{} at {}", request.id, request.output_tokens, stamps.join(" "));
        if let Some(after) = request.sent_after {
            line += &format!(" sent after {}", after.ns());
        }
        if let Some(itl) = &request.itl {
            line += &format!(" itl {:?}", itl.iter().map(|latency| latency.ns()).collect::<Vec<_>>());
        }
        line
    };
    let clock = (!run.one_clock).then(|| "apart".to_owned());
    run.requests.iter().map(request).chain(clock).chain(run.notes).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(shown(text), expected, "{text}");
}

const RESULT: &str = "instance id,request id,model,input,output,arrival,end_time,latency,queuing_delay,TTFT,TPOT,ITL";

#[test]
fn results() {
    check(
        &format!("{RESULT}\r\n0,7,m,10,3,100,180,80,5,20,30,\"[20, 40]\"\r\n1,8,\"a, b\",11,1,5,9,4,1,4,0,[]\r\n"),
        "7 10+3 at 100 - - 120 - 180 itl [20, 40]\n8 11+1 at 5 - - 9 - 9 itl []",
    );
    check(
        &format!(
            "{RESULT},queued,first_scheduled,first_token,first_delivered,seen\n\
             0,7,m,10,2,100,180,80,5,20,30,[60],105,110,120,125,1\n"
        ),
        "7 10+2 at 100 105 110 120 125 180 itl [60]\nf: `seen` not read",
    );
    // Two places of the first row, one of the second; the third has a comma that no quotes hold.
    check(
        &format!(
            "{RESULT}\n0,7,m,ten,3,100,180,80,5,20,30,[20 40]\n0,8,m,1,0,100,180,80,5,20,30,[80]\n0,9,m,1,3,1,9,8,0,1,3,[3, 4]\n"
        ),
        "error: f:2:7 at input: expected a whole number from 0 to 4000000000000000000, found `ten`\n\
         error: f:2:32 at ITL: expected whole numbers such as `[3, 5]`, found `[20 40]`\n\
         error: f:3:9 at output: expected a whole number from 1 to 4000000000000000000, found `0`\n\
         error: f:4:1: the row has 13 fields where the header has 12",
    );
    check(
        &format!("{RESULT}\n0,7,m,1,3,100,90,80,5,0,30,[]\n0,8,m,1,2,100,180,80,5,0,30,[81]\n"),
        "error: f:2:1: the last token comes before the first token\n\
         error: f:3:1 at ITL: a latency of 81 ns is longer than that of the request",
    );
    check("request id,input,output,arrival,end_time,TTFT\n7,10,3,100,180,20\n", "7 10+3 at 100 - - 120 - 180");
    let missing = shown("request id,input,output,arrival,end_time,ITL\n");
    assert!(missing.starts_with("error: f:1:1: there is no column `TTFT` among `request id`, `input`"), "{missing}");
}

#[test]
fn recordings() {
    let first = r#"{"request_id": "bench-0", "input_toks": 9, "output_toks": 2, "arrival_time": 1700000000.5, "queued_ts": 10.000000001, "scheduled_ts": 10.5, "first_token_ts": 11, "last_token_ts": 12.25}"#;
    let second = r#"{"request_id": "bench-1", "output_toks": 1, "arrival_time": 1700000000.25, "queued_ts": 10, "first_token_ts": 11, "last_token_ts": 11, "x": 1}"#;
    check(
        &format!("{first}\n\n{second}\n"),
        "bench-0 9+2 at - 10000000001 10500000000 11000000000 - 12250000000 sent after 250000000\n\
         bench-1 -+1 at - 10000000000 - 11000000000 - 11000000000 sent after 0\n\
         f: `x` not read",
    );
    let late = first.replace("10.5", "11.5");
    check(
        &format!(
            "{first}\n{{\"request_id\": 3, \"output_toks\": 1, \"queued_ts\": 1, \"first_token_ts\": null, \"last_token_ts\": -1}}\n{late}\n{{\n"
        ),
        "error: f:2:16 at $.request_id: expected a string that is not empty, found 3\n\
         error: f:2:1 at $: missing key `first_token_ts`\n\
         error: f:2:94 at $.last_token_ts: expected a number from 0 to 4000000000, found -1\n\
         error: f:3:1: the first token comes before first scheduling\n\
         error: f:4:1: not JSON: unterminated object\n  hint: what opens here is never closed: the file may be cut off",
    );
}

#[test]
fn plain_tables() {
    check(
        "request_id,output_tokens,arrival_s,first_token_s,last_token_s,note\na,5,1,1.5,2.25,x\n",
        "a -+5 at 1000000000 - - 1500000000 - 2250000000\nf: `note` not read",
    );
    check(
        "request_id,input_tokens,output_tokens,queued_s,scheduled_s,first_token_s,first_delivered_s,last_token_s\n\
         a,7,5,1,1.1,1.5,1.6,2\nb,,5,1,,1.5,,2\n",
        "a 7+5 at - 1000000000 1100000000 1500000000 1600000000 2000000000\n\
         b -+5 at - 1000000000 - 1500000000 - 2000000000",
    );
    check(
        "request_id,output_tokens,ttft_ms,latency_ms,queued_s\na,5,500,1250.5,3\n",
        "a -+5 at 0 - - 500000000 - 1250500000\napart\nf: `queued_s` not read",
    );
    check(
        "request_id,output_tokens,ttft_ms,latency_ms,arrival_s\na,5,500,1250.5,3\n",
        "a -+5 at 3000000000 - - 3500000000 - 4250500000",
    );
    check(
        "request_id,output_tokens,ttft_ms,latency_ms,arrival_s\na,5,NaN,,\n,5,-1,1,0\n",
        "error: f:2:10 at arrival_s: expected a number from 0 to 4000000000, found nothing\n\
         error: f:2:5 at ttft_ms: expected a number from 0 to 4000000000000, found `NaN`\n\
         error: f:2:9 at latency_ms: expected a number from 0 to 4000000000000, found nothing\n\
         error: f:3:1 at request_id: expected a text, found nothing\n\
         error: f:3:4 at ttft_ms: expected a number from 0 to 4000000000000, found `-1`",
    );
}

#[test]
fn what_is_no_run() {
    let first_line = |text: &str| shown(text).lines().next().unwrap_or_default().to_owned();
    assert_eq!(first_line(""), "error: f: the file is empty");
    assert_eq!(first_line("\n \n"), "error: f: the file is empty");
    assert_eq!(first_line("a,b\n1,2\n"), "error: f:1:1: there is no column `request_id` among `a`, `b`");
    assert_eq!(first_line(&format!("{RESULT}\n")), "error: f: no requests");
    let no_times = shown("request_id,output_tokens,first_token_s\n");
    assert_eq!(no_times.matches("there is no column").count(), 2, "{no_times}");
    assert!(no_times.contains("`last_token_s`") && no_times.contains("`arrival_s`"), "{no_times}");
}

#[test]
fn many_faults_are_counted() {
    let text = format!("request_id,output_tokens,ttft_ms,latency_ms\n{}", "a,1,x,1\n".repeat(50));
    let shown = shown(&text);
    assert_eq!(shown.matches("expected a number").count(), FAULTS_MAX);
    assert!(shown.ends_with("error: f: 30 more faults"), "{shown}");
}
