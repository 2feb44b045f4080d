// The conversation: messages and clicks go to the thread, and the reply is shown as it comes.

import { ApiError, call, stream } from "./server.js";
import { bundlesCard, markPast, productsCard, whyLine } from "./cards.js";
import { button, byId, el, errorCard, icon, plural } from "./dom.js";
import { closeDrawers } from "./panel.js";
import { openReasons } from "./sheet.js";
import { EMPTY, newName, on, state, tell } from "./state.js";

const log = byId("log"), scroller = byId("scroller"), field = byId("say"), channel = new BroadcastChannel("bundlewise");
let offers = [], chips = [], visit = 0, begin;
let opening = new Promise((done) => { begin = done; });

/** Open a thread, or an empty thread with a new name. */
export async function openThread(name) {
  visit += 1;
  state.thread = name;
  setBusy(false);
  tell("threads");
  opening = load(visit);
  begin();
  await opening;
}

/** Wait until the open thread is shown, as each message does that is sent before. */
async function opened() {
  let seen;
  do { seen = opening; await seen; } while (seen !== opening);
}

async function load(mine, isQuiet = false) {
  if (!isQuiet) { log.replaceChildren(); setCart(EMPTY); byId("welcome").hidden = true; }
  let view;
  try {
    // A thread without a message does not exist on the server.
    const known = isQuiet || (await call("threads")).some((row) => row.thread === state.thread);
    if (mine !== visit) return;
    if (!known) return showNothing();
    view = await call(`threads/${encodeURIComponent(state.thread)}`);
  } catch (error) {
    if (mine !== visit) return;
    if (error.status === 404) return showNothing();
    log.replaceChildren(errorCard(error, () => load(mine)));
    return;
  }
  if (mine !== visit) return;
  showView(view);
  if (view.pending) follow(mine);
}

function showNothing() {
  log.replaceChildren();
  setCart(EMPTY);
  setBusy(false);
  hints();
  byId("welcome").hidden = false;
}

function showView(view) {
  log.setAttribute("aria-live", "off");
  byId("welcome").hidden = true;
  state.cart = view.cart;
  log.replaceChildren();
  offers = [];
  chips = [];
  let isAnswer = false;
  for (const message of view.messages) {
    if (message.role === "user") { log.append(said(message.text)); isAnswer = true; continue; }
    const reply = new Reply(!isAnswer);
    reply.text(message.text);
    message.events.forEach((event) => reply.card(event));
    reply.end();
    isAnswer = false;
  }
  offers = view.bundles;
  if (!offers.length) markPast(log);
  setCart(view.cart);
  hints();
  toEnd();
  requestAnimationFrame(() => log.setAttribute("aria-live", "polite"));
}

/** Follow an answer that is being made, for example after a reload, and then show the thread. */
async function follow(mine) {
  const reply = new Reply(log.lastElementChild?.classList.contains("user") !== true);
  setBusy(true);
  try {
    for await (const event of stream(`threads/${encodeURIComponent(state.thread)}/events`)) {
      if (mine !== visit) return;
      reply.take(event);
    }
    if (mine === visit) { setBusy(false); await load(mine, true); }
  } catch (error) {
    if (mine === visit) reply.fail(error, () => load(mine, true));
  } finally {
    if (mine === visit) setBusy(false);
    reply.end();
  }
}

const said = (text) => el("div", { class: "message user" }, text);

const say = (text) => send("messages", { text }, text);

/** Send a message or a click, and show the reply. */
async function send(path, body, text = "") {
  await opened();
  if (state.busy) return;
  const mine = visit, thread = state.thread;
  chips = [];
  byId("welcome").hidden = true;
  if (text) log.append(said(text));
  setBusy(true);
  hints();
  const reply = new Reply(!text);
  toEnd();
  channel.postMessage(thread);
  try {
    let isDone = false;
    for await (const event of stream(`threads/${encodeURIComponent(thread)}/${path}`, { method: "POST", body })) {
      if (mine !== visit) continue;
      reply.take(event, path === "actions" && body.name === "explain");
      isDone ||= event.type === "done";
    }
    if (!isDone) throw new ApiError("The answer broke off.", 0, "broken");
  } catch (error) {
    if (mine === visit) recover(error, reply, () => { reply.node.remove(); send(path, body); });
  } finally {
    reply.end();
    if (mine === visit) {
      const wasNear = isNear();
      setBusy(false);
      hints();
      if (wasNear) toEnd();
    }
    channel.postMessage(thread);
    tell("threads");
  }
}

/** Continue after an error: follow the answer if the message reached the server, or send the message again. */
function recover(error, reply, again) {
  const isUnderWay = ["broken", "broke_off", "queue_full"].includes(error.code);
  reply.fail(error, isUnderWay ? () => load(visit, true) : again);
}

