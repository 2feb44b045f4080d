// The sheet at the side: the reasons for a bundle, and a knowledge record with all its fields.

import { call } from "./server.js";
import { byId, el, errorCard, percent, plural } from "./dom.js";

const sheet = byId("sheet");
byId("sheet-close").addEventListener("click", () => sheet.close());
sheet.addEventListener("click", (event) => { if (event.target === sheet) sheet.close(); });

/** Close the sheet, for example when another page is opened. */
export const closeSheet = () => sheet.close();

/** Show content under a title. */
function openSheet(title, ...content) {
  byId("sheet-title").textContent = title;
  byId("sheet-body").replaceChildren(...content);
  if (!sheet.open) sheet.showModal();
  sheet.scrollTop = 0;
  byId("sheet-title").focus();
}

/** Show the reasons for a bundle: each record with its effect on the bundle. */
export function openReasons(event, offer) {
  const title = offer ? `Why “${offer.intent}”?` : `Why bundle ${event.bundle}?`;
  const lead = el("p", { class: "why-lead" }, event.reasons.length
    ? `The student gives this bundle’s pairs ${offer ? percent(offer.confidence) : "a probability"} on average. Each record below was taken away in turn and the cart judged again: that is its effect.`
    : "No knowledge record took part; the student judged only by what it has learnt.");
  const largest = Math.max(...event.reasons.map((reason) => Math.abs(reason.effect)), 0.001);
  openSheet(title, lead, el("div", {}, event.reasons.map((reason) => reasonOf(reason, largest))));
}

function reasonOf(reason, largest) {
  const points = 100 * Math.abs(reason.effect);
  const kind = points < 0.05 ? "none" : reason.effect > 0 ? "for" : "against";
  const told = { none: "no effect by itself", for: `carries ${points.toFixed(1)} points`, against: `speaks against it, ${points.toFixed(1)} points` }[kind];
  const meter = kind === "none" ? null : el("meter", { min: 0, max: largest, value: Math.abs(reason.effect), "aria-hidden": "true" });
  return el("article", { class: "reason" },
    el("div", { class: "reason-head" }, el("span", { class: `kind ${reason.kind}` }, reason.kind), el("span", { class: `effect num ${kind}` }, meter, told)),
    el("p", {}, reason.text),
    el("a", { class: "small", href: `#/knowledge/${encodeURIComponent(reason.id)}` }, "Open the record"));
}

const share = (value) => (value === null || value === undefined ? null : percent(value));
const signed = (value) => (value === null || value === undefined ? null : `${value >= 0 ? "+" : "−"}${Math.abs(value).toFixed(3)}`);

/** Return the measured values of a record by name, without missing ones. */
export function measuresOf(record) {
  return [
    ["support", record.support === null ? null : plural(record.support, "session")],
    ["confidence", share(record.confidence)],
    ["lift", record.lift === null ? null : record.lift.toFixed(2)],
    ["gain", signed(record.gain)],
    ["harm", signed(record.harm)],
  ].filter(([, value]) => value !== null);
}

/** Show a record with all its fields. */
export async function openRecord(id) {
  openSheet("Knowledge record", el("p", { class: "soft", role: "status" }, "Loading…"));
  try {
    showRecord(await call(`knowledge/${encodeURIComponent(id)}`));
  } catch (error) {
    byId("sheet-body").replaceChildren(errorCard(error, () => openRecord(id)));
  }
}

const HELP = { gain: "gain on held-out sessions", harm: "harm to sessions it makes worse", lift: "lift over chance" };

function showRecord(record) {
  const rows = [
    ["status", record.status + (record.reason ? `: ${record.reason}` : "")], ["domain", record.domain || "any"],
    ...measuresOf(record).map(([name, value]) => [HELP[name] ?? name, value]),
    ["teacher", record.provenance.teacher], ["prompt", el("code", {}, record.provenance.prompt)],
    ["run", el("code", {}, record.provenance.run)], ["id", el("code", {}, record.id)],
  ];
  const facts = el("dl", { class: "facts" }, rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  openSheet(`${record.kind[0].toUpperCase()}${record.kind.slice(1)}`, el("p", { class: "sheet-text" }, record.text), facts, evidence(record), sources(record));
}

/** Return the products of a thought's session, by bundles. */
function evidence(record) {
  if (!record.titles.length) return record.kinds.length ? el("p", { class: "small soft" }, `Kinds of products: ${record.kinds.join(", ")}`) : "";
  const used = new Set(record.groups.flat());
  const loose = record.titles.filter((_, place) => !used.has(place));
  const lists = record.groups.map((group) => el("ul", {}, group.map((place) => el("li", {}, record.titles[place]))));
  if (loose.length) lists.push(el("ul", { class: "loose", "aria-label": "In no bundle" }, loose.map((title) => el("li", {}, title))));
  return el("section", { class: "groups" }, el("h3", {}, "The session it comes from"), lists);
}

function sources(record) {
  const ids = record.source_session_ids;
  if (!ids.length) return "";
  return el("details", {}, el("summary", {}, `${plural(ids.length, "source session")}${record.supporters.length ? `, ${record.supporters.length} of them in support` : ""}`),
    el("p", { class: "ids" }, ids.map((id) => el("code", {}, id))));
}
