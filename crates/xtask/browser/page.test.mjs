// Report pages in a real browser: drawn, right, and on their own.
//
// `cargo xtask test` runs this with what it has set up: SERVINGSIM (the command), PLAYWRIGHT (folder of playwright-core),
// CHROMIUM (the browser). With SERVINGSIM_SCREENSHOTS set to a folder, screenshots for the documentation go there.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

const { SERVINGSIM, PLAYWRIGHT, CHROMIUM, SERVINGSIM_SCREENSHOTS: screenshots } = process.env;
const { chromium } = createRequire(join(PLAYWRIGHT, "/"))("playwright-core");
const folder = mkdtempSync(join(tmpdir(), "servingsim-pages-"));
const file = (name) => join(folder, name);
const servingsim = (...args) => execFileSync(SERVINGSIM, args, { encoding: "utf8", cwd: folder, stdio: ["ignore", "pipe", "pipe"] });

let browser;
before(async () => { browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] }); });
after(async () => { await browser?.close(); rmSync(folder, { recursive: true, force: true }); });

/** Opens a page, has `check` look at it, and fails if the page complained or asked for anything. */
async function open(name, check, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const wrong = [];
  page.on("console", (message) => { if (message.type() === "error") wrong.push(message.text()); });
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("request", (request) => { if (!/^(file|data):/.test(request.url())) wrong.push("asked for " + request.url()); });
  await page.goto("file://" + file(name));
  await page.waitForSelector("html[data-ready]");
  await check(page);
  assert.deepEqual(wrong, []);
  await context.close();
}

