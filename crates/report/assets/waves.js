// Waves of data-parallel groups, and the load of expert-parallel ranks.

/** A table in which colour says who waited how long for whom. */
function pairsTable(group) {
  const num = group.members.length;
  const most = Math.max(...group.pairs_ms, 1e-9);
  const name = (index) => String(group.members[index].instance);
  const head = el("tr", {}, el("th", {}, "waited for →"), ...group.members.map((_, index) => el("th", {}, name(index))));
  const rows = group.members.map((_, row) => el("tr", {}, el("th", {}, "instance " + name(row)),
    ...group.members.map((__, column) => {
      const ms = group.pairs_ms[row * num + column];
      const share = Math.round((ms / most) * 70);
      const text = num <= 16 && ms > 0 ? (ms >= 1000 ? number(ms / 1000, 1) + " s" : number(ms, 0)) : "";
      return el("td", { "data-value": ms, style: `background:color-mix(in srgb, var(--waiting) ${share}%, var(--ground))`,
        title: `instance ${name(row)} waited ${duration(ms)} for instance ${name(column)}` }, text);
    })));
  return tall(num, el("table", { class: "heat" }, el("thead", {}, head), el("tbody", {}, ...rows)));
}

function membersTable(group) {
  const head = ["", "dummy steps", "tokens", "padding", "waited before waves", "waited in waves", "others waited for it", "slowest in"];
  const rows = group.members.map((member) => el("tr", { "data-instance": member.instance },
    el("td", {}, "instance " + member.instance),
    el("td", { "data-value": member.dummies }, percent(member.dummies / Math.max(1, group.waves))),
    el("td", {}, number(member.tokens)),
    el("td", {}, percent(1 - member.tokens / Math.max(1, member.padded_tokens))),
    el("td", {}, duration(member.waited_before_ms)), el("td", {}, duration(member.waited_inside_ms)),
    el("td", {}, duration(member.waited_for_ms)), el("td", {}, percent(member.slowest / Math.max(1, group.waves)))));
  return tall(rows.length, el("table", { class: "members" },
    el("thead", {}, el("tr", {}, ...head.map((name) => el("th", {}, name)))), el("tbody", {}, ...rows)));
}

/** The wave in which most was waited, member by member. */
function worstWave(group) {
  const wave = group.worst;
  if (!wave) return null;
  const first = Math.min(...wave.members.map((member) => member.ready_ms));
  const computing = (member) => sum(member.parts.map(([, ms]) => ms));
  const end = wave.start_ms + Math.max(...wave.members.map(computing));
  const names = [...new Set(wave.members.flatMap((member) => member.parts.map(([name]) => name)))];
  const bars = wave.members.flatMap((member, index) => {
    const parts = [["waiting", wave.start_ms - member.ready_ms], ...member.parts, ["waiting", end - wave.start_ms - computing(member)]];
    const offset = ((member.ready_ms - first) / Math.max(1e-9, end - first)) * 100;
    const bar = partsBar(parts.filter(([, ms]) => ms > 1e-6), Math.max(1e-9, end - member.ready_ms));
    bar.style.marginLeft = offset + "%";
    return [el("span", {}, "instance " + group.members[index].instance), bar, el("span", {}, number(member.tokens) + " tokens")];
  });
  return el("div", { class: "worst" },
    el("h3", {}, `The wave in which most was waited: at ${number(wave.start_ms / 1000, 3)} s, ${duration(wave.waited_ms)} in all`),
    partsLegend([...names, "waiting"]), tall(wave.members.length, el("div", { class: "bars" }, ...bars)));
}

/** Waiting over time, a row a member: the darker, the more of its time a member waited within steps or ran dummies. */
function waitingStrip(run, group) {
  const members = group.members.map((member) => run.timeline.series.find((series) => series.instance === member.instance)).filter(Boolean);
  if (members.length < 2) return null;
  const width = Math.max(...members.map((series) => series.waited.length));
  const canvas = el("canvas", { class: "strip", width, height: members.length, role: "img", "aria-label": "waiting over time" });
  canvas.style.height = members.length * 14 + "px";
  const pen = canvas.getContext("2d");
  const colors = { waited: color("waiting"), dummy: color("queue"), busy: color("dense") };
  members.forEach((series, row) => series.busy.forEach((_, bin) => {
    for (const [column, fill] of Object.entries({ busy: colors.busy, dummy: colors.dummy, waited: colors.waited })) {
      pen.globalAlpha = Math.min(1, series[column][bin] / 100) * (column === "busy" ? 0.35 : 1);
      pen.fillStyle = fill;
      pen.fillRect(bin, row, 1, 1);
    }
  }));
  return el("div", {}, el("h3", {}, "Members over time, first at the top"),
    el("div", { class: "legend" }, el("span", {}, swatch(colors.busy), "in steps"), el("span", {}, swatch(colors.dummy), "in dummies"), el("span", {}, swatch(colors.waited), "waiting within steps")),
    canvas);
}

function wavesSection() {
  const known = runs.flatMap((run) => run.groups.map((group) => [run, group]));
  if (!known.length) return null;
  const children = known.flatMap(([run, group]) => {
    const dummies = sum(group.members.map((member) => member.dummies)) / Math.max(1, group.waves * group.members.length);
    const padding = 1 - sum(group.members.map((member) => member.tokens)) / Math.max(1, sum(group.members.map((member) => member.padded_tokens)));
    return [
      el("h3", {}, (isComparing ? run.name + " · " : "") + `${group.name}: ${number(group.waves)} waves of ${group.members.length} members, ${percent(dummies)} of their steps dummies, ${percent(padding)} of their tokens padding`),
      membersTable(group),
      group.pairs_ms.length ? pairsTable(group) : null,
      waitingStrip(run, group), worstWave(group),
    ];
  });
  return section("waves", "Waves",
    "Members of a group step together: those that are ready wait for the last before a wave, and for the slowest in it, and those with nothing to run take part with a dummy. Pairs are in milliseconds.",
    ...children);
}

function expertsSection() {
  const known = runs.flatMap((run) => run.experts.map((experts) => [run, experts]));
  if (!known.length) return null;
  const children = known.flatMap(([run, experts]) => {
    const tokens = experts.ranks.map(([, count]) => count);
    const most = Math.max(...tokens, 1);
    const total = Math.max(1, sum(tokens));
    const bars = experts.ranks.flatMap(([instance, count], rank) => [
      el("span", {}, `rank ${rank} · instance ${instance}`),
      el("div", { class: "bar", "data-tokens": count }, el("span", { style: `width:${(count / most) * 100}%;background:${partColor("experts")}` })),
      el("span", {}, `${number(count)} · ${percent(count / total)}`),
    ]);
    return [
      el("h3", {}, (isComparing ? run.name + " · " : "") + `${experts.name}: in the mean wave the busiest of ${experts.ranks.length} ranks has ${number(experts.imbalance, 3)} times the mean`),
      tall(experts.ranks.length, el("div", { class: "bars" }, ...bars)),
    ];
  });
  return section("experts", "Load of expert-parallel ranks", "Tokens that reached at least one expert of a rank, over all blocks and steps, padding included.", ...children);
}
