"use strict";
// What all parts of the page use: the data, elements, numbers, colours.

const data = JSON.parse(document.getElementById("data").textContent);
const runs = data.runs;
const isComparing = runs.length > 1;

/** An element with attributes (functions become listeners) and children (text is escaped). */
function el(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A section of the page, with its heading and what is to be known of it. */
function section(id, title, about, ...children) {
  return el("section", { id }, el("h2", {}, title), about ? el("p", {}, about) : null, ...children);
}

/** The colour of a name as the style sheet has it for the theme at hand. */
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const runColor = (index) => color("series-" + (index % 8));
const partName = (name) => ({ "attention in memory": "memory-attention", "dense layers": "dense" })[name]
  || name.replaceAll(" ", "-").replaceAll("_", "-");
const partColor = (name) => color(partName(name)) || color("series-7");

const swatch = (fill) => el("span", { class: "swatch", style: "background:" + fill });

/** A number with its thousands apart and so many digits after the point. */
function number(value, digits = 0) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** Milliseconds as people read them. */
function duration(ms) {
  if (ms >= 10000) return number(ms / 1000, 2) + " s";
  if (ms >= 1) return number(ms, 2) + " ms";
  return number(ms * 1000, 1) + " µs";
}

/** What has many rows in a box that scrolls. */
const tall = (num, ...children) => el("div", { class: num > 14 ? "tall" : "scroll" }, ...children);

const percent = (share) => number(share * 100, 1) + " %";
const sum = (values) => values.reduce((total, value) => total + value, 0);

/** Requests of a run with arrivals counted from the start of the run. */
function arrivals(requests) {
  if (!requests.arrivals) {
    let at = 0;
    requests.arrivals = requests.arrival_ns.map((gap) => (at += gap));
  }
  return requests.arrivals;
}