/** One reply in progress: text, cards, and a sign that more will come. */
class Reply {
  constructor(isClick) {
    this.words = el("p", { hidden: true });
    this.clock = el("span", {}, "Working");
    this.waiting = el("div", { class: "waiting" }, el("span", { class: "dots", "aria-hidden": "true" }, el("i"), el("i"), el("i")), this.clock);
    this.node = el("div", { class: `message assistant${isClick ? " click" : ""}` }, this.words, this.waiting);
    log.append(this.node);
    this.wait();
  }

  take(event, openWhy = false) {
    const wasNear = isNear();
    if (event.type === "text") this.text(event.text);
    else if (event.type === "done") this.end();
    else this.card(event, openWhy);
    if (wasNear) toEnd();
  }

  wait() {
    const begun = Date.now();
    this.timer = setInterval(() => {
      const seconds = Math.round((Date.now() - begun) / 1000);
      if (seconds > 2) this.clock.textContent = `Working · ${seconds} s`;
    }, 1000);
  }

  text(piece) {
    if (!piece) return;
    this.words.hidden = false;
    this.words.append(this.words.textContent ? piece : piece.trimStart());
  }

  card(event, openWhy = false) {
    if (event.type === "cart") return setCart(event, true);
    if (event.type === "chips") { chips = event.chips; return; }
    if (event.type === "bundles") { markPast(log); offers = event.bundles; }
    if (event.type === "why" && openWhy) openReasons(event, offers[event.bundle - 1]);
    const made = { products: productsCard, bundles: bundlesCard, why: (given) => whyLine(given, offers) }[event.type]?.(event);
    if (made) this.node.insertBefore(made, this.waiting);
  }

  fail(error, again) {
    this.end();
    const card = errorCard(error, () => { card.remove(); again(); });
    this.node.append(card);
    toEnd();
  }

  end() {
    clearInterval(this.timer);
    this.waiting.remove();
  }
}

/** Return the parts of a cart that bundles depend on. */
const likeness = ({ items, excluded, limits }) => JSON.stringify([items.map((item) => item.id), excluded, limits]);

function setCart(cart, isNews = false) {
  if (isNews && likeness(cart) !== likeness(state.cart)) {
    markPast(log);
    offers = [];
  }
  state.cart = cart;
  tell("cart");
}

function setBusy(isBusy) {
  state.busy = isBusy;
  byId("send").disabled = isBusy;
  log.setAttribute("aria-busy", String(isBusy));
  document.querySelectorAll("#hints button, #examples button").forEach((node) => { node.disabled = isBusy; });
  tell("busy");
}

const isNear = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 120;

function toEnd() {
  scroller.scrollTop = scroller.scrollHeight;
}

/** Offer messages that the user can send next. */
function hints() {
  const held = state.cart.items.length;
  const next = [...chips];
  if (chips.length) { /* The reply said what may come next. */ } else if (offers.length) next.push(offers.length > 1 ? "Why bundle 1?" : "Why this bundle?", "Only two items", "What goes with this?");
  else if (held > 1) next.push("Bundle this", "What goes with this?");
  else if (held) next.push("What goes with this?");
  byId("hints").replaceChildren(...next.map((text) => el("li", {}, button(text, () => say(text), { disabled: state.busy }))));
}

function examples() {
  const rows = (state.about?.examples ?? []).map((text) => {
    const [first, ...rest] = text.split("\n");
    const made = el("button", { type: "button" }, el("div", {}, el("strong", {}, first),
      rest.length ? el("span", {}, `${plural(rest.length, "product")}, ${rest[0].replace(/^- /, "")} …`) : null), icon("send"));
    made.addEventListener("click", () => say(text));
    return el("li", {}, made);
  });
  byId("examples").replaceChildren(...rows);
}

byId("composer").addEventListener("submit", async (event) => {
  event.preventDefault();
  await opened();
  const text = field.value.trim();
  if (!text || state.busy) return;
  field.value = "";
  grow();
  say(text);
});
field.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); byId("composer").requestSubmit(); }
});

/** Let the field grow with its text where the browser does not do so by itself. */
function grow() {
  if (CSS.supports("field-sizing", "content")) return;
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}
field.addEventListener("input", grow);

// Other tabs report the threads that they begin, change or delete.
channel.addEventListener("message", ({ data }) => {
  tell("threads");
  if (data === state.thread && !state.busy) load(visit, true);
});
on("act", (action) => send("actions", action));
on("about", examples);
on("forgotten", (thread) => {
  channel.postMessage(thread);
  if (thread === state.thread) location.hash = `#/t/${newName()}`;
});
on("act", () => { if (innerWidth <= 780) closeDrawers(); });
