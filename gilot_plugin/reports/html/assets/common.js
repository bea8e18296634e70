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

function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
}

async function decompress(text) {
  return JSON.parse(await inflate(text).text());
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

// One number a row, drawn as a bar.
function bar(share, against = false) {
  const fill = el("span", { class: against ? "bar against" : "bar" });
  fill.style.width = Math.max(0, Math.min(1, share)) * 100 + "%";
  return el("span", { class: "track", "aria-hidden": "true" }, fill);
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
