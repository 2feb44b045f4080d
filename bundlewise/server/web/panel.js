// The panel beside the conversation: the catalogue's search and the cart. In small windows it is a drawer.

import { call } from "./server.js";
import { addButton, price } from "./cards.js";
import { button, byId, calmly, count, el, errorCard, icon, iconButton, money, plural } from "./dom.js";
import { on, state, tell } from "./state.js";

const panel = byId("panel"), query = byId("query"), most = byId("max-price"), found = byId("found");
const sides = [byId("main"), document.querySelector(".topbar"), byId("menu"), panel];
let opener = null;

/** Open a drawer; the rest of the page is inactive until the drawer is closed. */
function openDrawer(drawer, from) {
  closeDrawers(false);
  opener = from;
  drawer.classList.add("is-open");
  from?.setAttribute("aria-expanded", "true");
  byId("backdrop").hidden = false;
  for (const other of sides) other.inert = other !== drawer;
  drawer.querySelector(".drawer-close").focus();
}

/** Close whichever drawer is open. */
export function closeDrawers(focus = true) {
  const open = document.querySelector(".drawer.is-open");
  if (!open) return;
  open.classList.remove("is-open");
  byId("backdrop").hidden = true;
  for (const node of sides) node.inert = false;
  opener?.setAttribute("aria-expanded", "false");
  if (focus) opener?.focus();
}

const isDrawer = (node) => getComputedStyle(node).position === "fixed" || getComputedStyle(node).display === "none";

/** Put the cursor into the catalogue's search. */
export function focusSearch() {
  if (isDrawer(panel)) openDrawer(panel, byId("open-cart"));
  query.focus();
  query.select();
}

let asked = 0;

async function search() {
  const words = query.value.trim();
  const number = (asked += 1);
  if (!words && !most.value) return showFound(null);
  const limit = new URLSearchParams({ q: words, limit: "30" });
  if (most.value && most.validity.valid) limit.set("max_price", most.value);
  try {
    const products = await call(`products?${limit}`);
    if (number === asked) showFound(products);
  } catch (error) {
    if (number === asked) { found.hidden = false; found.replaceChildren(el("li", {}, errorCard(error, search))); }
  }
}

function showFound(products) {
  found.hidden = products === null;
  byId("found-count").textContent = products === null ? "" : `${plural(products.length, "product")} found`;
  if (products === null) return found.replaceChildren();
  const rows = products.map((item) => el("li", { class: "product" },
    el("span", { class: "title" }, item.title, item.category.length ? el("small", {}, item.category.at(-1)) : null), price(item.price, state.cart.currency), addButton(item)));
  found.replaceChildren(...(rows.length ? rows : [el("li", { class: "nothing" }, "Nothing in the catalogue fits. Try fewer or other words.")]));
  found.scrollTop = 0;
}

/** Show the cart. */
function showCart() {
  const { items, excluded } = state.cart;
  byId("cart-badge").hidden = !items.length;
  byId("cart-badge").textContent = count(items.length);
  byId("open-cart").setAttribute("aria-label", `Cart and catalogue, ${plural(items.length, "product")} in the cart`);
  const focused = document.activeElement?.dataset?.act;
  byId("cart").replaceChildren(
    el("div", { class: "cart-head" }, el("h2", {}, `Cart${items.length ? ` · ${items.length}` : ""}`)),
    ...(items.length ? [el("ul", { class: "cart-items" }, items.map((item) => cartItem(item, excluded.includes(item.id)))), limitsOf(), totalOf()].filter(Boolean)
      : [el("p", { class: "cart-empty" }, "Empty. Search above, or paste a list of products into the conversation.")]),
    buttonsOf(items.length - excluded.length, items.length));
  if (focused) byId("cart").querySelector(`[data-act="${CSS.escape(focused)}"]`)?.focus();
}

