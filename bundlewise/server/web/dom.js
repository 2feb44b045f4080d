// Building blocks of the page. Text from outside becomes text nodes, never markup.

/** Return an element; `props` are properties, attributes (with a dash, or aria and role) and `on` listeners. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name === "class") node.className = value;
    else if (name === "on") for (const [kind, listener] of Object.entries(value)) node.addEventListener(kind, listener);
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name.includes("-") || ["role", "for", "href"].includes(name)) node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

/** Return an icon of the sprite; screen readers skip it. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `icons.svg#${name}`);
  svg.append(use);
  return svg;
}

export const byId = (id) => document.getElementById(id);

/** Replace the picture of an icon in the page. */
export const setIcon = (holder, name) => holder.querySelector("use").setAttribute("href", `icons.svg#${name}`);

export const button = (label, listener, props = {}) => el("button", { type: "button", on: { click: listener }, ...props }, label);

/** Return a button with a picture; its label is read and shown as a tooltip. */
export function iconButton(name, label, listener, props = {}) {
  const made = el("button", { type: "button", class: "icon-button", title: label, "aria-label": label, ...props }, icon(name));
  made.addEventListener("click", listener);
  return made;
}

const AMOUNT = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const COUNT = new Intl.NumberFormat("en");

export const money = (amount, currency = "") => `${AMOUNT.format(amount)} ${currency}`.trim();
export const count = (number) => COUNT.format(number);
export const percent = (share) => `${Math.round(100 * share)} %`;
export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** Return in words how long ago a time was. */
export function since(moment) {
  const minutes = Math.floor((Date.now() - new Date(moment).getTime()) / 60000);
  if (!Number.isFinite(minutes) || minutes < 1) return "now";
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h`;
  return new Date(moment).toLocaleDateString("en", { month: "short", day: "numeric" });
}

/** Return a function that runs its work after a pause without calls. */
export function calmly(work, milliseconds) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), milliseconds);
  };
}

/** Show a short notice, which disappears by itself. */
export function toast(text) {
  const node = el("p", { class: "toast" }, text);
  byId("toasts").append(node);
  setTimeout(() => node.remove(), 5000);
}

/** Return a card with an error and a button to try again. */
export function errorCard(error, again) {
  return el("div", { class: "error-card", role: "alert" }, icon("warning"), el("p", {}, error.message),
    again ? button("Try again", again, { class: "secondary" }) : null);
}
