// Charts over time, and distributions.

let charts = [];

/** Draws charts in `box`, all of which must have their places before any can know its width. */
function lineCharts(box, list) {
  const holders = list.map(({ title, id }) => el("div", { class: "chart", id, role: "img", "aria-label": title }, el("h3", {}, title)));
  box.append(...holders);
  list.forEach((chart, index) => lineChart(holders[index], chart));
}

/** Draws lines in `holder`; each has a label, a colour, values x and y, and perhaps dashes. */
function lineChart(holder, { xLabel, xUnit, yUnit, lines, yMax }) {
  const table = lines.length > 1 ? uPlot.join(lines.map((line) => [line.x, line.y])) : [lines[0].x, lines[0].y];
  const axis = { stroke: color("quiet"), grid: { stroke: color("line"), width: 1 }, ticks: { stroke: color("line") } };
  const show = (digits) => (plot, value) => (value === null || value === undefined ? "–" : number(value, digits));
  const span = Math.max(...lines.map((line) => line.y.reduce((most, value) => Math.max(most, value), 0)));
  const digits = span >= 100 ? 0 : span >= 10 ? 1 : 2;
  const plot = new uPlot({
    width: Math.max(280, holder.clientWidth || 560),
    height: 220,
    cursor: { sync: { key: xUnit } },
    scales: { x: { time: false }, y: { range: (plot, least, most) => [0, yMax || most * 1.05 || 1] } },
    axes: [{ ...axis, label: xLabel, labelSize: 18, labelFont: "12px system-ui" }, { ...axis, size: 56,
      values: (plot, ticks) => ticks.map((tick) => number(tick, tick % 1 ? 1 : 0)) }],
    series: [{ label: xUnit, value: show(2) }, ...lines.map((line) => ({
      label: line.label + (yUnit ? " (" + yUnit + ")" : ""), stroke: line.color, width: 1.5, dash: line.dash, spanGaps: true,
      points: { show: false }, value: show(digits),
    }))],
  }, table, holder);
  holder.dataset.points = String(sum(lines.map((line) => line.y.length)));
  holder.dataset.most = String(span);
  charts.push([plot, holder]);
}

/** A run's series over time; of a run of which only requests are known, what these say. */
function timelineOf(run) {
  if (run.timeline) return run.timeline;
  if (run.derived) return run.derived;
  const { requests } = run;
  const starts = arrivals(requests);
  const end = Math.max(1, ...starts.map((start, index) => start + requests.latency_ns[index]));
  const num = 400;
  const width = end / num;
  const scale = requests.total / Math.max(1, starts.length);
  const empty = () => new Array(num).fill(0);
  const series = { name: "all instances", instance: null, decode: empty(), running: empty(), waiting: empty() };
  const hold = (values, from, to, amount) => {
    if (to <= from) return;
    for (let bin = Math.floor(from / width); bin < num && bin * width < to; bin += 1) {
      const part = Math.min(to, (bin + 1) * width) - Math.max(from, bin * width);
      values[bin] += amount * part;
    }
  };
  starts.forEach((start, index) => {
    const first = start + requests.ttft_ns[index];
    const last = start + requests.latency_ns[index];
    const scheduled = start + (requests.queuing_ns.length ? requests.queuing_ns[index] : 0);
    hold(series.running, scheduled, last, scale / width);
    hold(series.waiting, start, scheduled, scale / width);
    hold(series.decode, first, Math.max(last, first + 1), (scale * (requests.output_tokens[index] - 1) * 1e9) / width / Math.max(1, last - first));
  });
  run.derived = { bin_ms: width / 1e6, series: [series], num_instances: 1, isDerived: true };
  return run.derived;
}

const TIME_CHARTS = [
  ["decode", "Tokens decoded per second", "tok/s", [["decode", "decode", null]]],
  ["prefill", "Tokens prefilled per second", "tok/s", [["prefill", "prefill", null]]],
  ["queues", "Requests running and waiting", "", [["running", "running", null], ["waiting", "waiting", [4, 3]]]],
  ["kv", "KV cache in use", "%", [["kv", "KV blocks held", null]]],
  ["busy", "Share of time in steps", "%", [["busy", "in steps", null], ["dummy", "in dummies", [2, 2]], ["waited", "waiting within steps", [6, 3]]]],
];

