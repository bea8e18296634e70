
// Scores of every unit at every position of the answer, see pack_matrix.
class Matrix {
  constructor(values, columns, largest) {
    this.values = values;
    this.columns = columns;
    this.largest = largest;
    this.totals = new Float64Array(columns);
    values.forEach((score, at) => (this.totals[at % columns] += Math.abs(score)));
  }

  static async unpack(matrices, measure) {
    const packed = matrices[measure];
    if (!packed) return null;
    if (packed.without_sign_of) {
      const twin = await Matrix.unpack(matrices, packed.without_sign_of);
      return new Matrix(twin.values.map(Math.abs), twin.columns, twin.largest);
    }
    const { largest, steps, range } = packed;
    const size = (code) => (code ? largest * range ** ((code - steps) / (steps - 1)) : 0);
    const codes = await inflate(packed.codes).arrayBuffer();
    const values = Float64Array.from(steps > 127 ? new Uint16Array(codes) : new Uint8Array(codes), (code) =>
      code > steps ? -size(code - steps - 1) : size(code));
    return new Matrix(values, packed.columns, largest);
  }

  // Of a unit, for every position.
  row(unit) {
    return this.values.subarray(unit * this.columns, (unit + 1) * this.columns);
  }

  // Of a position, for every unit.
  column(position) {
    return Float64Array.from({ length: this.values.length / this.columns }, (_, unit) => this.values[unit * this.columns + position]);
  }

  // What the full colour stands for: the largest that is shown. Little is magnified, but not without end.
  end(scores) {
    return Math.max(largestOf(scores), this.largest / 5);
  }
}

const TOP = 6;

// Indices of the largest scores; by default, what is hardly anything beside the largest is not among them.
function strongest(scores, count, least = largestOf(scores) / 50) {
  const order = Array.from(scores, (_, index) => index).filter((index) => scores[index] && Math.abs(scores[index]) >= least);
  return order.sort((a, b) => Math.abs(scores[b]) - Math.abs(scores[a])).slice(0, count);
}

// Prompt and answer, each telling what it has to do with what is pointed at in the other. What was chosen stays
// until something else is; with nothing chosen or pointed at, both tell the mean over the explained tokens.
class Why {
  constructor(view) {
    this.view = view;
    this.chosen = null;
    this.pointed = null;
    this.matrix = null;
    this.painted = {};
    const units = view.units.map(([text]) => text);
    const label = "Prompt, with the score of each unit";
    this.prompt = new HeatMap(view.pieces, units, label, (part, chosen) => this.tell("prompt", part, chosen));
    this.answer = Object.keys(view.steps).length
      ? new HeatMap(view.answer, view.tokens, "Answer, token by token", (part, chosen) => this.tell("answer", part, chosen))
      : null;
    const own = this.prompt.spans.find((span, unit) => span && view.units[unit][1] === "reasoning");
    if (own) own.before(el("i", { class: "divider" }, "what the model said first:"));
    this.panel = el("div", { class: "panel", "aria-live": "polite" });
    this.colours = el("div", {});
  }

  hint() {
    if (!this.answer) return POINT;
    return "Point at a word of the prompt to see which tokens of the answer hang on it, or at a marked token of the answer to see what is behind it. A click keeps it, Escape lets go; arrow keys work, too.";
  }

  async use(method) {
    const matrix = await Matrix.unpack(this.view.steps, method);
    this.method = method;
    this.matrix = matrix;
    this.signed = method in this.view.signed;
    this.scores = this.view.scores[method] || [];
    this.painted = {};
    this.draw();
  }

  number(on) {
    this.numbers = on;
    this.painted = {};
    this.draw();
  }

  tell(box, part, chosen) {
    const at = part === null ? null : { box, part };
    if (chosen) {
      const again = this.chosen?.box === box && this.chosen.part === part;
      this.chosen = again ? null : at;
      for (const [name, heat] of [["prompt", this.prompt], ["answer", this.answer]])
        if (heat && (again || name !== box)) heat.mark(-1);
    }
    this.pointed = chosen ? null : at;
    this.draw();
    if (chosen && this.chosen) this.other(box)?.reveal(this.other(box).strongest());
  }

  other(box) {
    return box === "prompt" ? this.answer : this.prompt;
  }

  // Back to the mean; whether there was anything to leave.
  leave() {
    if (!this.chosen) return false;
    this.tell(this.chosen.box, this.chosen.part, true);
    return true;
  }

  // Where the first thing to see lies further down in a long text.
  reveal() {
    this.prompt.reveal(this.prompt.strongest());
    this.answer?.reveal(0);
  }

  draw() {
    const at = this.pointed || this.chosen;
    const unit = at?.box === "prompt" ? at.part : null;
    const position = at?.box === "answer" && this.matrix ? at.part : null;
    this.drawPrompt(position);
    if (this.answer) this.drawAnswer(unit);
    this.prompt.relate(unit === null ? [] : this.partners(unit).map(({ other, value }) => [other, value < 0 ? "instead" : "together"]));
    const told = unit !== null ? this.ofUnit(unit) : at ? this.ofPosition(at.part) : this.ofAll();
    this.panel.replaceChildren(...told.filter(Boolean));
  }

  drawPrompt(position) {
    if (this.painted.prompt === position) return;
    this.painted.prompt = position;
    const scores = position === null ? this.scores : this.matrix.column(position);
    const end = position === null ? largestOf(scores) : this.matrix.end(scores);
    this.prompt.paint(scores, { end, numbers: this.numbers, signed: this.signed });
    this.colours.replaceChildren(legend(scores, this.method, this.view.signed[this.method], end));
  }

