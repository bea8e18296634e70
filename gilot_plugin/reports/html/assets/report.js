
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

// What became of the answer: verdict, what would have been right, what the metric saw, metrics.
function judged(view) {
  const told = (words, texts) =>
    el("span", {}, el("span", { class: "faint" }, words + " "), ...texts.flatMap((text, index) => [index ? " or " : null, unitName(text)]));
  return el("p", { class: "judged" },
    verdict(view.correct),
    view.scored === null || view.scored === undefined ? null : told("the metric saw", [view.scored]),
    view.right?.length ? told(view.correct === false ? "right would have been" : "the right answer:", view.right) : null,
    ...view.metrics.map((words) => el("span", { class: "faint" }, words)));
}

function answered(view, why) {
  if (view.kind === "choices")
    return [
      el("h4", {}, "The choices"),
      choiceCards(view),
      view.margin === null ? null : el("p", { class: "faint" }, "The right choice " + (view.margin < 0 ? "is behind" : "leads") + " by " + number(Math.abs(view.margin)) + " nats."),
    ];
  if (!view.answer.length) return [];
  const some = view.answer.some(([, positions]) => positions.length);
  const all = view.answer.every(([, positions]) => positions.length);
  const marked = all ? "; all of it is " + view.marked : some ? "; marked: the " + view.marked + " part" : "";
  return [
    el("h4", {}, "The model\u2019s answer", el("span", { class: "faint" }, marked)),
    why.answer ? why.answer.node : plainAnswer(view),
    view.not_found ? el("p", { class: "note" }, "What was to be explained was not found, so the start is: " + view.not_found + ".") : null,
  ];
}

function pairsOf(view, method) {
  const pairs = view.pairs[method];
  if (!pairs.length) return [];
  const name = (unit) => unitName(view.units[unit][0]);
  return [el("h3", {}, "Units that belong together"),
    ...(view.redundancy[method] ? [el("p", {}, view.redundancy[method])] : []),
    el("ul", {}, ...pairs.slice(0, 8).map(([first, second, , words, numbers]) =>
      el("li", {}, name(first), " and ", name(second), " " + words, el("span", { class: "faint" }, " (" + numbers + ")"))))];
}

async function explained(view) {
  const methods = Object.keys(view.scores);
  if (!methods.includes(state.method)) state.method = view.method;
  const why = new Why(view);
  state.leave = () => why.leave();
  state.opened = () => why.reveal();
  const shares = el("div", {});
  const quality = el("p", { class: "quality" });
  const pairs = el("div", {});
  const use = async (method) => {
    await why.use(method);
    quality.textContent = view.quality[method] || "";
    pairs.replaceChildren(...pairsOf(view, method));
    const found = Object.entries(view.shares[method] || {}).sort((a, b) => b[1] - a[1]);
    shares.replaceChildren(el("table", {}, el("caption", {}, "Share of " + method + " by part of the prompt"),
      el("tbody", {}, ...found.map(([segment, share]) => el("tr", {}, el("th", { scope: "row" }, segment),
        el("td", { class: "number" }, (share * 100).toFixed(0) + " %"), el("td", {}, bar(share)))))));
  };
  why.numbers = state.numbers;
  await use(state.method);
  const others = view.kind === "choices" || view.followed ? [] : [
    el("h3", {}, "What the model would say"),
    el("div", { class: "scroll" }, outcomes(view, "Continuations of the full prompt; probabilities add up to 1 over those shown")),
  ];
  return [
    el("div", { class: "bar-of-controls" },
      el("h3", {}, "Why this answer?"),
      methodSelect(methods, state.method, (name) => { state.method = name; use(name); }),
      numbersBox(state.numbers, (on) => { state.numbers = on; why.number(on); })),
    el("div", { class: "why" },
      el("div", { class: "asked" }, why.colours, why.prompt.node),
      el("div", { class: "answered" }, ...answered(view, why), why.panel),
      el("div", { class: "more" }, quality, el("p", { class: "faint hint" }, why.hint()), pairs, ...others,
        el("h3", {}, "Parts of the prompt"), shares)),
  ];
}

async function show(view) {
  state.leave = state.opened = null;
  return [
    judged(view),
    ...(view.status === "ok" ? await explained(view) : [el("p", { class: "note" }, view.status + ": " + view.reason)]),
    folded("The document", view.document),
    folded("The right answer, as the task gives it", view.target_text),
    folded("The answer, as lm-eval filtered it", view.answers),
    el("details", {}, el("summary", {}, "How it was computed"), facts([["model", view.model], ...view.facts])),
  ];
}

for (const id of ["task", "verdict", "segment", "sort", "margin"]) byId(id).addEventListener("change", filter);
byId("search").addEventListener("input", filter);
start(filter);
