// One event on one time axis. The server draws it; this script moves what is drawn until the new drawing is here.

import { isForPage } from "./keys.js";

const RENEW_AFTER_MS = 120;
const NEAR_PX = 14;
const STEPS = { z: "out", ArrowLeft: "back", ArrowRight: "forward" };
const SHORTEST_MS = 0.5;
let body = document.getElementById("examine");
const embedded = "embedded" in body.dataset; // on an incident's own page, whose address stays
let view = stateOf(body); // what is shown now: start, end, a, b
let active = "A";
let prefix = false;
let timer = 0;
let asked = null;
let chosen = null; // the query of a link whose answer is not shown yet

function stateOf(place) {
  return { start: Number(place.dataset.start), end: Number(place.dataset.end), A: Number(place.dataset.a), B: Number(place.dataset.b) };
}

const words = (ms) => `${String(Math.round(ms * 1e4) / 1e4)}ms`;

/** The query of the next request: what the last link chose, and each move since. */
function address() {
  const drawn = stateOf(body);
  const query = new URLSearchParams(chosen ?? body.dataset.query);
  if (!chosen || view.start !== drawn.start || view.end !== drawn.end) query.set("t", `${words(view.start)}..${words(view.end)}`);
  for (const name of ["A", "B"]) if (!chosen || view[name] !== drawn[name]) query.set(name.toLowerCase(), words(view[name]));
  return query.toString().replaceAll("%2C", ",");
}

/** The query of a link of the drawn page. It keeps moves that are not drawn yet, unless the link moves the span. */
function follow(query) {
  const time = (text) => new URLSearchParams(text).get("t");
  if (time(query) !== time(body.dataset.query)) view = { ...view, start: stateOf(body).start, end: stateOf(body).end };
  chosen = query;
  clearTimeout(timer);
  renew(address());
}

/** Moves everything that has a place in time to its place in the span that is shown. */
function place() {
  const base = stateOf(body);
  const length = view.end - view.start;
  const percent = (t) => Math.min(300, Math.max(-200, ((t - view.start) / length) * 100));
  for (const item of body.querySelectorAll("[data-t]")) {
    const { cursor } = item.parentElement.dataset;
    const t = cursor ? view[cursor] : Number(item.dataset.t);
    const x = `${percent(t)}%`;
    if (item.tagName === "line") {
      item.setAttribute("x1", x);
      item.setAttribute("x2", x);
    } else item.setAttribute("x", x);
    if (item.dataset.t2) item.setAttribute("width", `${Math.max(0.1, percent(Number(item.dataset.t2)) - percent(t))}%`);
  }
  const scale = 1000 / (base.end - base.start);
  for (const item of body.querySelectorAll("[data-trace]")) item.setAttribute("viewBox", `${(view.start - base.start) * scale} 0 ${length * scale} 500`);
}

function moved(keep = false) {
  if (!keep && view.end - view.start < SHORTEST_MS) return;
  body.classList.toggle("moving", view.start !== Number(body.dataset.start) || view.end !== Number(body.dataset.end));
  place();
  asked?.abort(); // its answer would bring the view of before this move back
  clearTimeout(timer);
  timer = setTimeout(() => renew(address()), RENEW_AFTER_MS);
}