  drawAnswer(unit) {
    if (this.painted.answer === unit) return;
    this.painted.answer = unit;
    if (!this.matrix) this.answer.paint(this.view.tokens.map(() => 0));
    else if (unit === null) this.answer.paint(this.matrix.totals, { grey: true });
    else this.answer.paint(this.matrix.row(unit), { end: this.matrix.end(this.matrix.row(unit)), numbers: this.numbers, signed: this.signed });
  }

  partners(unit) {
    return this.view.pairs[this.method]
      .filter(([first, second]) => first === unit || second === unit)
      .map(([first, second, value, words, numbers]) => ({ other: first === unit ? second : first, value, words, numbers }));
  }

  ranking(scores, ranks) {
    const most = largestOf(scores);
    const parts = new Set(this.view.units.map(([, segment]) => segment)).size > 1;
    const rows = strongest(scores, TOP).map((unit, place) =>
      el("tr", {}, el("td", { class: "number faint" }, ranks ? ranks[unit] : String(place + 1)),
        el("td", { class: "word" }, unitName(this.view.units[unit][0])),
        el("td", {}, bar(Math.abs(scores[unit]) / most, scores[unit] < 0)), el("td", { class: "number" }, number(scores[unit])),
        parts ? el("td", { class: "faint part" }, this.view.units[unit][1]) : null));
    return el("table", { class: "ranking" }, el("tbody", {}, ...rows));
  }

  ofAll() {
    const { view, method } = this;
    const [first] = strongest(this.scores, 1);
    if (first === undefined) return [el("p", {}, "By " + method + ", the answer hangs on no unit of the prompt.")];
    return [
      el("h4", {}, view.kind === "choices" ? "The choice hangs most on" : "The answer hangs most on"),
      this.ranking(this.scores, view.ranks[method]),
      view.ranks[method]?.some((words) => words.includes("-")) ? el("p", { class: "faint" }, "Units that share places, such as 2-3, are tied: their order is not settled.") : null,
      movedSentence(view, first, view.units[first][0]),
      flipped(view),
    ];
  }

  ofPosition(position) {
    const name = unitName(this.view.tokens[position]);
    const place = "token " + (position + 1) + " of the " + this.view.tokens.length + " marked";
    if (!this.matrix)
      return [el("p", {}, "By " + this.method + ", there are no scores of single tokens; there are by " + Object.keys(this.view.steps).join(", ") + ".")];
    const scores = this.matrix.column(position);
    const little = largestOf(scores) < this.matrix.largest / 50;
    return [
      el("h4", {}, "Behind ", name, el("span", { class: "faint" }, " " + place)),
      little ? el("p", {}, "Hardly anything of the prompt: the model would say this token after nearly any prompt.") : null,
      this.ranking(scores),
    ];
  }

  ofUnit(unit) {
    const { view, matrix } = this;
    const [text, segment, level] = view.units[unit];
    const places = view.ranks[this.method]?.[unit];
    const tied = places?.includes("-");
    const hanging = matrix ? strongest(matrix.row(unit), 3, matrix.end(matrix.row(unit)) / 10) : [];
    const choice = view.without[unit];
    return [
      el("h4", {}, unitName(text), el("span", { class: "faint" }, (segment === "content" ? "" : " in " + segment) + (level ? ", as " + level : ""))),
      movedSentence(view, unit),
      typeof choice === "number" ? el("p", {}, "The model would then choose ", unitName(view.outcomes[choice].text), ".") : null,
      ...this.partners(unit).map(({ other, value, words, numbers }) =>
        el("p", { class: value < 0 ? "partner instead" : "partner together" }, "It and ", unitName(view.units[other][0]), " " + words,
          el("span", { class: "faint" }, " (" + numbers + ")"), ".")),
      hanging.length ? el("p", {}, "Most hangs on it at ", ...hanging.flatMap((position, index) => [index ? ", " : null, unitName(view.tokens[position])]), ".") : null,
      tied ? el("p", { class: "faint" }, "Tied: places " + places + " of " + view.units.length + "; their order is not settled.") : null,
      scoresTable(view, unit),
      movedTable(view.flows[unit] || []),
    ];
  }
}

// Which units the model's choice hangs on, each by itself.
function flipped(view) {
  if (view.kind !== "choices" || !view.without.length) return null;
  const found = view.without.map((choice, unit) => [choice, unit]).filter(([choice]) => choice !== null);
  if (!found.length) return el("p", {}, "Without any single one of the units, the model would choose the same.");
  const told = found.slice(0, 5).flatMap(([choice, unit], index) =>
    [index ? "; without " : "Without ", unitName(view.units[unit][0]), " it would choose ", unitName(view.outcomes[choice].text)]);
  return el("p", {}, ...told, found.length > 5 ? "; and " + (found.length - 5) + " more units like these." : ".");
}

// The task's choices, side by side.
function choiceCards(view) {
  const most = Math.max(...view.outcomes.map((outcome) => outcome.probability));
  return el("ol", { class: "choices" }, ...view.outcomes.map((outcome) => {
    const marks = [outcome.probability === most && "chosen", outcome.gold && "right"].filter(Boolean);
    return el("li", { class: outcome.probability === most ? "chosen" : null },
      el("span", { class: "text", dir: "auto" }, outcome.text.trim() || quoted(outcome.text)),
      el("span", { class: "share" }, bar(outcome.probability), " " + percent(outcome.probability)),
      el("span", { class: "marks" }, ...marks.map((mark) => el("span", { class: "mark is-" + mark }, mark))));
  }));
}

// The answer where nothing is known of its single tokens: the explained part is marked.
function plainAnswer(view) {
  return el("div", { class: "heat plain", dir: "auto", tabindex: "0", role: "group", "aria-label": "Answer" },
    ...view.answer.map(([text, positions]) => (positions.length ? el("span", {}, text) : text)));
}