/** The rows of a CSV by id. */
function csv(name) {
  const [head, ...lines] = readFileSync(file(name), "utf8").trimEnd().split("\n");
  const names = head.split(",");
  // Lists of latencies come last and hold commas in quotes; nothing before them does.
  const rows = lines.map((line) => Object.fromEntries(line.replace(/"\[.*$/, "").split(",").map((value, index) => [names[index], value])));
  return new Map(rows.map((row) => [row["request id"], row]));
}

/** How many pixels of each chart are drawn in something other than the colours of its grid. */
function drawnPixels(page) {
  return page.$$eval(".chart", (holders) => holders.map((holder) => {
    const canvas = holder.querySelector("canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let colored = 0;
    for (let at = 0; at < data.length; at += 4) {
      const [r, g, b, a] = data.slice(at, at + 4);
      if (a > 128 && Math.max(r, g, b) - Math.min(r, g, b) > 60) colored += 1;
    }
    return { id: holder.id, colored, points: Number(holder.dataset.points), most: Number(holder.dataset.most) };
  }));
}

/** Every row of the table of requests, by scrolling through it. */
async function tableRows(page) {
  const rows = new Map();
  const box = page.locator("#rows");
  const height = await box.evaluate((element) => element.scrollHeight);
  for (let top = 0; top <= height; top += 400) {
    await box.evaluate((element, to) => { element.scrollTop = to; element.dispatchEvent(new Event("scroll")); }, top);
    for (const cells of await page.$$eval("#rows tr.request", (list) => list.map((row) => Object.fromEntries(
      [...row.querySelectorAll("td[data-column]")].map((cell) => [cell.dataset.column, cell.dataset.ns ?? cell.dataset.value]))))) {
      rows.set(cells.id, cells);
    }
  }
  return rows;
}

const column = (page, name) => page.$$eval(`#rows tr.request td[data-column="${name}"]`, (cells) => cells.map((cell) => Number(cell.dataset.ns ?? cell.dataset.value)));
const shown = async (page) => Number((await page.textContent("#shown")).replaceAll(",", "").split(" ")[0]);

for (const example of ["moe-dp-ep", "moe-ep"]) {
  test(`the report of ${example}`, async () => {
    const summary = JSON.parse(servingsim("run", "--example", example, "--quiet", "--format", "json", "--report", `${example}.html`, "--output", `${example}.csv`));
    const results = csv(`${example}.csv`);
    await open(`${example}.html`, async (page) => {
      const charts = await drawnPixels(page);
      assert.ok(charts.length >= 9, `${charts.length} charts`);
      for (const chart of charts) assert.ok(chart.colored > 200 && chart.points > 20 && chart.most > 0, JSON.stringify(chart));

      // Numbers are those of the summary.
      const value = (selector) => page.$eval(selector, (cell) => Number(cell.dataset.value));
      assert.equal(await value('#totals tr[data-name="Requests"] td[data-value]'), summary.requests);
      assert.equal(await value('#totals tr[data-name="Makespan (s)"] td[data-value]'), summary.makespan_s);
      for (const [key, name] of Object.entries({ ttft: "ttft_ms", tpot: "tpot_ms", itl: "itl_ms", latency: "latency_ms", queuing: "queuing_delay_ms" })) {
        const figures = await page.$$eval(`#latency-figures tr[data-name="${key}"] td[data-value]`, (cells) => cells.map((cell) => Number(cell.dataset.value)));
        const { mean, median, p90, p99, min, max } = summary[name];
        assert.deepEqual(figures, [mean, median, p90, p99, min, max], name);
      }

      // Rows are those of the result file.
      const rows = await tableRows(page);
      assert.equal(rows.size, results.size);
      for (const [id, row] of rows) {
        const result = results.get(id);
        for (const [key, name] of Object.entries({ instance: "instance id", in: "input", out: "output", arrival: "arrival", queue: "queuing_delay", ttft: "TTFT", tpot: "TPOT", latency: "latency" })) {
          assert.equal(Number(row[key]), Number(result[name]), `${name} of request ${id}`);
        }
      }

      // Sorted, most first, then least first.
      await page.click('#rows th[data-column="ttft"]');
      const down = await column(page, "ttft");
      assert.ok(down.length > 10 && down.every((ns, index) => index === 0 || ns <= down[index - 1]), String(down));
      await page.click('#rows th[data-column="ttft"]');
      const up = await column(page, "ttft");
      assert.equal(up[0], Math.min(...[...results.values()].map((row) => Number(row.TTFT))));
      assert.ok(up.every((ns, index) => index === 0 || ns >= up[index - 1]), String(up));

      // Filtered.
      const bound = summary.ttft_ms.median;
      await page.fill("#filter", `ttft>${bound}`);
      assert.equal(await shown(page), [...results.values()].filter((row) => Number(row.TTFT) > bound * 1e6).length);
      await page.fill("#filter", "ttft>");
      assert.match(await page.textContent("#filter-wrong"), /ttft/);
      await page.fill("#filter", "63");
      assert.deepEqual(await column(page, "id"), [63]);
      await page.fill("#filter", "");
      assert.equal(await shown(page), results.size);

      // Parts of steps make up the whole.
      for (const shares of await page.$$eval(".breakdown tbody tr", (list) => list.map((row) => [...row.querySelectorAll("td[data-part]")].map((cell) => parseFloat(cell.textContent))))) {
        const total = shares.reduce((sum, share) => sum + share, 0);
        assert.ok(Math.abs(total - 100) < 0.06 * shares.length, String(shares));
      }
      const tokens = await page.$$eval("#experts .bar", (bars) => bars.map((bar) => Number(bar.dataset.tokens)));
      assert.ok(tokens.length >= 2 && tokens.every((count) => count > 0), String(tokens));
      if (example === "moe-dp-ep") {
        const dummies = await page.$$eval(".members td[data-value]", (cells) => cells.map((cell) => Number(cell.dataset.value)));
        assert.equal(dummies.reduce((sum, count) => sum + count, 0), summary.dummy_steps);
        const pairs = await page.$$eval(".heat td", (cells) => cells.map((cell) => Number(cell.dataset.value)));
        assert.ok(pairs.length === 4 && pairs[0] === 0 && pairs[1] > 0 && pairs[2] > 0 && pairs[3] === 0, String(pairs));
        await page.selectOption("#instance", "1");
        assert.ok((await drawnPixels(page)).every((chart) => chart.colored > 200));
        await page.selectOption("#instance", "each");
        assert.ok((await page.$$("#chart-queues .u-legend .u-series")).length >= 3, "x and a line an instance");
        await page.selectOption("#instance", "");
      }
      assert.match(await page.textContent("#configuration"), /num_instances|instances/);
      assert.ok((await page.$$("#limits li")).length > 0);
      assert.ok((await page.$$("#configuration svg text")).length > 5, "the deployment is drawn");

      // Nothing is wider than the window, in either theme.
      for (const theme of ["light", "dark"]) {
        await page.click("#theme");
        assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), theme);
        assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), theme);
        assert.ok((await drawnPixels(page)).every((chart) => chart.colored > 200), theme);
        if (screenshots && theme === "light") {
          await page.evaluate(() => window.scrollTo(0, 0));
          await page.screenshot({ path: join(screenshots, `report-${example}.png`) });
          for (const part of ["steps", "waves"].filter((part) => part !== "waves" || example === "moe-dp-ep")) {
            await page.locator("#" + part).screenshot({ path: join(screenshots, `report-${example}-${part}.png`) });
          }
        }
      }
    });
    await open(`${example}.html`, async (page) => {
      const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      assert.ok(ground.match(/\d+/g).map(Number).every((part) => part < 64), ground);
    }, { colorScheme: "dark" });
    await open(`${example}.html`, async (page) => {
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), "on a phone");
    }, { viewport: { width: 390, height: 800 } });
  });
}

