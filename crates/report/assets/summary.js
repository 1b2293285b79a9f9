// The numbers that a run comes to, run by run.

const LATENCIES = [["ttft", "TTFT"], ["tpot", "TPOT"], ["itl", "ITL"], ["latency", "Latency"], ["queuing", "Queueing"]];
const FIGURES = [["mean", "mean"], ["median", "median"], ["p90", "P90"], ["p99", "P99"], ["min", "min"], ["max", "max"]];

/** Totals of a run; of a run of which only requests are known, what these come to. */
function totalsOf(run) {
  if (run.summary || run.totals) return run.summary || run.totals;
  const { requests } = run;
  const makespan_s = Math.max(0, ...arrivals(requests).map((start, index) => start + requests.latency_ns[index])) / 1e9;
  const scale = requests.total / Math.max(1, requests.id.length);
  const generated_tokens = Math.round(sum(requests.output_tokens) * scale);
  const per_s = (count) => (makespan_s > 0 ? count / makespan_s : null);
  run.totals = { makespan_s, generated_tokens, requests_per_s: per_s(requests.total), generated_tokens_per_s: per_s(generated_tokens) };
  if (requests.input_tokens.length) {
    run.totals.prompt_tokens = Math.round(sum(requests.input_tokens) * scale);
    run.totals.prompt_tokens_per_s = per_s(run.totals.prompt_tokens);
  }
  return run.totals;
}

/** Rows of the summary: name, digits, whether less is better (null: neither), value of a run. */
function summaryRows() {
  const of = (key) => (run) => totalsOf(run)[key];
  const rows = [
    ["Requests", 0, null, (run) => run.requests.total],
    ["Makespan (s)", 3, null, of("makespan_s")],
    ["Requests per second", 2, false, of("requests_per_s")],
    ["Prompt tokens per second", 2, false, of("prompt_tokens_per_s")],
    ["Generated tokens per second", 2, false, of("generated_tokens_per_s")],
    ["Prompt tokens", 0, null, of("prompt_tokens")],
    ["Generated tokens", 0, null, of("generated_tokens")],
    ["Prefix cache hits (%)", 1, false, (run) => run.summary && run.summary.prefix_cache.hit_ratio * 100],
    ["Preemptions", 0, true, of("preemptions")],
    ["Steps", 0, null, of("steps")],
    ["Dummy steps (%)", 1, true, (run) => run.summary && run.summary.dummy_share * 100],
    ["Mean power (W)", 1, true, (run) => run.summary && run.summary.power && run.summary.power.mean_w],
  ];
  return rows.filter((row) => runs.some((run) => typeof row[3](run) === "number"));
}

/** How far `value` is from that of the first run, in percent. */
function difference(value, first, isLessBetter) {
  if (typeof value !== "number" || typeof first !== "number" || first === 0) return el("td", {}, "");
  const share = value / first - 1;
  const isBetter = isLessBetter === null || Math.abs(share) < 0.0005 ? null : (share < 0) === isLessBetter;
  const kind = isBetter === null ? "" : isBetter ? "down" : "up";
  return el("td", { class: kind }, (share > 0 ? "+" : "") + number(share * 100, 1) + " %");
}

/** A table with a column for each run, and how far each is from the first. */
function runsTable(id, rows) {
  const head = runs.flatMap((run, index) => [
    el("th", {}, isComparing ? swatch(runColor(index)) : null, isComparing ? run.name : "value"),
    index > 0 ? el("th", {}, "to the first") : null,
  ]);
  const body = rows.map(([name, digits, isLessBetter, value]) => {
    const first = value(runs[0]);
    const cells = runs.flatMap((run, index) => {
      const own = value(run);
      const isKnown = typeof own === "number";
      return [
        el("td", { "data-value": isKnown ? own : null }, isKnown ? number(own, digits) : "–"),
        index > 0 ? difference(own, first, isLessBetter) : null,
      ];
    });
    return el("tr", { "data-name": name }, el("td", {}, name), ...cells);
  });
  return el("table", { id }, el("thead", {}, el("tr", {}, el("th", {}, ""), ...head)), el("tbody", {}, ...body));
}

/** Latencies of one run by figure, or of several runs one above the other. */
function latencyTable() {
  const rows = LATENCIES.flatMap(([key, name]) => runs.map((run, index) => {
    const figures = run.distributions[key];
    if (!figures) return null;
    const label = [isComparing ? swatch(runColor(index)) : null, name, isComparing ? " · " + run.name : ""];
    const cells = FIGURES.map(([figure]) => el("td", { "data-value": figures[figure] }, number(figures[figure], 2)));
    return el("tr", { "data-name": key, "data-run": index }, el("td", {}, ...label), el("td", {}, number(figures.count)), ...cells);
  }));
  const head = ["Latency (ms)", "values", ...FIGURES.map(([, name]) => name)];
  return el("table", { id: "latency-figures" },
    el("thead", {}, el("tr", {}, ...head.map((name) => el("th", {}, name)))), el("tbody", {}, ...rows.filter(Boolean)));
}

function summarySection() {
  const comparison = data.comparison
    ? el("details", { id: "comparison" }, el("summary", {}, "Figure by figure, request by request"), el("pre", {}, data.comparison))
    : null;
  return section("summary", "Summary", null,
    el("div", { class: "figures" },
      el("div", { class: "scroll" }, runsTable("totals", summaryRows())),
      el("div", { class: "scroll" }, latencyTable())),
    comparison);
}
