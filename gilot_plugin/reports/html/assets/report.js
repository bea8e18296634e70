
// The report of a run.
function verdict(correct) {
  if (correct === null) return "";
  return el("span", { class: correct ? "right" : "wrong" }, correct ? "right" : "wrong");
}

function row(item) {
  const told = item.status === "ok" ? item.top.map(quoted).join(" ") : item.status;
  return el(
    "tr",
    {},
    el("td", {}, sampleLink(item)),
    el("td", {}, verdict(item.correct)),
    el("td", { class: "number" }, number(item.margin)),
    el("td", {}, item.segment || ""),
    el("td", { class: "number" }, item.status === "ok" ? number(item.largest) : ""),
    el("td", { class: "words", dir: "auto" }, told),
    el("td", { class: "words", dir: "auto" }, item.excerpt),
  );
}

const orders = {
  doc: () => 0,
  margin: (a, b) => (a.margin === null ? Infinity : Math.abs(a.margin)) - (b.margin === null ? Infinity : Math.abs(b.margin)) || 0,
  largest: (a, b) => b.largest - a.largest,
};

async function filter() {
  const wanted = Object.fromEntries(["task", "verdict", "segment", "search", "sort"].map((id) => [id, byId(id).value]));
  const most = byId("margin").value === "" ? null : Number(byId("margin").value);
  const text = wanted.search.toLowerCase();
  if (text && !state.texts) state.texts = await unpack("texts");
  // Another letter was typed while the texts were unpacked.
  if (byId("search").value.toLowerCase() !== text) return;
  const found = state.rows.filter(
    (item, index) =>
      (!wanted.task || item.task === wanted.task) &&
      (!wanted.verdict || { right: item.correct === true, wrong: item.correct === false, not: item.status !== "ok" }[wanted.verdict]) &&
      (!wanted.segment || item.segment === wanted.segment) &&
      (most === null || (item.margin !== null && Math.abs(item.margin) <= most)) &&
      (!text || state.texts[index].includes(text)),
  );
  list(found.sort(orders[wanted.sort]));
}

function folded(title, text) {
  if (text === null || text === undefined) return null;
  return el("details", {}, el("summary", {}, title), el("p", { class: "text", dir: "auto" }, text));
}

function explained(view) {
  const methods = Object.keys(view.scores);
  if (!methods.includes(state.method)) state.method = view.method;
  const panel = el("div", { class: "panel", "aria-live": "polite" }, el("p", { class: "faint" }, POINT));
  const heat = new HeatMap(view, "Prompt, with the score of each unit", (unit) =>
    panel.replaceChildren(...describeUnit(view, unit).filter(Boolean)));
  const scale = el("div", {});
  const shares = el("div", {});
  const paint = () => {
    heat.paint(state.method, state.numbers);
    scale.replaceChildren(legend(heat.scores, state.method));
    const found = Object.entries(view.shares[state.method] || {}).sort((a, b) => b[1] - a[1]);
    shares.replaceChildren(el("table", {}, el("caption", {}, "Share of " + state.method + " by part of the prompt"),
      el("tbody", {}, ...found.map(([segment, share]) => el("tr", {}, el("th", { scope: "row" }, segment),
        el("td", { class: "number" }, (share * 100).toFixed(0) + " %"), el("td", {}, bar(share)))))));
  };
  paint();
  const moved = (view.total_flows || []).filter((flow) => flow[3] > 1);
  return [
    el("div", { class: "bar-of-controls" },
      methodSelect(methods, state.method, (name) => { state.method = name; paint(); }),
      numbersBox(state.numbers, (on) => { state.numbers = on; paint(); })),
    scale,
    el("div", { class: "columns" }, heat.node, panel),
    el("h3", {}, view.kind === "choices" ? "The choices" : "What the model would say"),
    el("div", { class: "scroll" }, outcomes(view, view.kind === "choices" ? "Probability over the task's choices" :
      "Continuations of the full prompt; probabilities add up to 1 over those shown")),
    view.margin === null ? null : el("p", {}, "The right choice leads by " + number(view.margin) + " nats."),
    view.response === null ? null : el("h3", {}, "The model's answer"),
    view.response === null ? null : el("p", { class: "text", dir: "auto" }, view.response),
    el("h3", {}, "Parts of the prompt"),
    shares,
    moved.length ? el("h3", {}, "Where the probability went, over all words") : null,
    moved.length ? el("ul", {}, ...moved.map(([from, to, mass, units]) => el("li", {},
      el("bdi", { class: "unit" }, quoted(from)), " \u2192 ", el("bdi", { class: "unit" }, quoted(to)),
      " " + number(mass) + ", by " + units + " units"))) : null,
  ];
}

function show(view) {
  return [
    el("p", { class: "faint" }, view.metrics.join(" \u00b7 ")),
    ...(view.status === "ok" ? explained(view) : [el("p", { class: "note" }, view.status + ": " + view.reason)]),
    folded("The document", view.document),
    folded("The right answer, as the task gives it", view.target_text),
    folded("The answer, as lm-eval filtered it", view.answers),
    el("details", {}, el("summary", {}, "How it was computed"), facts([["model", view.model], ...view.facts])),
  ];
}

for (const id of ["task", "verdict", "segment", "sort", "margin"]) byId(id).addEventListener("change", filter);
byId("search").addEventListener("input", filter);
start(filter);
