
// The page of a run that is being explained: its server is asked for what the page of a report holds, and again
// when there is more.
source = async (id) => {
  const response = await fetch("data/" + id, { cache: "no-store" });
  if (!response.ok) throw new Error(await response.text());
  return response.json();
};

// Under its address, for its place in the list may be another by the time that the server answers.
sample = async (link) => {
  try {
    return await unpack("sample/" + encodeURIComponent(link));
  } catch (error) {
    unpacked.delete("sample/" + encodeURIComponent(link));
    const { task, doc } = state.rows[state.index.get(link)];
    return { title: [task, doc], status: "broken", reason: error.message, metrics: [], model: "", facts: [], document: null, target_text: null, answers: null };
  }
};

const PAUSE = 1500;
let version = null;

async function follow() {
  try {
    const now = await (await fetch("state", { cache: "no-store" })).json();
    if (version !== now.version) {
      await renew();
      version = now.version;
    }
    byId("live").textContent = now.words;
  } catch {
    byId("live").textContent = "gilot view has ended; this is what it knew.";
  }
  setTimeout(follow, PAUSE);
}

// What is chosen and how far one has scrolled stays.
async function renew() {
  const text = await (await fetch("", { cache: "no-store" })).text();
  const fresh = new DOMParser().parseFromString(text, "text/html");
  byId("about").replaceWith(document.importNode(fresh.getElementById("about"), true));
  for (const id of ["task", "segment"]) {
    const chosen = byId(id).value;
    byId(id).replaceChildren(...document.importNode(fresh.getElementById(id), true).children);
    byId(id).value = chosen;
  }
  unpacked.delete("list");
  unpacked.delete("texts");
  state.texts = null;
  await take();
  const count = byId("rows").childElementCount;
  await filter();
  while (byId("rows").childElementCount < Math.min(count, state.shown.length)) more();
}

setTimeout(follow, PAUSE);
