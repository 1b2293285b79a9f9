// Requests one by one: sorted, searched, each with its life as a bar.

const ROW_HEIGHT = 26;

/** Columns: key, heading, values of a run, how a value is written. `ns` columns are in nanoseconds. */
const COLUMNS = [
  ["id", "id", (requests) => requests.id, String],
  ["instance", "instance", (requests) => requests.instance, String],
  ["in", "prompt", (requests) => requests.input_tokens, number],
  ["out", "output", (requests) => requests.output_tokens, number],
  ["arrival", "arrival (s)", arrivals, (ns) => number(ns / 1e9, 3), 1e9],
  ["queue", "queue (ms)", (requests) => requests.queuing_ns, (ns) => number(ns / 1e6, 3), 1e6],
  ["ttft", "TTFT (ms)", (requests) => requests.ttft_ns, (ns) => number(ns / 1e6, 3), 1e6],
  ["tpot", "TPOT (ms)", (requests) => requests.tpot_ns, (ns) => number(ns / 1e6, 3), 1e6],
  ["latency", "latency (ms)", (requests) => requests.latency_ns, (ns) => number(ns / 1e6, 3), 1e6],
  ["hits", "cached", (requests) => requests.prefix_hit_tokens, number],
  ["preempted", "preempted", (requests) => requests.preemptions, number],
];

/** All requests of all runs as rows, with the values of the columns that any run knows. */
function requestRows(columns) {
  return runs.flatMap((run, runIndex) => {
    const values = columns.map(([, , of]) => of(run.requests));
    return run.requests.id.map((_, index) => ({ run: runIndex, values: values.map((column) => (column.length ? column[index] : null)) }));
  });
}

