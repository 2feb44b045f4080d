// The playground: edit a template, see the prompt that it makes, try it on the student, and save it.

import { call, sentence } from "./server.js";
import { sureness } from "./cards.js";
import { button, byId, calmly, count, el, errorCard, plural, toast } from "./dom.js";
import { state } from "./state.js";

const PASTED = "\u0000pasted";
const SCORES = { gjs: "GJS", v2_precision: "Precision", v2_recall: "Recall", v2_coverage: "Coverage", exact_precision: "Exact precision", exact_recall: "Exact recall" };
const drafts = new Map();
let bench = null, source = null, asked = 0;

/** Show the playground with a template. */
export async function showPlayground(name) {
  if (!bench) await build();
  if (!bench) return;
  const chosen = name || source?.name || "judge";
  if (chosen !== source?.name) load(chosen);
}

async function build() {
  let templates, sessions;
  try {
    [templates, sessions] = await Promise.all([call("prompts"), call("sessions?limit=100")]);
  } catch (error) {
    byId("playground").replaceChildren(errorCard(error, () => showPlayground("")));
    return;
  }
  const template = el("select", { id: "template" }, templates.map((each) => el("option", { value: each.name }, `${each.name}${each.own ? " · yours" : ""}`)));
  const session = el("select", { id: "session" }, el("option", { value: PASTED }, "Paste titles …"),
    sessions.map((each) => el("option", { value: each.id }, `${each.id} · ${plural(each.items.length, "product")}, ${plural(each.bundles, "bundle")}`)));
  if (sessions.length) session.value = sessions[0].id;
  const titles = el("textarea", { id: "titles", placeholder: "One product title a line" });
  const pasted = el("div", { class: "pasted", hidden: true }, el("label", { for: "titles" }, "Titles, one a line", titles));
  const attempt = button("Try on the student", tryIt, { class: "primary" });
  const save = button("Save", saveIt, { class: "secondary", hidden: !state.about?.saves });
  const purpose = el("p", { class: "bench-purpose" });
  const editor = editorOf();
  const prompts = el("div", { class: "prompt-scroller", tabIndex: 0, role: "region", "aria-label": "Rendered prompt" });
  const tokens = el("span", { class: "pill num" }), edited = el("span", { class: "pill" });
  const outcome = el("div", { class: "results", "aria-live": "polite" });
  byId("playground").replaceChildren(el("div", { class: "bench" },
    el("header", { class: "page-head" }, el("h1", {}, "Playground"), el("p", {}, "Edit a prompt template, see exactly what the model gets for a session, and what the student answers before and after.")),
    el("div", { class: "bench-bar" }, el("label", { for: "template" }, "Template", template), el("label", { for: "session" }, "Session", session), el("span", { class: "spacer" }), save, attempt),
    pasted, purpose,
    el("div", { class: "bench-columns" },
      el("section", { class: "pane", "aria-label": "Template" }, el("div", { class: "pane-head" }, el("h2", {}, "Template"), edited), editor.node, editor.fault),
      el("section", { class: "pane", "aria-label": "What the model gets" }, el("div", { class: "pane-head" }, el("h2", {}, "What the model gets"), tokens), prompts)),
    outcome));
  bench = { template, session, titles, pasted, attempt, save, purpose, editor, prompts, tokens, edited, outcome };
  template.addEventListener("change", () => { location.hash = `#/playground/${template.value}`; });
  session.addEventListener("change", () => { pasted.hidden = session.value !== PASTED; outcome.replaceChildren(); render(); });
  titles.addEventListener("input", soon);
}

