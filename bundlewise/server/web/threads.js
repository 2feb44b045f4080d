// The list of threads in the sidebar.

import { call, confirmed } from "./server.js";
import { byId, calmly, el, errorCard, iconButton, since, toast } from "./dom.js";
import { on, state, tell } from "./state.js";

async function load() {
  try {
    show(await call("threads"));
  } catch (error) {
    const shown = [...byId("threads").children].filter((row) => !row.querySelector(".error-card"));
    byId("threads").replaceChildren(el("li", {}, errorCard(error, load)), ...shown);
  }
}

function show(threads) {
  const rows = threads.map((row) => {
    const isOpen = row.thread === state.thread;
    const link = el("a", { href: `#/t/${encodeURIComponent(row.thread)}`, "aria-current": isOpen ? "true" : null },
      el("span", { class: "thread-title" }, row.title), el("span", { class: "thread-when" }, since(row.at)));
    return el("li", { class: `thread${isOpen ? " is-open" : ""}` }, link, iconButton("trash", `Delete ${row.title}`, () => forget(row)));
  });
  byId("threads").replaceChildren(...(rows.length ? rows : [el("li", { class: "no-threads" }, "What you say is kept here.")]));
}

async function forget(row) {
  if (!(await confirmed(`Delete “${row.title}” for good?`, "Delete"))) return;
  try {
    await call(`threads/${encodeURIComponent(row.thread)}`, { method: "DELETE" });
  } catch (error) {
    if (error.status !== 404) return toast(error.message);
  }
  tell("forgotten", row.thread);
  load();
}

on("threads", calmly(load, 50));
