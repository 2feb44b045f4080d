// The knowledge browser: records by words, kind, domain and status, page by page.

import { call } from "./server.js";
import { button, byId, calmly, count, el, errorCard, icon } from "./dom.js";
import { measuresOf, openRecord } from "./sheet.js";

const PAGE = 20;
const KINDS = [["", "All"], ["rule", "Rules"], ["pattern", "Patterns"], ["thought", "Thoughts"]];
const wanted = { q: "", kind: "", domain: "", status: "active" };
let view = null, asked = 0;

/** Show the browser, and a record if the address names one. */
export function showKnowledge(id) {
  if (!view) { view = build(); look(); }
  if (id) openRecord(id);
}

function build() {
  const words = el("input", { id: "knowledge-query", type: "search", maxLength: 500, placeholder: "Search rules, patterns and thoughts", autocomplete: "off" });
  const kinds = el("div", { class: "segments", role: "group", "aria-label": "Kind" },
    KINDS.map(([kind, label]) => el("button", { type: "button", "aria-pressed": String(!kind), on: { click: (event) => choose(event.currentTarget, kind) } }, label)));
  const domain = el("select", { "aria-label": "Domain", on: { change: () => { wanted.domain = domain.value; look(); } } }, el("option", { value: "" }, "All domains"));
  const status = el("select", { "aria-label": "Status", on: { change: () => { wanted.status = status.value; look(); } } },
    ["active", "quarantined", "retired"].map((name) => el("option", { value: name }, name)));
  const soon = calmly(() => { wanted.q = words.value.trim(); look(); }, 250);
  words.addEventListener("input", soon);
  const tally = el("p", { class: "tally", role: "status" });
  const records = el("ul", { class: "records" });
  const more = button("Show more", () => look(records.children.length), { class: "secondary more", hidden: true });
  byId("knowledge").replaceChildren(
    el("header", { class: "page-head" }, el("h1", {}, "Knowledge"),
      el("p", {}, "A teacher distilled these records from annotated sessions. The student gets the records that fit a cart, and each bundle names the records behind it.")),
    el("form", { class: "filters", role: "search", on: { submit: (event) => event.preventDefault() } },
      el("div", { class: "field" }, icon("search"), el("label", { class: "sr-only", for: "knowledge-query" }, "Search the knowledge"), words), kinds, domain, status),
    tally, records, more);
  return { tally, records, more, domain, status };
}

function choose(pressed, kind) {
  for (const each of pressed.parentElement.children) each.setAttribute("aria-pressed", String(each === pressed));
  wanted.kind = kind;
  look();
}

async function look(offset = 0) {
  const number = (asked += 1);
  const query = new URLSearchParams({ offset: String(offset), limit: String(PAGE) });
  for (const [name, value] of Object.entries(wanted)) if (value) query.set(name, value);
  view.status.disabled = wanted.q !== "";
  view.status.title = wanted.q ? "The search covers active records only" : "";
  try {
    const shelf = await call(`knowledge?${query}`);
    if (number === asked) show(shelf, offset);
  } catch (error) {
    if (number !== asked) return;
    view.tally.textContent = "";
    view.more.hidden = true;
    view.records.replaceChildren(el("li", {}, errorCard(error, () => look(offset))));
  }
}

function show(shelf, offset) {
  const rows = shelf.records.map((record, place) => recordRow(record, shelf.scores[place]));
  if (offset) view.records.append(...rows);
  else view.records.replaceChildren(...rows);
  view.more.hidden = !shelf.more;
  if (offset) rows[0]?.querySelector("button").focus();
  showDomains(Object.keys(shelf.domains));
  const shown = view.records.children.length;
  if (shelf.total === null) view.tally.textContent = rows.length || offset ? `The ${count(shown)} records that fit best` : "No record fits these words.";
  else view.tally.textContent = shelf.total ? `${count(shown)} of ${count(shelf.total)} records` : "";
  if (shelf.total === 0) view.records.replaceChildren(el("li", { class: "hint-box" }, nothing()));
}

function nothing() {
  if (wanted.kind || wanted.domain || wanted.status !== "active") return "No record has this kind, domain and status.";
  return "This server has no knowledge base. Distil one, then start the server with bundlewise serve --kb FOLDER.";
}

/** Offer the domains of the knowledge base; a domain that was offered stays in the list. */
function showDomains(names) {
  const known = new Set([...view.domain.options].map((option) => option.value));
  for (const name of names.sort()) if (name && !known.has(name)) view.domain.append(el("option", { value: name }, name));
}

function recordRow(record, score) {
  const measures = measuresOf(record).map(([name, value]) => el("span", {}, `${name} `, el("b", { class: "num" }, value)));
  const made = el("button", { type: "button" }, el("span", { class: `kind ${record.kind}` }, record.kind), el("span", { class: "text" }, record.text),
    el("span", { class: "fit num" }, score === undefined ? record.domain : `fit ${score.toFixed(2)}`), measures.length ? el("span", { class: "measures" }, measures) : null);
  made.addEventListener("click", () => openRecord(record.id));
  return el("li", { class: "record" }, made);
}