/** Requests the part again; the address says what is shown, so Back undoes a move. */
async function renew(query, push = true) {
  asked?.abort();
  const mine = (asked = new AbortController());
  body.classList.add("waiting");
  try {
    const answer = await fetch(`${body.dataset.part}?${query}`, { signal: mine.signal });
    if (!answer.ok) throw new Error(`${answer.url}: ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("examine");
    if (mine !== asked || busy()) return;
    const focused = focusKey();
    const open = [...body.querySelectorAll("details")].map((each) => each.open);
    body.replaceWith(document.adoptNode(fresh));
    body = fresh;
    chosen = null;
    [...body.querySelectorAll("details")].forEach((each, k) => (each.open = open[k] ?? false));
    view = stateOf(body);
    listen();
    focused?.()?.focus({ preventScroll: true });
    if (push && !embedded) history.pushState(null, "", `${body.dataset.here}?${body.dataset.query}`);
  } catch (error) {
    if (mine === asked) body.classList.remove("waiting");
    if (error.name === "AbortError") return;
    chosen = null;
    console.warn(error); // what is there stays, at its place
  }
}

/** A selector that finds the element with the focus again in the new part. */
function focusKey() {
  const has = document.activeElement;
  if (!body.contains(has)) return null;
  for (const selector of ["a", "figure", "input, button", "summary"]) {
    const row = [...body.querySelectorAll(selector)].indexOf(has);
    if (row >= 0) return () => body.querySelectorAll(selector)[row];
  }
  return null;
}

// One pointer moves the span or a cursor, two pinch
const pointers = new Map();
let grip = null;
const busy = () => pointers.size > 0;
const timeAt = (box, x, span) => span.start + ((x - box.left) / box.width) * (span.end - span.start);

function begin(event) {
  if (event.button) return;
  const plot = event.currentTarget;
  plot.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, event.clientX);
  const box = plot.getBoundingClientRect();
  const near = ["A", "B"].map((name) => [Math.abs(((view[name] - view.start) / (view.end - view.start)) * box.width + box.left - event.clientX), name]).sort((one, other) => one[0] - other[0])[0];
  const cursor = !embedded && pointers.size === 1 && near[0] <= NEAR_PX ? near[1] : null;
  if (cursor) active = cursor;
  grip = { box, cursor, from: { ...view }, xs: [...pointers.values()] };
}

function drag(event) {
  if (!pointers.has(event.pointerId) || !grip) return;
  pointers.set(event.pointerId, event.clientX);
  const { box, from } = grip;
  const length = from.end - from.start;
  if (pointers.size > 1) {
    const [one, other] = [...pointers.values()];
    const [first, last] = grip.xs.map((x) => timeAt(box, x, from));
    const wide = Math.max(8, Math.abs(other - one));
    const now = Math.max(SHORTEST_MS, (Math.abs(last - first) / wide) * box.width);
    const middle = (first + last) / 2;
    const share = ((one + other) / 2 - box.left) / box.width;
    view = { ...view, start: middle - share * now, end: middle + (1 - share) * now };
  } else if (grip.cursor) {
    view = { ...view, [grip.cursor]: timeAt(box, event.clientX, from) };
  } else {
    const by = ((grip.xs[0] - event.clientX) / box.width) * length;
    view = { ...view, start: from.start + by, end: from.end + by };
  }
  moved();
}

function end(event) {
  // the last move may belong to a chart that was just replaced
  if (event.type === "pointerup" && pointers.get(event.pointerId) !== event.clientX) drag(event);
  if (!pointers.delete(event.pointerId)) return;
  if (pointers.size) grip = { ...grip, cursor: null, from: { ...view }, xs: [...pointers.values()] };
  else moved();
}

function zoomBy(factor, about = (view.start + view.end) / 2) {
  const length = Math.max(SHORTEST_MS, (view.end - view.start) * factor);
  const share = (about - view.start) / (view.end - view.start);
  view = { ...view, start: about - share * length, end: about + (1 - share) * length };
  moved();
}

function listen() {
  for (const plot of body.querySelectorAll("[data-examine-chart] .history-plot")) {
    plot.addEventListener("pointerdown", begin);
    plot.addEventListener("pointermove", drag);
    for (const name of ["pointerup", "pointercancel"]) plot.addEventListener(name, end);
    plot.addEventListener("dblclick", (event) => zoomBy(event.shiftKey ? 0.5 : 2, timeAt(plot.getBoundingClientRect(), event.clientX, view)));
    plot.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && !event.shiftKey) return;
        event.preventDefault();
        zoomBy((event.deltaY || event.deltaX) > 0 ? 1.25 : 0.8, timeAt(plot.getBoundingClientRect(), event.clientX, view));
      },
      { passive: false },
    );
  }
  for (const figure of body.querySelectorAll("[data-examine-chart]")) figure.addEventListener("keydown", walk);
  for (const link of body.querySelectorAll("[data-go]")) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      follow(new URL(link.href).search.slice(1));
    });
  }
}

/** Arrow keys move the active cursor by a sample, with Shift by a cycle; Home and End to the edges. */
function walk(event) {
  if (prefix) return;
  if (embedded) {
    const go = { ArrowLeft: "back", ArrowRight: "forward", Home: "start", End: "end" }[event.key];
    if (!go) return;
    event.preventDefault();
    body.querySelector(`[data-step-to="${go}"]`).click();
    return;
  }
  const step = Number(event.shiftKey ? body.dataset.cycle : body.dataset.sample);
  const to = { ArrowLeft: view[active] - step, ArrowRight: view[active] + step, Home: view.start, End: view.end }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  view = { ...view, [active]: to };
  moved(true);
}

document.addEventListener("keydown", (event) => {
  if (!isForPage(event)) return;
  const step = prefix ? STEPS[event.key] : null;
  prefix = event.key === "t";
  if (step) {
    event.preventDefault();
    body.querySelector(`[data-step-to="${step}"]`)?.click();
    return;
  }
  const does = {
    "+": () => zoomBy(0.5),
    "-": () => zoomBy(2),
    0: () => body.querySelector('[data-step-to="whole"]')?.click(),
    a: () => (active = "A"),
    b: () => (active = "B"),
    y: () => navigator.clipboard?.writeText(document.getElementById("this-view")?.href ?? location.href),
    u: () => {
      const units = [...body.querySelectorAll("[data-unit]")];
      const now = units.findIndex((each) => each.hasAttribute("aria-current"));
      units[(now + 1) % units.length]?.click();
    },
  }[event.key];
  if (!does) return;
  event.preventDefault();
  does();
});

addEventListener("popstate", () => {
  if (embedded) return;
  chosen = null;
  renew(location.search.slice(1), false);
});
document.documentElement.classList.add("scripted");
listen();
