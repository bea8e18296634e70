"use strict";

// Elements. Whatever comes from data becomes a text node or an attribute, never markup.
function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function byId(id) {
  return document.getElementById(id);
}

// Data lies compressed in the page and is unpacked when it is needed; the latest pieces are kept.
const unpacked = new Map();
let source = (id) => decompress(byId("data-" + id).textContent);
function unpack(id) {
  if (!unpacked.has(id)) {
    if (unpacked.size > 24) unpacked.delete(unpacked.keys().next().value);
    unpacked.set(id, source(id));
  }
  return unpacked.get(id);
}

async function decompress(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function number(value) {
  if (value === null || value === undefined) return "";
  const size = Math.abs(value);
  if (value === 0) return "0";
  return size >= 1000 || size < 0.001 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

function signed(value) {
  return (value > 0 ? "+" : "\u2212") + number(Math.abs(value));
}

function quoted(text) {
  const signs = text.replaceAll("\n", "\u21b5").replaceAll("\t", "\u21e5");
  return "\u201c" + signs + "\u201d";
}

// Tenths of the largest absolute score, at most 9, with the sign of the score.
function levels(scores) {
  const largest = scores.reduce((most, score) => Math.max(most, Math.abs(score)), 0);
  if (!largest) return scores.map(() => 0);
  return scores.map((score) => Math.max(-9, Math.min(9, Math.trunc((score / largest) * 10))));
}

function levelClass(level) {
  if (!level) return "";
  return (level > 0 ? "p" : "n") + Math.abs(level);
}

// One number a row, drawn as a bar.
function bar(share) {
  const fill = el("span", { class: "bar" });
  fill.style.width = Math.max(0, Math.min(1, share)) * 100 + "%";
  return el("span", { class: "track", "aria-hidden": "true" }, fill);
}

// Where a unit's absence moves the probability, net: most first.
function netFlows(flows) {
  const net = new Map();
  for (const [from, to, mass] of flows) {
    net.set(from, (net.get(from) || 0) - mass);
    net.set(to, (net.get(to) || 0) + mass);
  }
  return [...net].sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
}

const POINT = "Point at a word, or focus the prompt and use the arrow keys, to see where its absence moves the probability.";

let heatMaps = 0;

// The prompt with the ground of each unit telling its score. One of its units is current: the one under the
// pointer, or the one that the arrow keys lead to.
class HeatMap {
  constructor(view, label, onCurrent) {
    this.view = view;
    this.onCurrent = onCurrent;
    this.id = "heat-" + heatMaps++;
    this.spans = new Array(view.units.length).fill(null);
    this.current = -1;
    this.node = el("div", { class: "heat", role: "listbox", tabindex: "0", dir: "auto", "aria-label": label });
    const pieces = document.createDocumentFragment();
    for (const [text, units] of view.pieces) {
      if (!units.length) {
        pieces.append(text);
        continue;
      }
      const core = text.trim();
      const blank = !core;
      const sign = blank ? text.replaceAll("\n", "\u21b5\n").replaceAll("\t", "\u21e5\t") : core;
      const span = el("span", { role: "option", id: this.id + "-" + units[0], "aria-selected": "false" });
      span.append(blank && sign === text ? "\u2423" + text.slice(1) : sign);
      span.unit = units[0];
      for (const unit of units) this.spans[unit] = span;
      // White space around a word has no ground, so that the word stands out as it is read.
      const [before, after] = blank ? ["", ""] : text.split(core, 2);
      pieces.append(before, span, after);
    }
    this.node.append(pieces);
    this.node.addEventListener("pointerover", (event) => this.point(event.target));
    this.node.addEventListener("click", (event) => this.point(event.target));
    this.node.addEventListener("focus", () => this.current < 0 && this.select(this.strongest()));
    this.node.addEventListener("keydown", (event) => this.press(event));
  }

  // Marks the units by a method's scores, and writes the numbers out if they are wanted.
  paint(method, numbers) {
    this.method = method;
    this.scores = this.view.scores[method] || [];
    const found = levels(this.scores);
    const strongest = new Map();
    this.spans.forEach((span, unit) => {
      if (!span) return;
      const level = found[unit] || 0;
      const before = strongest.get(span);
      if (before === undefined || Math.abs(level) > Math.abs(found[before] || 0)) strongest.set(span, unit);
    });
    for (const [span, unit] of strongest) {
      span.unit = unit;
      span.className = levelClass(found[unit]);
      span.setAttribute("aria-label", quoted(this.view.units[unit][0]) + " " + number(this.scores[unit]));
      if (span.lastChild.nodeName === "SUB") span.lastChild.remove();
      if (numbers && found[unit]) span.append(el("sub", {}, number(this.scores[unit])));
    }
    if (this.current >= 0) this.mark(this.current);
  }

  strongest() {
    let best = 0;
    this.scores.forEach((score, unit) => {
      if (Math.abs(score) > Math.abs(this.scores[best])) best = unit;
    });
    return best;
  }

  point(target) {
    const span = target.closest("[role=option]");
    if (span && span.unit !== this.current) this.select(span.unit);
  }

  press(event) {
    const last = this.view.units.length - 1;
    const at = Math.max(this.current, 0);
    const targets = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: last };
    if (!(event.key in targets)) return;
    event.preventDefault();
    this.select(Math.max(0, Math.min(last, targets[event.key])));
    this.spans[this.current]?.scrollIntoView({ block: "nearest" });
  }

  select(unit) {
    this.mark(unit);
    this.onCurrent(unit, this);
  }

  mark(unit) {
    const before = this.spans[this.current];
    if (before) {
      before.classList.remove("current");
      before.setAttribute("aria-selected", "false");
    }
    this.current = unit;
    const span = this.spans[unit];
    if (!span) return;
    span.classList.add("current");
    span.setAttribute("aria-selected", "true");
    this.node.setAttribute("aria-activedescendant", span.id);
  }
}

// What the panel beside a heat map says of a unit.
function describeUnit(view, unit) {
  const [text, segment, level] = view.units[unit];
  const rows = Object.entries(view.scores).map(([method, scores]) =>
    el("tr", {}, el("th", { scope: "row" }, method), el("td", { class: "number" }, number(scores[unit]) + (isNoise(view, method, unit) ? " (noise)" : ""))),
  );
  const flows = view.flows[unit] || [];
  const net = netFlows(flows).slice(0, 6);
  return [
    el("p", { class: "unit", dir: "auto" }, quoted(text)),
    el("p", { class: "faint" }, segment + (level ? ", as " + level : "")),
    el("table", {}, el("tbody", {}, ...rows)),
    net.length
      ? el(
          "p",
          {},
          "Without it: ",
          ...net.flatMap(([outcome, mass], index) => [
            index ? ", " : null,
            el("bdi", { class: "unit" }, quoted(outcome)),
            " " + signed(mass),
          ]),
        )
      : el("p", { class: "faint" }, "Without it, hardly any probability moves between outcomes."),
    flows.length
      ? el(
          "details",
          {},
          el("summary", {}, "What the optimal plan moves"),
          el(
            "table",
            {},
            el("thead", {}, el("tr", {}, ...["from", "to", "mass", "cost"].map((name) => el("th", {}, name)))),
            el(
              "tbody",
              {},
              ...flows.map(([from, to, mass, cost]) =>
                el(
                  "tr",
                  {},
                  el("td", {}, el("bdi", { class: "unit" }, quoted(from))),
                  el("td", {}, el("bdi", { class: "unit" }, quoted(to))),
                  el("td", { class: "number" }, number(mass)),
                  el("td", { class: "number" }, number(cost)),
                ),
              ),
            ),
          ),
        )
      : null,
  ];
}

// The colour scale in words and colours.
// Whether a score cannot be told from 0: in other batches, scores move by as much.
function isNoise(view, method, unit) {
  return ((view.noise || {})[method] || []).includes(unit);
}

function legend(scores, method) {
  const largest = scores.reduce((most, score) => Math.max(most, Math.abs(score)), 0);
  if (!largest) return el("p", { class: "faint" }, method + ": every score is 0");
  const negative = scores.some((score) => score < 0);
  const steps = [];
  for (let level = negative ? -9 : 0; level <= 9; level++) steps.push(el("i", { class: levelClass(level) }));
  return el(
    "p",
    { class: "faint" },
    (negative ? "\u2212" + number(largest) : "0") + " ",
    el("span", { class: "scale", "aria-hidden": "true" }, ...steps),
    " " + number(largest) + ", the largest " + method + "; grey: not a unit",
  );
}

/** What the model would say, or the part of its answer that is explained. */
function outcomes(view, caption) {
  if (view.followed) {
    const [{ text, ended }] = view.outcomes;
    return el(
      "p",
      { class: "text", dir: "auto" },
      "Explained of the answer: ",
      el("bdi", {}, quoted(text)),
      ended ? ", to its end" : "",
    );
  }
  return el(
    "table",
    {},
    el("caption", {}, caption),
    el(
      "thead",
      {},
      el("tr", {}, el("th", {}, "probability"), el("th", {}, "share"), el("th", {}, "text"), el("th", {}, "note")),
    ),
    el(
      "tbody",
      {},
      ...view.outcomes.map((outcome) =>
        el(
          "tr",
          {},
          el("td", { class: "number" }, number(outcome.probability)),
          el("td", {}, bar(outcome.probability)),
          el("td", { class: "text", dir: "auto" }, quoted(outcome.text)),
          el("td", {}, [outcome.gold && "right choice", outcome.ended && "ends here"].filter(Boolean).join(", ")),
        ),
      ),
    ),
  );
}

function methodSelect(methods, chosen, onChange) {
  const select = el("select", {}, ...methods.map((name) => el("option", { value: name }, name)));
  select.value = chosen;
  select.addEventListener("change", () => onChange(select.value));
  return el("label", {}, "Method ", select);
}

function numbersBox(checked, onChange) {
  const box = el("input", { type: "checkbox" });
  box.checked = checked;
  box.addEventListener("change", () => onChange(box.checked));
  return el("label", {}, box, " numbers");
}

function remember(name, value) {
  try {
    localStorage.setItem("gilot-" + name, value);
  } catch {
    // Pages from disk may have no storage; then each page starts anew.
  }
}

function recall(name) {
  try {
    return localStorage.getItem("gilot-" + name);
  } catch {
    return null;
  }
}

function setTheme(name) {
  if (name) document.documentElement.dataset.theme = name;
  const dark = name ? name === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  byId("theme").setAttribute("aria-pressed", String(dark));
}

setTheme(recall("theme"));
byId("theme").addEventListener("click", () => {
  const name = byId("theme").getAttribute("aria-pressed") === "true" ? "light" : "dark";
  remember("theme", name);
  setTheme(name);
});
