// Requests to the server: JSON, streams of events, the key if the server needs one, and errors that say what to do.

import { byId, el } from "./dom.js";

const KEY = "bundlewise-key";

export class ApiError extends Error {
  constructor(message, status = 0, code = "") {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Ask the server; return the response, or throw an ApiError whose message is for people. */
async function ask(path, { method = "GET", body, signal } = {}) {
  for (;;) {
    const headers = {};
    const key = sessionStorage.getItem(KEY);
    if (key) headers.Authorization = `Bearer ${key}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(`api/${path}`, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError("The server does not answer. See whether it still runs, then try again.");
    }
    if (response.ok) return response;
    const fault = await faultOf(response);
    if (response.status !== 401) throw fault;
    await keyFromUser(key !== null);
  }
}

async function faultOf(response) {
  let told = null;
  try { told = (await response.json()).error; } catch { /* no JSON: a proxy has answered */ }
  const message = told ? sentence(told.message) : `The server answered ${response.status}. Try again.`;
  return new ApiError(message, response.status, told?.code ?? "");
}

/** Return a message of the server as a sentence. */
export function sentence(message) {
  const text = message.trim();
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

/** Return the JSON of an answer; null where there is none. */
export async function call(path, options) {
  const response = await ask(path, options);
  return response.status === 204 ? null : response.json();
}

/** Yield the events of a stream as objects; an error event is thrown. */
export async function* stream(path, options) {
  const response = await ask(path, options);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      held += value;
      const blocks = held.split("\n\n");
      held = blocks.pop();
      for (const block of blocks) {
        const event = parsed(block);
        if (event) yield event;
      }
    }
  } catch (error) {
    if (error instanceof ApiError || error.name === "AbortError") throw error;
    throw new ApiError("The connection broke; the server continues the answer.", 0, "broken");
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parsed(block) {
  const rows = block.split("\n");
  const kind = rows.find((row) => row.startsWith("event: "))?.slice(7);
  const data = rows.filter((row) => row.startsWith("data: ")).map((row) => row.slice(6)).join("\n");
  if (!data) return null;
  const value = JSON.parse(data);
  if (kind === "error") throw new ApiError(sentence(value.error.message), 500, value.error.code);
  return value;
}

let asking = null;

/** Ask for a bearer key; all requests that wait for a key share the answer. */
function keyFromUser(isWrong) {
  asking ??= new Promise((resolve, reject) => {
    const dialog = byId("ask");
    const field = el("input", { id: "key", type: "password", autocomplete: "off", required: true, name: "key" });
    const form = el("form", { method: "dialog", class: "ask-form" },
      el("h2", { id: "ask-title" }, "This server asks for a key"),
      el("p", {}, isWrong ? "The last key was refused. Give another one." : "It is kept in this tab only, until you close it."),
      el("label", { for: "key" }, "Bearer key"), field,
      el("div", { class: "ask-buttons" }, el("button", { type: "submit", class: "primary" }, "Open")));
    let given = false;
    form.addEventListener("submit", () => { given = true; sessionStorage.setItem(KEY, field.value.trim()); });
    dialog.replaceChildren(form);
    dialog.addEventListener("close", () => {
      asking = null;
      if (given) resolve();
      else reject(new ApiError("Without a key the server gives no answer. Try again and give a key.", 401, "invalid_api_key"));
    }, { once: true });
    dialog.showModal();
    field.focus();
  });
  return asking;
}

/** Ask the user to confirm a step that cannot be undone. */
export function confirmed(question, answer) {
  return new Promise((resolve) => {
    const dialog = byId("ask");
    const form = el("form", { method: "dialog", class: "ask-form" },
      el("h2", { id: "ask-title" }, question),
      el("div", { class: "ask-buttons" },
        el("button", { value: "", class: "secondary", autofocus: true }, "Cancel"),
        el("button", { value: "yes", class: "danger" }, answer)));
    dialog.returnValue = "";
    dialog.replaceChildren(form);
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    dialog.showModal();
  });
}
