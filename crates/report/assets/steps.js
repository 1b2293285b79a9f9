// Where the time of steps goes.

/** Names and milliseconds of what a step, or many, consisted of; what was waited last. */
function partsOf(breakdown) {
  return [...breakdown.parts, ["waiting", breakdown.waiting_ms]].filter(([, ms]) => ms > 0);
}

/** A bar of parts; the whole of it is `whole`. */
function partsBar(parts, whole) {
  return el("div", { class: "bar" }, ...parts.map(([name, ms]) =>
    el("span", { style: `width:${(ms / whole) * 100}%;background:${partColor(name)}`, title: `${name}: ${duration(ms)}` })));
}

const partsLegend = (names) => el("div", { class: "legend" }, ...names.map((name) => el("span", {}, swatch(partColor(name)), name)));

function breakdownTable(run, names) {
  const head = ["", "steps", "mean step", ...names, "before steps"];
  const rows = run.breakdown.map((one) => {
    const parts = Object.fromEntries(partsOf(one));
    const whole = Math.max(1e-9, sum(Object.values(parts)));
    return el("tr", { "data-name": one.name }, el("td", {}, one.name), el("td", {}, number(one.steps)),
      el("td", {}, one.steps ? duration(one.time_ms / one.steps) : "–"),
      ...names.map((name) => el("td", { "data-part": name, "data-value": parts[name] || 0 }, percent((parts[name] || 0) / whole))),
      el("td", {}, duration(one.before_ms)));
  });
  return tall(rows.length, el("table", { class: "breakdown" },
    el("thead", {}, el("tr", {}, ...head.map((name) => el("th", {}, name)))), el("tbody", {}, ...rows)));
}

function stepsSection() {
  const known = runs.filter((run) => run.breakdown.length);
  if (!known.length) return null;
  const children = known.flatMap((run) => {
    const names = [...new Set(run.breakdown.flatMap((one) => partsOf(one).map(([name]) => name)))];
    const longest = Math.max(...run.breakdown.map((one) => sum(partsOf(one).map(([, ms]) => ms))));
    const overlap = sum(run.breakdown.map((one) => one.overlap_ms));
    const bars = run.breakdown.flatMap((one) => [
      el("span", {}, one.name), partsBar(partsOf(one), Math.max(longest, 1e-9)), el("span", {}, duration(one.time_ms)),
    ]);
    return [
      isComparing ? el("h3", {}, run.name) : null, partsLegend(names), tall(run.breakdown.length, el("div", { class: "bars" }, ...bars)),
      breakdownTable(run, names),
      overlap > 0 ? el("p", {}, `Parts come to ${duration(overlap)} more than the steps took: they overlap.`) : null,
    ];
  });
  return section("steps", "Where steps spend their time",
    "Added up over all steps. Parts are those of one rank's way through a step, the slowest rank's experts among them; collectives as long as they take when all enter at once. Waiting is what is left: for other ranks, or for links and memory that others had. Before steps, ready batches waited for the other members of their group.",
    ...children);
}