/** Draws everything over time: of all instances together (null), of one, or of each ("each"). */
function drawTimeline(box, instance) {
  lineCharts(box, TIME_CHARTS.map(([key, title, unit, columns]) => {
    const lines = runs.flatMap((run, index) => {
      const timeline = timelineOf(run);
      const isEach = instance === "each";
      const shown = isEach ? timeline.series.slice(1) : [timeline.series.find((one) => one.instance === instance) || timeline.series[0]];
      return shown.flatMap((series, which) => columns.filter(([column]) => series[column] && series[column].some((value) => value > 0))
        .map(([column, name, dash], place) => ({
          label: isComparing ? run.name + " " + name : isEach ? series.name + " " + name : name,
          color: runColor(isComparing ? index : isEach ? which : place),
          dash: isComparing || isEach ? dash : null,
          x: series[column].map((_, bin) => ((bin + 0.5) * timeline.bin_ms) / 1000),
          y: series[column],
        })));
    });
    return { title, id: "chart-" + key, xLabel: "simulated time (s)", xUnit: "s", yUnit: unit, lines };
  }).filter(({ lines }) => lines.length));
}

function timeSection() {
  const box = el("div", { class: "grid" });
  const known = runs.length === 1 && runs[0].timeline ? runs[0].timeline.series : [];
  const choice = el("select", { id: "instance", change: () => {
    charts = charts.filter(([plot, holder]) => !box.contains(holder) || plot.destroy());
    box.replaceChildren();
    drawTimeline(box, choice.value === "" ? null : choice.value === "each" ? "each" : Number(choice.value));
  } }, ...known.map((series) => el("option", { value: series.instance === null ? "" : series.instance }, series.name)));
  choice.firstElementChild?.after(el("option", { value: "each" }, "each instance"));
  const shown = known.length > 1 && known.length - 1 < runs[0].timeline.num_instances ? " (" + (known.length - 1) + " of " + runs[0].timeline.num_instances + ")" : "";
  const tools = known.length > 1 ? el("div", { class: "tools" }, el("label", {}, "Show ", choice), shown) : null;
  const bins = runs.map((run) => duration(timelineOf(run).bin_ms)).join(", ");
  const about = "Averages over bins of " + bins + ". Tokens count where their step begins."
    + (runs.some((run) => timelineOf(run).isDerived) ? " Of results without a report's data, tokens lie evenly between the first and the last of a request." : "")
    + " Drag to zoom in, double-click to zoom out.";
  return [section("time", "Over time", about, tools, box), () => drawTimeline(box, null)];
}

function latencySection() {
  const box = el("div", { class: "grid" });
  const draw = () => {
    lineCharts(box, LATENCIES.map(([key, name]) => {
      const lines = runs.map((run, index) => [run.distributions[key], index]).filter(([one]) => one).map(([one, index]) => ({
        label: isComparing ? runs[index].name : "requests", color: runColor(index), x: one.quantiles, y: data.percents,
      }));
      if (key === "itl") lines.forEach((line) => { if (!isComparing) line.label = "tokens"; });
      return { title: name, id: "chart-" + key, xLabel: name + " (ms)", xUnit: "ms", yUnit: "% below", yMax: 100, lines: lines.map(increasing) };
    }).filter(({ lines }) => lines.length));
  };
  return [section("latency", "Latencies", "The share of requests, or of tokens, that took no longer. The table of percentiles is above.", box), draw];
}

/** The same line with each x once: the highest of its values. */
function increasing(line) {
  const x = [];
  const y = [];
  line.x.forEach((value, index) => {
    if (x.length && value <= x[x.length - 1]) y[y.length - 1] = line.y[index];
    else { x.push(value); y.push(line.y[index]); }
  });
  return { ...line, x, y };
}
