// The frame of the page: the choice of view, keyboard keys, theme, and facts about the server.

import { call } from "./server.js";
import { openThread } from "./chat.js";
import { byId, count, errorCard, plural, setIcon } from "./dom.js";
import { showKnowledge } from "./knowledge.js";
import { closeDrawers, focusSearch } from "./panel.js";
import { showPlayground } from "./playground.js";
import { closeSheet } from "./sheet.js";
import { newName, state, tell } from "./state.js";
import "./threads.js";

const TITLES = { assistant: "Assistant", knowledge: "Knowledge", playground: "Playground" };
const PAGES = Object.keys(TITLES);
let isRouted = false;

function remembered() {
  try { return sessionStorage.getItem("bundlewise-thread"); } catch { return null; }
}

/** Return a decoded part of the address; an invalid part is returned unchanged. */
function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

/** Show the view that the address names. */
function route() {
  const [, page = "", ...rest] = location.hash.split("/");
  const detail = decoded(rest.join("/"));
  const name = PAGES.includes(page) ? page : "assistant";
  const isOther = document.body.dataset.page !== name;
  closeDrawers(false);
  closeSheet();
  document.body.dataset.page = name;
  document.title = `${TITLES[name]} · bundlewise`;
  for (const each of PAGES) byId(each).hidden = each !== name;
  document.querySelectorAll("a[data-page]").forEach((link) => {
    if (link.dataset.page === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
  if (name === "assistant") showThread(page === "t" ? detail : "");
  if (name === "knowledge") showKnowledge(detail);
  if (name === "playground") showPlayground(detail);
  if (isOther && isRouted) byId("main").focus();
  isRouted = true;
}

function showThread(named) {
  const thread = named || remembered() || newName();
  if (!named) history.replaceState(null, "", `#/t/${thread}`);
  if (thread === state.thread) return;
  try { sessionStorage.setItem("bundlewise-thread", thread); } catch { /* the address names the thread too */ }
  openThread(thread);
}

async function about() {
  try {
    state.about = await call("about");
  } catch (error) {
    byId("about").replaceChildren(errorCard(error, start));
    return false;
  }
  const { products, knowledge, adapter, version, playground } = state.about;
  byId("about").textContent = `${plural(products, "product")} · ${count(knowledge)} knowledge records · ${adapter ? "tuned" : "untuned"} student · ${version}`;
  byId("playground-link").parentElement.hidden = !playground;
  tell("about");
  return true;
}

const PICTURES = { system: "system", light: "sun", dark: "moon" };
const THEMES = Object.keys(PICTURES);
const themeNow = () => document.documentElement.dataset.theme ?? "system";

function showTheme() {
  const theme = themeNow();
  byId("theme").querySelector("span").textContent = `Theme: ${theme}`;
  setIcon(byId("theme"), PICTURES[theme]);
}

byId("theme").addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(themeNow()) + 1) % THEMES.length];
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try { localStorage.setItem("bundlewise-theme", next); } catch { /* the choice then lasts until the page is closed */ }
  showTheme();
});
byId("new-thread").addEventListener("click", () => {
  location.hash = `#/t/${newName()}`;
  closeDrawers(false);
  byId("say").focus();
});
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); byId("main").focus(); });

document.addEventListener("keydown", (event) => {
  const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !document.querySelector("dialog[open]")) {
    event.preventDefault();
    if (document.body.dataset.page === "assistant") focusSearch();
    else document.querySelector(`#${document.body.dataset.page} input[type="search"]`)?.focus();
  }
  if (event.key === "Escape") closeDrawers();
});

/** Start the page after the first request to the server, which asks for the key and gives a new visitor a cookie. */
async function start() {
  if (await about()) {
    route();
    tell("threads");
  }
}

window.addEventListener("hashchange", route);
showTheme();
start();
