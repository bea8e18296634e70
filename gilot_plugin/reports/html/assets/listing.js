
// A list that grows as one scrolls, and a view of each of its items under an address of its own. A page gives
// `row(item)`, which makes a row, and `show(view, link)`, which makes the children of a view.
const state = { rows: [], oneTask: false, shown: [], texts: null, method: null, numbers: false, index: new Map(), opened: null, leave: null };
const STEP = 200;
const CHUNK = Number(byId("run").dataset.chunk);

function list(items) {
  state.shown = items;
  byId("rows").replaceChildren();
  byId("count").textContent = items.length + " of " + state.rows.length + " samples";
  more();
}

const nearEnd = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && more(), {
  rootMargin: "800px",
});

// Rows are made as one comes near the end of the list.
function more() {
  const at = byId("rows").childElementCount;
  byId("rows").append(...state.shown.slice(at, at + STEP).map(row));
  byId("more").hidden = byId("rows").childElementCount >= state.shown.length;
  // Looked at anew: an observer says nothing where the end is as near as before.
  nearEnd.unobserve(byId("more"));
  nearEnd.observe(byId("more"));
}

// The name of the task is left out where all samples are of one.
function sampleLink(item) {
  const words = state.oneTask ? "document\u00a0" + item.doc : item.task + " \u00b7\u00a0" + item.doc;
  return el("a", { href: "#" + encodeURI(item.link) }, words);
}

function neighbours(link) {
  const items = state.shown.some((item) => item.link === link) ? state.shown : state.rows;
  const at = items.findIndex((item) => item.link === link);
  const to = (item, words) =>
    item ? el("a", { href: "#" + encodeURI(item.link) }, words) : el("span", { class: "faint" }, words);
  return el(
    "nav",
    { class: "bar-of-controls", "aria-label": "Samples" },
    el("a", { href: "#" }, "All samples"),
    to(items[at - 1], "Previous"),
    to(items[at + 1], "Next"),
    el("span", { class: "faint" }, at + 1 + " of " + items.length),
  );
}

function facts(pairs) {
  return el("dl", {}, ...pairs.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

let sample = async (link) => {
  const index = state.index.get(link);
  return (await unpack("chunk-" + Math.floor(index / CHUNK)))[index % CHUNK];
};

async function open(link) {
  const view = await sample(link);
  const children = await show(view);
  // Somebody went on while it was unpacked.
  if (address() !== link) return;
  const title = el("h2", { tabindex: "-1" }, view.title[0] + " \u00b7 document " + view.title[1]);
  const head = el("div", { class: "sample-head" }, title, neighbours(link));
  byId("sample").replaceChildren(head, ...children.filter((child) => child !== null));
  byId("sample").hidden = false;
  byId("run").hidden = true;
  document.title = title.textContent;
  title.focus({ preventScroll: true });
  scrollTo(0, 0);
  state.opened?.();
}

function address() {
  return decodeURI(location.hash.slice(1));
}

let before = 0;
async function route() {
  const link = address();
  if (state.index.has(link)) {
    if (byId("sample").hidden) before = scrollY;
    await open(link);
    return;
  }
  byId("sample").hidden = true;
  byId("run").hidden = false;
  document.title = byId("run").dataset.title;
  scrollTo(0, before);
}

// What is known of all samples.
async function take() {
  state.rows = await unpack("list");
  state.oneTask = new Set(state.rows.map((item) => item.task)).size === 1;
  state.index = new Map(state.rows.map((item, index) => [item.link, index]));
}

// `filter` fills the list for the first time.
async function start(filter) {
  await take();
  state.shown = state.rows;
  byId("more").addEventListener("click", more);
  addEventListener("hashchange", route);
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || byId("sample").hidden) return;
    // First what was chosen in the sample is let go.
    if (!state.leave?.()) location.hash = "";
  });
  await filter();
  await route();
  document.documentElement.dataset.ready = "yes";
}
