
const POINT = "Point at a word, or focus the prompt and use the arrow keys, to see where its absence moves the probability.";

// Whether a score cannot be told from 0: in other batches, scores move by as much.
function isNoise(view, method, unit) {
  return ((view.noise || {})[method] || []).includes(unit);
}

function percent(share) {
  return (share < 0.095 ? String(Number((share * 100).toPrecision(2))) : (share * 100).toFixed(0)) + " %";
}

// Texts of models may run from right to left: each keeps its order to itself.
function exactly(text) {
  return el("bdi", { class: "unit" }, quoted(text));
}

// As a reader of sentences has it: without the white space that tokens begin with.
function unitName(text) {
  return exactly(text.trim() || text);
}

// Moves of less are left out of sentences.
const LEAST_MASS = 0.01;

// Where a unit's absence moves the probability, as a sentence.
function movedSentence(view, unit, name = "it") {
  const flows = (view.flows[unit] || []).filter(([, , mass]) => mass >= LEAST_MASS).slice(0, 4);
  const without = ["Without ", name === "it" ? "it" : unitName(name), ", "];
  if (!flows.length) return el("p", {}, ...without, "hardly any probability moves between outcomes.");
  const told = [];
  let source = null;
  flows.forEach(([from, to, mass], index) => {
    if (index) told.push(index === flows.length - 1 ? " and " : ", ");
    told.push(percent(mass));
    if (!index) told.push(" of the probability moves");
    if (from !== source) told.push(" from ", unitName(from));
    told.push(" to ", unitName(to));
    source = from;
  });
  const positions = (view.tokens || []).length;
  return el("p", {}, ...without, ...told, positions > 1 ? " (mean over the " + positions + " marked tokens)." : ".");
}

// What the optimal plan moves, down to what no sentence names.
function movedTable(flows) {
  if (!flows.length) return null;
  const rows = flows.map(([from, to, mass, cost]) =>
    el("tr", {}, el("td", {}, exactly(from)), el("td", {}, exactly(to)),
      el("td", { class: "number" }, number(mass)), el("td", { class: "number" }, number(cost))));
  return el("details", {}, el("summary", {}, "All that moves"),
    el("table", {}, el("thead", {}, el("tr", {}, ...["from", "to", "probability", "distance"].map((name) => el("th", {}, name)))),
      el("tbody", {}, ...rows)));
}

function scoresTable(view, unit) {
  const rows = Object.entries(view.scores).map(([method, scores]) => {
    const interval = (view.intervals || {})[method]?.[unit];
    return el("tr", {}, el("th", { scope: "row" }, method),
      el("td", { class: "number" }, number(scores[unit]) + (isNoise(view, method, unit) ? " (noise)" : "")),
      interval ? el("td", { class: "faint interval" }, number(interval[0]) + " to " + number(interval[1])) : null);
  });
  return el("table", {}, el("tbody", {}, ...rows));
}

// What the panel beside a heat map says of a unit.
function describeUnit(view, unit) {
  const [text, segment, level] = view.units[unit];
  return [
    el("p", { class: "unit", dir: "auto" }, quoted(text)),
    el("p", { class: "faint" }, segment + (level ? ", as " + level : "")),
    movedSentence(view, unit),
    scoresTable(view, unit),
    movedTable(view.flows[unit] || []),
  ];
}

/** What the model would say, or the part of its answer that is explained. */
function outcomes(view, caption) {
  if (view.followed) {
    const [{ text, ended }] = view.outcomes;
    return el("p", { class: "text", dir: "auto" }, "Explained of the answer: ", el("bdi", {}, quoted(text)), ended ? ", to its end" : "");
  }
  const rows = view.outcomes.map((outcome) =>
    el("tr", {}, el("td", { class: "number" }, number(outcome.probability)), el("td", {}, bar(outcome.probability)),
      el("td", { class: "text", dir: "auto" }, quoted(outcome.text)),
      el("td", {}, [outcome.gold && "right choice", outcome.ended && "ends here"].filter(Boolean).join(", "))));
  return el("table", {}, el("caption", {}, caption),
    el("thead", {}, el("tr", {}, ...["probability", "share", "text", "note"].map((name) => el("th", {}, name)))),
    el("tbody", {}, ...rows));
}
