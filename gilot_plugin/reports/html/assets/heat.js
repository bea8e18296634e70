
// Tenths of the scale's end that a score reaches, at most 9, with the sign of the score.
function levels(scores, end) {
  const factor = end > 0 ? 10 / end : 0;
  return Array.from(scores, (score) => Math.max(-9, Math.min(9, Math.trunc(score * factor))));
}

function largestOf(scores) {
  return scores.reduce((most, score) => Math.max(most, Math.abs(score)), 0);
}

// Classes of the grounds: orange above 0, blue below, grey for what has no direction of its own.
function levelClass(level, grey) {
  if (!level) return "";
  return (grey ? "g" : level > 0 ? "p" : "n") + Math.abs(level);
}

let heatMaps = 0;

// A text of which some pieces are parts: units of a prompt, or positions of an answer. The ground of each part
// tells its score. One of them is current: the one that was chosen by a click or the arrow keys. `tell(part,
// chosen)` hears of what is pointed at, of null when nothing is any more, and of what is chosen.
class HeatMap {
  constructor(pieces, texts, label, tell) {
    this.texts = texts;
    this.tell = tell;
    this.id = "heat-" + heatMaps++;
    this.spans = new Array(texts.length).fill(null);
    this.drawn = [];
    this.scores = [];
    this.current = -1;
    this.pointed = -1;
    this.node = el("div", { class: "heat", role: "listbox", tabindex: "0", dir: "auto", "aria-label": label });
    const inside = document.createDocumentFragment();
    for (const [text, parts] of pieces) {
      if (!parts.length) {
        inside.append(text);
        continue;
      }
      const core = text.trim();
      const sign = core || text.replaceAll("\n", "\u21b5\n").replaceAll("\t", "\u21e5\t");
      const span = el("span", { role: "option", id: this.id + "-" + parts[0], "aria-selected": "false" });
      span.append(!core && sign === text ? "\u2423" + text.slice(1) : sign);
      span.index = parts[0];
      for (const part of parts) this.spans[part] = span;
      // White space around a word has no ground, so that the word stands out as it is read.
      const [before, after] = core ? text.split(core, 2) : ["", ""];
      inside.append(before, span, after);
    }
    this.node.append(inside);
    this.node.addEventListener("pointerover", (event) => this.point(event.target));
    this.node.addEventListener("pointerleave", () => this.leave());
    this.node.addEventListener("click", (event) => this.click(event.target));
    this.node.addEventListener("focus", () => this.focus());
    this.node.addEventListener("keydown", (event) => this.press(event));
  }

  // Marks the parts by scores: the strongest of those that share a piece. `end` is the score that the full
  // colour stands for, `signed` whether scores above 0 speak for something.
  paint(scores, { end = largestOf(scores), numbers = false, grey = false, signed = false } = {}) {
    this.scores = scores;
    this.node.classList.toggle("signed", signed);
    const found = levels(scores, end);
    const strongest = new Map();
    this.spans.forEach((span, part) => {
      if (!span) return;
      const before = strongest.get(span);
      if (before === undefined || Math.abs(scores[part]) > Math.abs(scores[before])) strongest.set(span, part);
    });
    for (const [span, part] of strongest) {
      span.index = part;
      // Most parts look as they did before, and what is not written costs nothing.
      const ground = levelClass(found[part] || 0, grey);
      if (this.drawn[part] !== ground) {
        if (this.drawn[part]) span.classList.remove(this.drawn[part]);
        if (ground) span.classList.add(ground);
        this.drawn[part] = ground;
      }
      if (span.lastChild.nodeName === "SUB") span.lastChild.remove();
      if (numbers && found[part]) span.append(el("sub", {}, number(scores[part])));
    }
    this.unnamed = true;
    if (this.node.matches(":focus")) this.name();
  }

  // What a screen reader says of each part; written when it may be read, because it takes long.
  name() {
    if (!this.unnamed) return;
    this.unnamed = false;
    this.spans.forEach((span, part) => {
      if (span?.index === part) span.setAttribute("aria-label", quoted(this.texts[part]) + " " + number(this.scores[part]));
    });
  }

  strongest() {
    let best = 0;
    this.scores.forEach((score, part) => {
      if (Math.abs(score) > Math.abs(this.scores[best])) best = part;
    });
    return best;
  }

  // Between two words, what was pointed at last stays, or all would flicker on the way.
  point(target) {
    const part = target.closest("[role=option]")?.index ?? this.pointed;
    if (part === this.pointed) return;
    this.pointed = part;
    this.tell(part, false);
  }

  leave() {
    this.pointed = -1;
    this.tell(null, false);
  }

  click(target) {
    const span = target.closest("[role=option]");
    if (span) this.choose(span.index);
  }

  // By the keyboard, or there would be something chosen before the click that was meant.
  focus() {
    this.name();
    if (this.current < 0 && this.node.matches(":focus-visible")) this.choose(this.strongest());
  }

  press(event) {
    const last = this.texts.length - 1;
    const at = Math.max(this.current, 0);
    const targets = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: last };
    if (!(event.key in targets)) return;
    event.preventDefault();
    this.choose(Math.max(0, Math.min(last, targets[event.key])));
    this.reveal(this.current);
  }

  choose(part) {
    this.mark(part);
    this.tell(part, true);
  }

  // Makes a part the current one; none of them for -1.
  mark(part) {
    const before = this.spans[this.current];
    if (before) {
      before.classList.remove("current");
      before.setAttribute("aria-selected", "false");
    }
    this.current = part;
    const span = this.spans[part];
    if (!span) {
      this.node.removeAttribute("aria-activedescendant");
      return;
    }
    span.classList.add("current");
    span.setAttribute("aria-selected", "true");
    this.node.setAttribute("aria-activedescendant", span.id);
  }

  // Scrolls the text, and nothing around it, until a part is seen.
  reveal(part) {
    const span = this.spans[part];
    if (!span) return;
    const [box, at] = [this.node.getBoundingClientRect(), span.getBoundingClientRect()];
    if (at.top < box.top || at.bottom > box.bottom) this.node.scrollTop += at.top - box.top - box.height / 3;
  }

  // Gives other parts a class of their own, which takes the place of the one given before.
  relate(classes) {
    for (const [span, name] of this.related || []) span.classList.remove(name);
    this.related = [...classes].filter(([part]) => this.spans[part]).map(([part, name]) => [this.spans[part], name]);
    for (const [span, name] of this.related) span.classList.add(name);
  }
}

function scale(from, to, grey) {
  const steps = [];
  for (let level = from; level <= to; level++) steps.push(el("i", { class: levelClass(level, grey) }));
  return el("span", { class: "scale", "aria-hidden": "true" }, ...steps);
}

// The colour scale in words and colours. `speaks` says what scores above 0 speak for, where they have a direction.
function legend(scores, method, speaks, end = largestOf(scores)) {
  if (!end) return el("p", { class: "faint legend" }, method + ": every score is 0");
  const most = number(end);
  if (speaks)
    return el("p", { class: "faint legend" }, el("span", { class: "against" }, "speaks against"), " \u2212" + most + " ", scale(-9, 9),
      " +" + most + " ", el("span", { class: "for" }, "speaks for"), " " + speaks);
  const negative = scores.some((score) => score < 0);
  return el("p", { class: "faint legend" }, negative ? "\u2212" + most + " " : "matters least 0 ", scale(negative ? -9 : 0, 9),
    " " + most + " matters most; grey text: not a unit");
}
