// Cards in a conversation: products with buttons to add them, bundles with price and confidence, reasons for a bundle.

import { call } from "./server.js";
import { button, el, errorCard, icon, iconButton, money, percent, plural, setIcon, toast } from "./dom.js";
import { openReasons } from "./sheet.js";
import { on, state, tell } from "./state.js";

/** Return a price with its currency, or "no price" for an unknown one. */
export function price(amount, currency) {
  return amount === null || amount === undefined
    ? el("span", { class: "price unknown" }, "no price")
    : el("span", { class: "price" }, money(amount, currency));
}

const inCart = (id) => state.cart.items.some((item) => item.id === id);

/** Return a button that puts a product into the cart; it shows when the product is in the cart already. */
export function addButton(item) {
  const made = iconButton("plus", `Add ${item.title}`, () => {
    if (!inCart(item.id)) tell("act", { name: "add", ids: [item.id] });
  }, { class: "icon-button add" });
  made.dataset.product = item.id;
  markAdded(made);
  return made;
}

function markAdded(made) {
  const there = inCart(made.dataset.product);
  made.setAttribute("aria-disabled", String(there));
  setIcon(made, there ? "check" : "plus");
  made.title = there ? "In the cart" : made.getAttribute("aria-label");
}

on("cart", () => document.querySelectorAll("[data-product]").forEach(markAdded));

/** Return a list of products of the catalogue, with the numbers by which a message can name them. */
export function productsCard(event) {
  const why = new Map(event.companions.map((companion) => [companion.item.id, companion]));
  const rows = event.products.map((item, place) => {
    const companion = why.get(item.id);
    const beside = companion && state.cart.items.find((held) => held.id === companion.goes_with);
    const note = companion && `${percent(companion.score)} likely${beside ? ` beside ${beside.title}` : ""}`;
    const detail = note ?? item.category.at(-1);
    return el("li", { class: "product" }, el("span", { class: "place num" }, `${place + 1}`),
      el("span", { class: "title" }, item.title, detail ? el("small", {}, detail) : null), price(item.price, event.currency), addButton(item));
  });
  return el("ol", { class: "card products" }, rows);
}

const WORDS = [[0.85, "very likely"], [0.65, "likely"], [0.5, "possible"], [0, "unsure"]];

/** Return a confidence as a word, a number and a bar. */
export function sureness(confidence) {
  const word = WORDS.find(([least]) => confidence >= least)[1];
  const meter = el("meter", { min: 0, max: 1, low: 0.5, high: 0.65, optimum: 1, value: confidence, "aria-hidden": "true" });
  return el("span", { class: "sure num", title: "Mean probability that two of its products go together" }, meter, `${word} · ${percent(confidence)}`);
}

/** Return the cards of the bundles found. */
export function bundlesCard(event) {
  if (!event.bundles.length) return null;
  const cards = event.bundles.map((offer, place) => bundleCard(offer, place + 1, event.currency));
  return el("div", { class: "bundles" }, cards);
}

function bundleCard(offer, number, currency) {
  const items = offer.items.map((item) => el("li", {}, el("span", {}, item.title), price(item.price, currency)));
  const card = el("article", { class: "card bundle", "aria-label": `Bundle ${number}: ${offer.intent}`, data: { bundle: number } },
    el("div", { class: "bundle-head" },
      el("h3", {}, el("small", {}, `Bundle ${number}`), offer.intent || "no intent named"), sureness(offer.confidence)),
    el("ul", { class: "bundle-items" }, items), total(offer, currency));
  card.append(footOf(card, offer, number));
  return card;
}

function total(offer, currency) {
  const known = offer.items.filter((item) => item.price !== null);
  if (offer.total !== null) {
    return el("p", { class: "bundle-total" }, el("span", {}, "Together"), el("span", { class: "num" }, money(offer.total, currency)));
  }
  const missing = offer.items.length - known.length;
  const sum = known.reduce((so, item) => so + item.price, 0);
  const rest = known.length ? ` The ${known.length === 1 ? "other one costs" : `other ${known.length} come to`} ${money(sum, currency)}.` : "";
  return el("p", { class: "bundle-total" }, el("span", { class: "soft" }, `Total not known: ${plural(missing, "price")} missing.${rest}`));
}