/** Return a text field with numbered lines beside it, one of which can be marked. */
function editorOf() {
  const gutter = el("div", { class: "gutter", "aria-hidden": "true" });
  const field = el("textarea", { "aria-label": "Template source", spellcheck: false, wrap: "off", autocapitalize: "off", autocomplete: "off" });
  const fault = el("p", { class: "fault", role: "alert", hidden: true });
  let wrong = null;
  const number = () => {
    const lines = field.value.split("\n").length;
    gutter.replaceChildren(...Array.from({ length: lines }, (_, line) => el("span", { class: line + 1 === wrong ? "is-wrong" : "" }, String(line + 1))), el("span", {}, " "));
    gutter.scrollTop = field.scrollTop;
  };
  field.addEventListener("input", () => { number(); soon(); showEdited(); });
  field.addEventListener("scroll", () => { gutter.scrollTop = field.scrollTop; });
  const tell = (found) => {
    wrong = found?.line ?? null;
    fault.hidden = !found;
    fault.textContent = found ? found.message : "";
    number();
  };
  return { node: el("div", { class: "editor" }, gutter, field), field, fault, tell };
}

/** Keep an edit and the text it started from while another template is shown. */
function keepDraft() {
  if (!source) return;
  const text = bench.editor.field.value;
  if (text === source.text) drafts.delete(source.name);
  else drafts.set(source.name, { source, text });
}

async function load(name) {
  keepDraft();
  const draft = drafts.get(name);
  try {
    source = draft?.source ?? await call(`prompts/${encodeURIComponent(name)}`);
  } catch (error) {
    bench.outcome.replaceChildren(errorCard(error, () => load(name)));
    return;
  }
  bench.template.value = name;
  bench.editor.field.value = draft?.text ?? source.text;
  bench.editor.field.scrollTop = 0;
  bench.outcome.replaceChildren();
  const rows = Object.entries(source.variables).flatMap(([key, about]) => [el("code", {}, key), el("span", {}, about)]);
  bench.purpose.replaceChildren(source.purpose, rows.length ? el("details", {}, el("summary", {}, `${plural(rows.length / 2, "variable")}, role ${source.role}, fingerprint ${source.fingerprint}`), el("div", { class: "variables" }, rows)) : "");
  showEdited();
  render();
}

function showEdited() {
  const isEdited = bench.editor.field.value !== source?.text;
  bench.edited.textContent = isEdited ? "edited" : source.own ? "yours" : "shipped";
  bench.save.disabled = !isEdited;
}

const soon = calmly(() => render(), 350);

function edit() {
  const isPasted = bench.session.value === PASTED;
  const titles = bench.titles.value.split("\n").map((title) => title.trim()).filter(Boolean).slice(0, 30);
  return { text: bench.editor.field.value, session: isPasted ? "" : bench.session.value, titles: isPasted ? titles : [] };
}

async function render() {
  if (!source) return;
  const body = edit(), number = (asked += 1);
  if (!body.session && body.titles.length < 2) { showPrompts([], "Paste two titles or more above."); return; }
  try {
    const shown = await call(`prompts/${source.name}/render`, { method: "POST", body });
    if (number !== asked) return;
    bench.editor.tell(shown.fault);
    if (!shown.fault) showPrompts(shown.prompts, shown.note);
  } catch (error) {
    if (number === asked) bench.prompts.replaceChildren(errorCard(error, render));
  }
}

function showPrompts(prompts, note) {
  const total = prompts.flatMap((prompt) => prompt.parts).reduce((sum, part) => sum + (part.tokens ?? 0), 0) + prompts.reduce((sum, prompt) => sum + prompt.opening, 0);
  const about = prompts.some((prompt) => prompt.estimated) ? "about " : "";
  bench.tokens.textContent = total ? `${about}${plural(total, "token")}` : "";
  bench.prompts.replaceChildren(...(note ? [el("p", { class: "prompt-about prompt" }, note)] : []), ...prompts.map(promptOf));
}

function promptOf(prompt) {
  const parts = prompt.parts.map((part) => el("div", { class: "part" }, el("pre", {}, marked(part)),
    el("span", { class: "meta num", title: `of ${part.template}` }, `${part.role === "text" ? part.template : part.role}${part.tokens === null ? "" : ` · ${count(part.tokens)}`}`)));
  return el("article", { class: "prompt" }, el("p", { class: "prompt-about" }, prompt.about, prompt.cut ? ` · cut: ${prompt.cut}` : ""), parts);
}