function cartItem(item, isOut) {
  const pieces = state.cart.quantities?.[item.id] ?? 1;
  const tools = el("span", { class: "tools" },
    iconButton(isOut ? "undo" : "skip", isOut ? `Take ${item.title} into bundles again` : `Leave ${item.title} out of bundles`,
      () => tell("act", { name: isOut ? "include" : "exclude", ids: [item.id] }), { disabled: state.busy, data: { act: `skip ${item.id}` } }),
    iconButton("close", `Remove ${item.title}`, () => tell("act", { name: "remove", ids: [item.id] }), { disabled: state.busy, data: { act: `remove ${item.id}` } }));
  return el("li", { class: `cart-item${isOut ? " is-out" : ""}` }, el("span", { class: "title" }, item.title, isOut ? el("span", { class: "sr-only" }, " (left out)") : null, pieces > 1 ? el("small", {}, ` · ${pieces} pieces`) : null), price(item.price, state.cart.currency), tools);
}

/** Return the limits of bundles in words, with a button to drop them. */
function limitsOf() {
  const { least, most: top, total, bundles } = state.cart.limits;
  const told = [];
  if (top !== null && top === least) told.push(`exactly ${top} products`);
  else {
    if (least > 2) told.push(`at least ${least} products`);
    if (top !== null) told.push(`at most ${top} products`);
  }
  if (total !== null) told.push(`at most ${money(total, state.cart.currency)} together`);
  if (bundles !== null) told.push(`at most ${plural(bundles, "bundle")}`);
  if (!told.length && !state.cart.excluded.length) return null;
  if (state.cart.excluded.length) told.push(`${state.cart.excluded.length} left out`);
  return el("div", { class: "limits" }, told.map((text) => el("span", { class: "pill" }, text)),
    button("Drop", () => tell("act", { name: "free" }), { class: "quiet", disabled: state.busy, title: "Drop all limits, and take back what was left out", data: { act: "free" } }));
}

function totalOf() {
  const { items, total, unpriced, currency } = state.cart;
  if (unpriced === items.length) return el("p", { class: "cart-total" }, el("span", { class: "soft" }, "No price is known"));
  return el("p", { class: "cart-total" }, el("span", {}, unpriced ? "Known prices" : "Total", unpriced ? el("small", {}, `${plural(unpriced, "product")} without a price`) : null), el("span", { class: "num" }, money(total, currency)));
}

function buttonsOf(usable, held) {
  const act = (label, picture, action, isOff, kind) => {
    const made = button(label, () => tell("act", action), { class: kind, disabled: isOff || state.busy, data: { act: action.name } });
    if (picture) made.prepend(icon(picture));
    return made;
  };
  return el("div", { class: "cart-buttons" },
    act("Find bundles", null, { name: "bundle" }, usable < 2, "primary"),
    act("What goes with it?", null, { name: "complete" }, usable < 1, "secondary"),
    act(held ? "Clear" : "Undo", held ? "trash" : "undo", { name: held ? "clear" : "undo" }, !held && !state.thread, "secondary"));
}

const soon = calmly(search, 160);
query.addEventListener("input", soon);
most.addEventListener("input", soon);
byId("search").addEventListener("submit", (event) => { event.preventDefault(); search(); });
query.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown") { event.preventDefault(); found.querySelector("button")?.focus(); }
  if (event.key === "Escape" && query.value) { event.stopPropagation(); query.value = ""; search(); }
});
found.addEventListener("keydown", (event) => {
  if (!["ArrowDown", "ArrowUp"].includes(event.key)) return;
  event.preventDefault();
  const all = [...found.querySelectorAll("button")];
  const next = all.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
  (next < 0 ? query : all[Math.min(next, all.length - 1)])?.focus();
});
byId("open-cart").addEventListener("click", (event) => openDrawer(panel, event.currentTarget));
byId("open-menu").addEventListener("click", (event) => openDrawer(byId("menu"), event.currentTarget));
byId("backdrop").addEventListener("click", () => closeDrawers());
document.querySelectorAll(".drawer-close").forEach((node) => node.addEventListener("click", () => closeDrawers()));
window.matchMedia("(max-width: 1120px)").addEventListener("change", () => closeDrawers(false));
window.matchMedia("(max-width: 780px)").addEventListener("change", () => closeDrawers(false));
on("cart", showCart);
on("busy", showCart);
showCart();