function footOf(card, offer, number) {
  const foot = el("div", { class: "bundle-foot" },
    button("Why?", () => tell("act", { name: "explain", numbers: [number] }), { class: "quiet" }),
    el("span", { class: "spacer" }));
  for (const [name, label, up] of [["up", "Good bundle", true], ["down", "Bad bundle", false]]) {
    foot.append(iconButton(name, label, () => askNote(card, offer, number, up), { class: "icon-button rate", "aria-pressed": "false" }));
  }
  const kept = ratings()[ratingKey(offer)];
  if (kept !== undefined) settle(foot, kept);
  return foot;
}

const ratingKey = (offer) => `${state.thread}/${offer.items.map((item) => item.id).sort().join(" ")}`;

function ratings() {
  try { return JSON.parse(sessionStorage.getItem("bundlewise-ratings") ?? "{}"); } catch { return {}; }
}

function settle(foot, up) {
  const [yes, no] = foot.querySelectorAll(".rate");
  for (const [node, is] of [[yes, up], [no, !up]]) {
    node.disabled = true;
    node.setAttribute("aria-pressed", String(is));
  }
}

function askNote(card, offer, number, up) {
  card.querySelector(".note-form")?.remove();
  const [yes, no] = card.querySelectorAll(".rate");
  const close = () => { form.remove(); yes.setAttribute("aria-pressed", "false"); no.setAttribute("aria-pressed", "false"); };
  yes.setAttribute("aria-pressed", String(up));
  no.setAttribute("aria-pressed", String(!up));
  const note = el("textarea", { id: `note-${number}`, maxLength: 2000, rows: 2, placeholder: up ? "What makes it good? (optional)" : "What is wrong with it? (optional)" });
  const form = el("form", { class: "note-form" }, el("label", { for: `note-${number}` }, up ? "Good bundle: a note for the teacher" : "Bad bundle: a note for the teacher"), note,
    el("div", {}, button("Cancel", () => { close(); (up ? yes : no).focus(); }, { class: "quiet" }), el("button", { type: "submit", class: "primary" }, "Send")));
  form.addEventListener("submit", (event) => { event.preventDefault(); send(); });
  async function send() {
    form.querySelector(".error-card")?.remove();
    try {
      await call(`threads/${state.thread}/ratings`, { method: "POST", body: { what: number, up, note: note.value.trim() } });
    } catch (error) {
      form.append(errorCard(error, send));
      return;
    }
    try { sessionStorage.setItem("bundlewise-ratings", JSON.stringify({ ...ratings(), [ratingKey(offer)]: up })); } catch { /* the server has the rating */ }
    form.remove();
    settle(card.querySelector(".bundle-foot"), up);
    card.querySelector(".bundle-foot .quiet")?.focus();
    toast("Thank you. The rating is kept.");
  }
  card.append(form);
  form.scrollIntoView({ block: "nearest" });
  note.focus({ preventScroll: true });
}

/** Return a button that opens the reasons for a bundle. */
export function whyLine(event, offers) {
  const offer = offers[event.bundle - 1];
  const label = event.reasons.length ? `${plural(event.reasons.length, "knowledge record")} behind bundle ${event.bundle}` : `Only the student’s judgement behind bundle ${event.bundle}`;
  const made = el("button", { type: "button", class: "secondary why-line" }, icon("book"), label);
  made.addEventListener("click", () => openReasons(event, offer));
  return made;
}

/** Mark bundles of an earlier cart, since questions about them are no longer possible. */
export function markPast(root) {
  root.querySelectorAll(".bundle:not(.is-past)").forEach((card) => {
    card.classList.add("is-past");
    card.querySelector(".note-form")?.remove();
    card.querySelector(".bundle-foot").replaceChildren(el("span", { class: "small soft" }, "replaced by later bundles or another cart"));
  });
}