/** Return a part's text with its knowledge marked; spans count code points, as in Python. */
function marked(part) {
  const letters = [...part.text], pieces = [];
  let place = 0;
  for (const [start, end] of part.knowledge) {
    pieces.push(letters.slice(place, start).join(""), el("mark", { title: "knowledge" }, letters.slice(start, end).join("")));
    place = end;
  }
  return [...pieces, letters.slice(place).join("")];
}

async function tryIt() {
  const body = edit();
  bench.attempt.disabled = true;
  bench.outcome.replaceChildren(el("p", { class: "waiting" }, el("span", { class: "dots", "aria-hidden": "true" }, el("i"), el("i"), el("i")), "The student answers twice, before and after the edit."));
  try {
    const tried = await call(`prompts/${source.name}/try`, { method: "POST", body });
    bench.editor.tell(tried.fault);
    showOutcome(tried);
  } catch (error) {
    bench.outcome.replaceChildren(errorCard(error, tryIt));
  } finally {
    bench.attempt.disabled = false;
  }
}

function showOutcome(tried) {
  if (tried.fault) { bench.outcome.replaceChildren(); return; }
  const panes = [["Before", tried.before], ["After", tried.after]].filter(([, found]) => found)
    .map(([label, found]) => el("section", { class: "pane" }, el("div", { class: "pane-head" }, el("h2", {}, label)), answerOf(tried.items, found.prediction)));
  if (tried.truth.length) panes.push(el("section", { class: "pane" }, el("div", { class: "pane-head" }, el("h2", {}, "Annotated")),
    el("div", { class: "answer" }, tried.truth.map((group) => el("div", { class: "truth" }, titlesOf(tried.items, group))))));
  bench.outcome.replaceChildren(...[
    !tried.changes && el("p", { class: "bench-purpose" }, "The edit does not affect the student’s answer, so there is only one answer."),
    tried.warning && el("p", { class: "bench-purpose" }, sentence(tried.warning)),
    el("div", { class: "outcome" }, panes), scoresOf(tried),
  ].filter(Boolean));
}

function answerOf(items, prediction) {
  const found = prediction.bundles.map((bundle) => el("div", {}, el("h3", {}, bundle.intent), bundle.confidence === null ? null : sureness(bundle.confidence), titlesOf(items, bundle.items)));
  return el("div", { class: "answer" }, found.length ? found : el("p", { class: "soft" }, prediction.reason || "No bundle."));
}

const titlesOf = (items, numbers) => el("ul", {}, numbers.map((number) => el("li", {}, items[number - 1].title)));

function scoresOf({ before, after }) {
  if (!before?.scores) return null;
  const head = el("tr", {}, el("th", { scope: "col" }, "Score on this session"), el("th", { scope: "col" }, "Before"), after ? [el("th", { scope: "col" }, "After"), el("th", { scope: "col" }, "Change")] : null);
  const rows = Object.entries(SCORES).map(([key, label]) => {
    const was = before.scores[key], is = after?.scores?.[key];
    const change = is === undefined ? 0 : is - was;
    return el("tr", {}, el("th", { scope: "row" }, label), el("td", {}, was.toFixed(3)), is === undefined ? null : [el("td", {}, is.toFixed(3)),
      el("td", { class: change > 0 ? "better" : change < 0 ? "worse" : "" }, change ? `${change > 0 ? "+" : "−"}${Math.abs(change).toFixed(3)}` : "0")]);
  });
  return el("table", { class: "scores" }, el("thead", {}, head), el("tbody", {}, rows));
}

async function saveIt() {
  bench.save.disabled = true;
  try {
    source = await call(`prompts/${source.name}`, { method: "PUT", body: { text: bench.editor.field.value, mark: source.mark } });
    toast(`${source.name} is saved and in force.`);
    const option = bench.template.selectedOptions[0];
    option.textContent = `${source.name} · yours`;
    bench.editor.field.value = source.text;
    bench.editor.tell(null);
    showEdited();
  } catch (error) {
    bench.save.disabled = false;
    bench.outcome.replaceChildren(errorCard(error, error.status === 422 ? null : saveIt));
  }
}
