"use strict";
const { records, map, names, domains, graphs } = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const STEP = 25;
const byId = new Map(records.map((record, number) => [record.id, number]));
const inDomain = (r) => !$("domain").value || r.domain === domains[$("domain").value - 1];
let hits = [], dots = [], labels = [], words = [], shown = STEP, rulesShown = 2 * STEP;

// What teachers wrote reaches the page as text only, never as HTML.
function make(name, fields = {}, ...children) {
  const svg = ["svg", "path", "line", "rect", "text", "g", "title", "circle"].includes(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(fields)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}
const point = (value, digits = 3) => value.toFixed(digits).replace(/^(-?)0\./, "$1.");
const signed = (value) => (value > 0 ? "+" : "") + point(value).replace("-", "−");
const plural = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const bad = (record) => record.status === "active" ? null
  : make("span", { class: "chip bad" }, record.status + (record.reason ? ": " + record.reason : ""));

const haystacks = records.map((r) =>
  [r.text, ...(r.kinds || []), ...r.sources, r.by.teacher, r.id, r.reason || ""].join("\n").toLowerCase());

function search() {
  words = ($("q").value.toLowerCase().match(/"[^"]+"|\S+/g) || []).map((w) => w.replaceAll('"', "")).filter(Boolean);
  const [kind, status] = [$("kind").value, $("status").value];
  const fits = (r, number) => (!kind || r.kind === kind) && (!status || r.status === status) &&
    inDomain(r) && words.every((word) => haystacks[number].includes(word));
  hits = [...records.keys()].filter((number) => fits(records[number], number));
  shown = STEP;
  $("hits").replaceChildren(make("b", {}, hits.length.toLocaleString("en")), ` of ${plural(records.length, "record")} ↓`);
  const found = new Set(hits);
  for (const dot of dots) dot.classList.toggle("off", !found.has(+dot.dataset.n));
  $("map").replaceChildren(...dots.filter((dot) => !found.has(+dot.dataset.n)), ...dots.filter((dot) => found.has(+dot.dataset.n)), ...labels);
  for (const label of labels) label.classList.toggle("off", hits.length < records.length);
  drawList();
}

function marked(text) {
  if (!words.length) return [text];
  const pattern = new RegExp("(" + words.map((w) => w.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|") + ")", "gi");
  return text.split(pattern).map((part, place) => place % 2 ? make("mark", {}, part) : part);
}

function facts(r) {
  const sessions = r.support === undefined ? null : `bundled in ${plural(r.support, "session")}`;
  const numbers = [["confidence", 2], ["lift", 1]].filter(([name]) => name in r).map(([name, n]) => `${name} ${point(r[name], n)}`);
  return [sessions, ...numbers, "gain" in r ? `held-out gain ${signed(r.gain)}` : null].filter(Boolean);
}

function products(r) {
  if (!r.titles) return null;
  const bundle = (place) => (r.groups || []).findIndex((group) => group.includes(place)) + 1;
  const line = (title, place) => make("li", { class: "text" }, title, make("small", {},
    [" ", r.kinds?.[place], bundle(place) ? `bundle ${bundle(place)}` : "in no bundle"].filter(Boolean).join(" · ")));
  return make("ol", {}, ...r.titles.map(line));
}

function card(number, opened = false) {
  const r = records[number];
  const many = r.from > r.sources.length ? ` and ${r.from - r.sources.length} more` : "";
  const summary = r.from ? `from ${plural(r.from, "session")}, by ${r.by.teacher}` : `by ${r.by.teacher}, no sessions named`;
  const tags = [...new Set(r.kinds || [])].map((kind) =>
    make("button", { class: "chip", onclick: () => ask(`"${kind}"`) }, ...marked(kind)));
  const details = make("details", opened ? { open: "" } : {}, make("summary", {}, ...marked(summary)), products(r),
    r.from ? make("p", {}, "sessions: ", ...marked(r.sources.join(", ")), many) : null,
    make("p", {}, `teacher ${r.by.teacher} · template ${r.by.prompt} · run ${r.by.run}`));
  return make("article", { class: `card ${r.kind}${opened ? " open" : ""}`, id: opened ? "" : r.id },
    make("header", {}, make("b", {}, r.kind), r.domain, ...facts(r).map((fact) => make("span", {}, fact)), bad(r),
      make("code", {}, ...marked(r.id)), opened ? make("button", { class: "chip", onclick: () => open(null) }, "close ×") : null),
    make("div", { class: "text" }, ...marked(r.text)), make("div", { class: "tags" }, ...tags), details);
}

function drawList() {
  const cards = hits.slice(0, shown).map((number) => card(number));
  $("list").replaceChildren(...(cards.length ? cards : [make("p", { class: "none" }, "No record fits.")]));
  $("more").hidden = hits.length <= shown;
  $("more").textContent = `Show ${Math.min(STEP * 2, hits.length - shown)} more of ${hits.length - shown}`;
}

function open(number) {
  $("map").querySelector(".at")?.classList.remove("at");
  if (number === null) return $("opened").replaceChildren();
  $("map").querySelector(`[data-n="${number}"]`)?.classList.add("at");
  $("opened").replaceChildren(card(number, true));
  $("opened").firstChild.scrollIntoView({ block: "start" });
}

function ask(query) {
  $("q").value = query;
  search();
  $("records").scrollIntoView({ block: "start" });
}

function tip(event, ...content) {
  const box = $("tip");
  if (!content.length) return void (box.style.display = "none");
  box.replaceChildren(...content);
  box.style.display = "block";
  box.style.left = Math.max(8, Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 8)) + "px";
  box.style.top = (event.clientY + 18 + box.offsetHeight > innerHeight ? event.clientY - box.offsetHeight - 12 : event.clientY + 18) + "px";
}
const cut = (text, letters) => text.length > letters ? text.slice(0, letters) + " …" : text;
const told = (r) => [make("small", {}, [r.kind, r.domain, r.status === "active" ? "" : r.status, ...facts(r)].filter(Boolean).join(" · ")),
  cut(r.text, 260), make("small", {}, (r.from ? cut(r.sources.slice(0, 3).join(", "), 90) + (r.from > 3 ? ` and ${r.from - 3} more` : "") + ", " : "") + `by ${r.by.teacher}`)];

const SHAPES = { thought: "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0", pattern: "M-4,-4h8v8h-8z", rule: "M0,-6.5L6.5,0L0,6.5L-6.5,0z" };
function drawNames(at) {
  labels = [];
  const taken = [], most = $("map").clientWidth < 600 ? 8 : 24;
  for (const [name, x, y] of names) {
    const [left, top] = at(x, y), label = make("text", { class: "name", x: left, y: top }, cut(name, 26));
    $("map").append(label);
    const box = label.getBBox(), free = (b) => box.x > b.x + b.width + 6 || b.x > box.x + box.width + 6 || box.y > b.y + b.height + 6 || b.y > box.y + box.height + 6;
    const fits = box.x >= 0 && box.x + box.width <= $("map").clientWidth && labels.length < most && taken.every(free);
    if (fits) { taken.push(box); labels.push(label); } else label.remove();
  }
}
function drawMap() {
  const wide = $("map").clientWidth, high = map.length > 4 ? Math.max(340, Math.min(640, wide * 0.52)) : 160, edge = 18;
  $("map").setAttribute("viewBox", `0 0 ${wide} ${high}`);
  $("map").style.height = high + "px";
  const scale = Math.max(0.62, Math.min(1, wide / 900)) * (map.length > 1200 ? 0.8 : 1);
  const at = (x, y) => [edge + (x / 1000) * (wide - 2 * edge), edge + (y / 1000) * (high - 2 * edge)];
  const order = { thought: 0, pattern: 1, rule: 2 };
  dots = [...map].sort((a, b) => order[records[a[0]].kind] - order[records[b[0]].kind]).map(([n, x, y]) => {
    const r = records[n], [left, top] = at(x, y);
    return make("path", { d: SHAPES[r.kind], class: `dot ${r.kind}${r.status === "active" ? "" : " held"}`, "data-n": n,
      transform: `translate(${left.toFixed(1)} ${top.toFixed(1)}) scale(${scale})` });
  });
  drawNames(at);
}

function drawGraph() {
  const graph = graphs[+$("domain").value];
  if (!graph.lines.length) {
    $("scale").replaceChildren();
    return $("graph").replaceChildren(make("p", { class: "none" }, "No active pattern of two kinds or more."));
  }
  const of = (line) => records[byId.get(line.id)];
  const supports = graph.lines.map((line) => of(line).support || 0), lifts = graph.lines.map((line) => Math.log(Math.max(0.01, of(line).lift || 1)));
  const most = Math.max(1, ...supports), low = Math.min(...lifts), high = Math.max(...lifts);
  const wires = graph.lines.map((line, n) => {
    const [a, b] = [graph.boxes[line.from], graph.boxes[line.to]], share = high > low ? (lifts[n] - low) / (high - low) : 0.5;
    const wire = make("path", { class: "wire", d: `M${a.x},${a.y}L${b.x},${b.y}`, "stroke-width": (1.5 + 8.5 * supports[n] / most).toFixed(1),
      onclick: () => open(byId.get(line.id)), onmousemove: (e) => tip(e, ...told(of(line))), onmouseleave: (e) => tip(e) });
    wire.style.stroke = `color-mix(in oklab, #b4c6ce, #c8553d ${Math.round(share * 100)}%)`;
    return wire;
  });
  const pills = graph.boxes.map((box) => box.name
    ? make("g", { class: "pill", transform: `translate(${box.x} ${box.y})`, onclick: () => ask(`"${box.name}"`) },
      make("title", {}, box.name), make("rect", { x: -box.w / 2, y: -12, width: box.w, height: 24, rx: 12 }), make("text", {}, cut(box.name, 26)))
    : make("circle", { cx: box.x, cy: box.y, r: 4, fill: "#12343b" }));
  $("graph").replaceChildren(make("svg", { width: graph.width, height: graph.height, viewBox: `0 0 ${graph.width} ${graph.height}` }, ...wires, ...pills));
  $("graph").scrollLeft = (graph.width - $("graph").clientWidth) / 2;
  for (const text of $("graph").querySelectorAll("text")) {
    const room = text.previousSibling.getBBox().width - 12;
    if (text.getComputedTextLength() > room) { text.setAttribute("textLength", room); text.setAttribute("lengthAdjust", "spacingAndGlyphs"); }
  }
  $("scale").replaceChildren(make("span", {}, `width: support, up to ${most} sessions`), make("span", {}, `colour: lift ${point(Math.exp(low), 1)}`, make("i", { class: "ramp" }), point(Math.exp(high), 1)));
}

function drawRules() {
  const rules = records.map((r, n) => [r, n]).filter(([r]) => r.kind === "rule" && inDomain(r));
  if (!rules.length) return $("rules").replaceChildren(make("tr", {}, make("td", { class: "left none" }, "No rules.")));
  const gain = (r) => r.gain ?? -Infinity, most = Math.max(1e-9, ...rules.map(([r]) => Math.abs(r.gain ?? 0)));
  rules.sort((a, b) => gain(b[0]) - gain(a[0]) || a[1] - b[1]);
  const measured = { class: rules.some(([r]) => "gain" in r) ? "gain" : "" };
  const bar = (value) => make("svg", { viewBox: "-50 0 100 12", preserveAspectRatio: "none" },
    make("rect", { x: Math.min(0, 48 * value / most), y: 1, width: Math.abs(48 * value / most), height: 10, fill: value < 0 ? "#c8553d" : "#1f7f8f" }),
    make("line", { x1: 0, x2: 0, y1: 0, y2: 12, stroke: "#5c7480", "stroke-width": 0.5 }));
  const row = ([r, n]) => make("tr", {}, make("td", { class: "left" }, "gain" in r ? signed(r.gain) : make("small", {}, "not measured")),
    make("td", measured, ..."gain" in r ? [bar(r.gain)] : []),
    make("td", { class: "text" }, r.text, r.status === "active" ? null : " ", bad(r)),
    make("td", { class: "left wide" }, make("small", {}, `${r.domain}, ${r.by.teacher}`)),
    make("td", {}, make("button", { class: "chip", onclick: () => open(n) }, "open")));
  const head = make("tr", {}, make("th", { class: "left" }, "gain"), make("th", measured), make("th", { class: "left" }, "rule"), make("th", { class: "left wide" }, "from"), make("th", {}));
  const rest = rules.length - rulesShown;
  const more = rest > 0 ? make("tr", {}, make("td", { class: "left", colspan: 5 }, make("button", { onclick: () => { rulesShown += 100; drawRules(); } }, `Show ${Math.min(100, rest)} more of ${rest}`))) : null;
  $("rules").replaceChildren(head, ...rules.slice(0, rulesShown).map(row), ...[more].filter(Boolean));
}

function nearest(event) {
  const here = $("map").getBoundingClientRect(), spot = [event.clientX - here.left, event.clientY - here.top];
  let best = null, least = 14 ** 2;
  for (const dot of dots) {
    if (dot.classList.contains("off")) continue;
    const { e, f } = dot.transform.baseVal[0].matrix, far = (e - spot[0]) ** 2 + (f - spot[1]) ** 2;
    if (far < least) [best, least] = [+dot.dataset.n, far];
  }
  return best;
}
$("map").addEventListener("mousemove", (event) => { const n = nearest(event); n === null ? tip(event) : tip(event, ...told(records[n])); $("map").style.cursor = n === null ? "" : "pointer"; });
$("map").addEventListener("mouseleave", (event) => tip(event));
$("map").addEventListener("click", (event) => { const n = nearest(event); tip(event); if (n !== null) open(n); });
$("more").addEventListener("click", () => { shown += STEP * 2; drawList(); });
$("q").addEventListener("input", search);
$("q").addEventListener("keydown", (event) => { if (event.key === "Enter") $("records").scrollIntoView({ block: "start" }); });
for (const id of ["kind", "status"]) $(id).addEventListener("change", search);
$("domain").addEventListener("change", () => { drawGraph(); drawRules(); search(); });
domains.forEach((name, place) => $("domain").add(new Option(name || "(no domain)", place + 1)));
$("domain").hidden = domains.length < 2;
let width = 0;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; drawMap(); search(); } });
drawMap();
drawGraph();
drawRules();
search();