/** What a row must be to be shown: `ttft>100 instance=1 42`. Returns a test, or the word that can't be understood. */
function parseFilter(text, columns) {
  const tests = [];
  for (const word of text.trim().split(/\s+/).filter(Boolean)) {
    const match = /^([a-z]+)(<=|>=|<|>|=)([0-9.]+)$/i.exec(word);
    if (match) {
      const place = columns.findIndex(([key]) => key === match[1].toLowerCase());
      const isRun = match[1].toLowerCase() === "run";
      if (place < 0 && !isRun) return word;
      const bound = Number(match[3]) * (isRun ? 1 : columns[place][4] || 1);
      const compare = { "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "=": (a, b) => a === b }[match[2]];
      tests.push((row) => { const value = isRun ? row.run + 1 : row.values[place]; return value !== null && compare(Number(value), bound); });
    } else if (/[<>=]/.test(word)) {
      return word;
    } else {
      tests.push((row) => String(row.values[0]).includes(word));
    }
  }
  return (row) => tests.every((test) => test(row));
}

/** The bar of a request: queued, prefilled, decoded. */
function lifeBar(row, columns, end, isAligned) {
  const at = (key) => row.values[columns.findIndex(([name]) => name === key)];
  const start = isAligned ? 0 : at("arrival");
  const queue = Math.min(at("queue") || 0, at("ttft"));
  const parts = [["queue", 0, queue], ["experts", queue, at("ttft")], ["attention", at("ttft"), at("latency")]];
  const titles = { queue: "queued", experts: "prefill", attention: "decode" };
  return el("div", {}, ...parts.filter(([, from, to]) => to > from).map(([name, from, to]) => el("i", {
    style: `left:${((start + from) / end) * 100}%;width:${((to - from) / end) * 100}%;background:var(--${name})`,
    title: `${titles[name]}: ${duration((to - from) / 1e6)}`,
  })));
}

function requestsSection() {
  const columns = COLUMNS.filter(([, , of]) => runs.some((run) => of(run.requests).length));
  const rows = requestRows(columns);
  const place = (key) => columns.findIndex(([name]) => name === key);
  const ends = { false: Math.max(1, ...lifeEnds(rows, place, false)), true: Math.max(1, ...lifeEnds(rows, place, true)) };
  const state = { shown: rows, sort: place("arrival"), isDescending: false, isAligned: false };
  const total = sum(runs.map((run) => run.requests.total));
  const count = el("span", { id: "shown", "aria-live": "polite" });
  const body = el("tbody");
  const head = el("tr");
  const box = el("div", { class: "rows", id: "rows", tabindex: "0" }, el("table", {}, el("thead", {}, head), body));

  const draw = () => {
    const first = Math.max(0, Math.floor(box.scrollTop / ROW_HEIGHT) - 10);
    const last = Math.min(state.shown.length, first + Math.ceil(box.clientHeight / ROW_HEIGHT) + 20);
    const space = (num) => el("tr", { style: `height:${num * ROW_HEIGHT}px`, "aria-hidden": "true" });
    body.replaceChildren(space(first), ...state.shown.slice(first, last).map((row) => el("tr", { class: "request", "data-run": row.run },
      isComparing ? el("td", {}, swatch(runColor(row.run)), runs[row.run].name) : null,
      ...columns.map(([key, , , show, scale], index) => el("td", { "data-column": key, [scale ? "data-ns" : "data-value"]: row.values[index] },
        row.values[index] === null ? "–" : show(row.values[index]))),
      el("td", { class: "life" }, lifeBar(row, columns, ends[state.isAligned], state.isAligned)))), space(state.shown.length - last));
  };
  const arrange = () => {
    const direction = state.isDescending ? -1 : 1;
    const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
    state.shown.sort((a, b) => direction * compare(a.values[state.sort], b.values[state.sort]) || a.run - b.run);
    const part = rows.length < total ? ` (one in ${number(Math.round(total / rows.length))} of ${number(total)})` : "";
    count.textContent = `${number(state.shown.length)} of ${number(rows.length)} requests${part}`;
    head.replaceChildren(...[
      isComparing ? el("th", { class: "run" }, "run") : null,
      ...columns.map(([key, name], index) => el("th", { "data-column": key, "aria-sort": state.sort === index ? (state.isDescending ? "descending" : "ascending") : "none",
        click: () => { state.isDescending = state.sort === index ? !state.isDescending : index > 3; state.sort = index; box.scrollTop = 0; arrange(); } },
        name + (state.sort === index ? (state.isDescending ? " ▾" : " ▴") : ""))),
      el("th", { class: "life" }, "life: queued, prefill, decode"),
    ].filter(Boolean));
    draw();
  };
  const wrong = el("span", { class: "wrong", id: "filter-wrong" });
  const filter = el("input", { id: "filter", type: "search", size: "34", placeholder: "id, or ttft>100 instance=0 …", input: () => {
    const test = parseFilter(filter.value, columns);
    wrong.textContent = typeof test === "string" ? `“${test}”: use one of ${columns.map(([key]) => key).join(", ")} with <, >, = and a number` : "";
    if (typeof test === "string") return;
    state.shown = rows.filter(test);
    box.scrollTop = 0;
    arrange();
  } });
  const aligned = el("input", { type: "checkbox", id: "aligned", change: () => { state.isAligned = aligned.checked; draw(); } });
  box.addEventListener("scroll", draw, { passive: true });
  const about = "Times as in the result file; the exact nanoseconds are in each cell’s data. Click a heading to sort.";
  return [section("requests", "Requests", about,
    el("div", { class: "tools" }, el("label", {}, "Filter ", filter), el("label", {}, aligned, " bars begin at arrival"), count, wrong), box), arrange];
}

/** When bars end: from the start of the run, or from arrival. */
function lifeEnds(rows, place, isAligned) {
  const [arrival, latency] = [place("arrival"), place("latency")];
  return [rows.reduce((most, row) => Math.max(most, row.values[latency] + (isAligned ? 0 : row.values[arrival])), 0)];
}
