
// The audit of a model against its base: both heat maps of a sample side by side.
function row(item) {
  return el(
    "tr",
    {},
    el("td", {}, sampleLink(item)),
    el("td", { class: "number" }, (item.moved * 100).toFixed(0) + " %"),
    el("td", { class: "number" }, item.correlation === null ? "" : item.correlation.toFixed(2)),
    el("td", { class: "number" }, (item.outcome * 100).toFixed(0) + " %"),
    el("td", {}, item.flip),
    el("td", { class: "words", dir: "auto" }, item.gained.map(quoted).join(" ")),
  );
}

function filter() {
  const wanted = byId("flip").value;
  list(state.rows.filter((item) => !wanted || item.flip === wanted));
}

// One model's side. What is pointed at in one heat map is also marked in the other where the units are alike.
function side(view, words, others) {
  const panel = el("div", { class: "panel", "aria-live": "polite" }, el("p", { class: "faint" }, POINT));
  const texts = view.units.map(([text]) => text);
  const heat = new HeatMap(view.pieces, texts, "Prompt, with the scores of the " + words, (unit) => {
    if (unit === null) return;
    heat.mark(unit);
    describe(unit);
    for (const other of others) if (other.heat !== heat) other.follow(unit, view);
  });
  const colours = el("div", {});
  const describe = (unit) => panel.replaceChildren(...describeUnit(view, unit).filter(Boolean));
  const found = {
    heat,
    follow: (unit, from) => {
      if (!view.units[unit] || view.units[unit][0] !== from.units[unit][0]) return;
      heat.mark(unit);
      describe(unit);
    },
    paint: () => {
      heat.paint(view.scores[state.method], { numbers: state.numbers, signed: state.method in view.signed });
      colours.replaceChildren(legend(heat.scores, state.method, view.signed[state.method]));
    },
    node: el(
      "section",
      { "aria-label": words },
      el("h3", {}, words, " ", el("span", { class: "faint" }, view.model)),
      el("p", { class: "faint" }, view.metrics.join(" \u00b7 ")),
      colours,
      heat.node,
      panel,
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Outcomes of the " + words },
        outcomes(view, view.kind === "choices" ? "Probability over the task's choices" : "Continuations")),
    ),
  };
  others.push(found);
  return found;
}

function flowsTable(flows) {
  return el(
    "table",
    {},
    el("caption", {}, "Flows that appeared or vanished, summed over units"),
    el("thead", {}, el("tr", {}, ...["from", "to", "before", "after"].map((name) => el("th", {}, name)))),
    el(
      "tbody",
      {},
      ...flows.map(([from, to, before, after]) =>
        el(
          "tr",
          {},
          el("td", {}, el("bdi", {}, quoted(from))),
          el("td", {}, el("bdi", {}, quoted(to))),
          el("td", { class: "number" }, number(before)),
          el("td", { class: "number" }, number(after)),
        ),
      ),
    ),
  );
}

function show(view) {
  const methods = Object.keys(view.base.scores).filter((name) => name in view.tuned.scores);
  if (!methods.includes(state.method)) state.method = view.base.method;
  const sides = [];
  side(view.base, "base model", sides);
  side(view.tuned, "other model", sides);
  const paint = () => sides.forEach((found) => found.paint());
  paint();
  return [
    el(
      "div",
      { class: "bar-of-controls" },
      methodSelect(methods, state.method, (name) => {
        state.method = name;
        paint();
      }),
      numbersBox(state.numbers, (on) => {
        state.numbers = on;
        paint();
      }),
    ),
    el("div", { class: "pair" }, ...sides.map((found) => found.node)),
    el("h3", {}, "What changed"),
    facts(view.facts),
    view.flows.length ? flowsTable(view.flows) : null,
  ];
}

byId("flip").addEventListener("change", filter);
start(filter);
