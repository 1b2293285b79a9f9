// The page as a whole.

const themes = ["auto", "light", "dark"];
let theme = "auto";

function configurationSection() {
  const children = runs.flatMap((run) => {
    if (!run.configuration.length && !run.files.length && !run.drawing) return [];
    const drawing = run.drawing ? el("div", { class: "drawing" }) : null;
    // The one piece of markup in the data: drawn by servingsim itself.
    if (drawing) {
      drawing.innerHTML = run.drawing;
      if (theme !== "auto") drawing.firstElementChild.classList.add(theme);
    }
    return [
      isComparing ? el("h3", {}, run.name) : null, drawing,
      ...run.configuration.flatMap(([heading, pairs]) => [el("h3", {}, heading), el("dl", {}, ...pairs.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]))]),
      ...run.files.map(([name, text]) => el("details", {}, el("summary", {}, name), el("pre", {}, text))),
    ];
  });
  return children.length ? section("configuration", "Configuration", null, ...children) : null;
}

function limitsSection() {
  const list = (texts) => el("ul", {}, ...texts.map((text) => el("li", {}, text)));
  const children = runs.flatMap((run) => [
    isComparing && (run.notes.length || run.not_modelled.length) ? el("h3", {}, run.name) : null,
    run.not_modelled.length ? list(run.not_modelled) : null,
    run.notes.length ? [el("h3", {}, "Notes"), list(run.notes)] : null,
  ]).flat().filter(Boolean);
  return children.length ? section("limits", "What was not modelled", null, ...children) : null;
}

/** Builds the page, then draws what needs a place on it to be drawn. */
function render() {
  charts.forEach(([plot]) => plot.destroy());
  charts = [];
  const [time, drawTime] = timeSection();
  const [latency, drawLatency] = latencySection();
  const [requests, drawRequests] = requestsSection();
  const sections = [summarySection(), time, latency, stepsSection(), wavesSection(), expertsSection(), requests, configurationSection(), limitsSection()].filter(Boolean);
  document.getElementById("main").replaceChildren(...sections);
  document.getElementById("sections").replaceChildren(...sections.map((one) => el("a", { href: "#" + one.id }, one.querySelector("h2").textContent)));
  drawTime();
  drawLatency();
  drawRequests();
}

const themeButton = document.getElementById("theme");

function setTheme(next) {
  theme = next;
  if (theme === "auto") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.dataset.theme = theme;
  themeButton.textContent = theme;
  render();
}

themeButton.addEventListener("click", () => setTheme(themes[(themes.indexOf(theme) + 1) % themes.length]));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (theme === "auto") render(); });
let width = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth === width) return;
  width = window.innerWidth;
  charts.forEach(([plot, holder]) => plot.setSize({ width: Math.max(280, holder.clientWidth), height: 220 }));
});
setTheme("auto");
document.documentElement.dataset.ready = "true";