test("results laid over each other", async () => {
  servingsim("run", "--quiet", "--output", "a.csv");
  servingsim("run", "--quiet", "--engine", "vllm", "--output", "b.csv");
  servingsim("report", "a.csv", "b.csv", "--output", "both.html");
  const comparison = servingsim("compare", "a.csv", "b.csv", "--report", "compared.html");
  const [a, b] = [csv("a.csv"), csv("b.csv")];
  const mean = (rows) => [...rows.values()].reduce((sum, row) => sum + Number(row.TTFT), 0) / rows.size / 1e6;
  for (const name of ["both.html", "compared.html"]) {
    await open(name, async (page) => {
      const charts = await drawnPixels(page);
      assert.ok(charts.length >= 6 && charts.every((chart) => chart.colored > 200), JSON.stringify(charts));
      const ttft = await page.$$eval('#latency-figures tr[data-name="ttft"]', (list) => list.map((row) => Number(row.querySelector("td[data-value]").dataset.value)));
      assert.ok(Math.abs(ttft[0] - mean(a)) < 1e-6 && Math.abs(ttft[1] - mean(b)) < 1e-6, String(ttft));
      assert.equal(await shown(page), a.size + b.size);
      await page.fill("#filter", "run=2");
      assert.equal(await shown(page), b.size);
      if (name === "compared.html") assert.equal(await page.$eval("#comparison pre", (text) => text.textContent), comparison);
    });
  }
});

test("ten thousand requests", async () => {
  const line = (index) => JSON.stringify({ input_toks: 32 + ((index * 7919) % 400), output_toks: 4 + ((index * 104729) % 60), arrival_time_ns: index * 25_000_000 + ((index * 15485863) % 20_000_000) });
  writeFileSync(file("many.jsonl"), Array.from({ length: 10_000 }, (_, index) => line(index)).join("\n") + "\n");
  servingsim("examples", "--write", ".");
  servingsim("run", "--quiet", "--cluster-config", "moe-dp-ep.cluster.json", "--dataset", "many.jsonl", "--report", "many.html", "--output", "many.csv");
  const { size } = statSync(file("many.html"));
  console.log(`a page of 10,000 requests: ${size} bytes`);
  assert.ok(size < 1_500_000, `${size} bytes`);
  const results = csv("many.csv");
  await open("many.html", async (page) => {
    assert.equal(await shown(page), 10_000);
    await page.click('#rows th[data-column="latency"]');
    const latencies = await column(page, "latency");
    assert.equal(latencies[0], Math.max(...[...results.values()].map((row) => Number(row.latency))));
    await page.fill("#filter", "out<=10 instance=1");
    assert.equal(await shown(page), [...results.values()].filter((row) => Number(row.output) <= 10 && row["instance id"] === "1").length);
    assert.ok((await drawnPixels(page)).every((chart) => chart.colored > 200));
  });
});
