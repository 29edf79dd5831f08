// Keeps map, grid and wall up to date: writes the words and tones of the state into the page each second. The live
// feed sends the state to the map and the grid; a page that has had no state for some seconds requests it. The page
// never has more than a fixed number of rows, so it can stay open for weeks.

import { openMap } from "./feed.js";
import { lost, serverNowMs, showStale } from "./words.js";

const EVERY_MS = 1000;
const SENT_MS = 4000; // so long after a state was sent none is asked for
const LATER_MS = [2000, 5000, 10_000, 30_000]; // after 1, 2, 3, more answers that did not come
const GIVE_UP_MS = 15_000;
const RELOAD_AFTER_MS = 20_000; // a page loads itself again no sooner than this after it was loaded

const root = document.querySelector("[data-live-state]");
const stays = document.body.classList.contains("bare"); // a wall: it has no reader who loads it again
const began = performance.now();
let missed = 0;
let lostAt = null;
let sentAt = -Infinity;
let timer;

document.documentElement.classList.add("scripted");
look();
document.addEventListener("visibilitychange", () => document.hidden || again(0));
if (root.querySelector("[data-clock]")) setInterval(showClock, 1000);
if (stays) keepAwake();
if (root.dataset.after !== undefined) openMap(root.dataset.after, root.dataset.liveState.split("?")[1] ?? "", take, () => (sentAt = -Infinity));

function take(state) {
  sentAt = performance.now();
  showNow(state);
}

function showNow(state) {
  showState(state);
  missed = 0;
  lostAt = null;
  showFeed(state.silent ? "No Box reports" : "Live", state.silent);
  showStale(state.silent ? ["No Box reports now.", "Figures appear here again as soon as a Box reports."] : null);
}

async function look() {
  if (performance.now() - sentAt < SENT_MS) return again(EVERY_MS);
  try {
    const answer = await fetch(root.dataset.liveState, { cache: "no-cache", signal: AbortSignal.timeout(GIVE_UP_MS) });
    if (answer.redirected || answer.status === 401) return reload(); // signed out
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    showNow(await answer.json());
  } catch (error) {
    missed += 1;
    lostAt ??= performance.now();
    showFeed("Connection lost, trying again", true);
    if (missed > 1) showStale(lost(performance.now() - lostAt));
    console.info("no state:", error.message);
  }
  again(missed ? LATER_MS[Math.min(missed, LATER_MS.length) - 1] : EVERY_MS);
}

function again(inMs) {
  clearTimeout(timer);
  if (document.hidden && !stays) return; // it goes on when the page is seen
  timer = setTimeout(look, inMs);
}

/** Writes a state into the page; the tests of a wall that is open for weeks call it too. */
export function showState(state) {
  put(root.querySelector("[data-summary]"), state.summary);
  const measured = root.querySelector("[data-measured-together]");
  if (measured) {
    put(measured, state.measured);
    measured.hidden = !state.measured;
    measured.className = measuredTone(state.measured_tone);
  }
  for (const place of root.querySelectorAll("[data-figure]")) put(place, state.figures[place.dataset.figure] ?? "–");
  for (const row of root.querySelectorAll("[data-row]")) {
    const mark = state.marks[row.dataset.row];
    if (!mark) continue;
    for (const cell of row.querySelectorAll("[data-cell]")) put(cell, mark[cell.dataset.cell]);
    row.querySelector("[data-cell='measured']").className = measuredTone(mark.measured_tone);
  }
  const marks = root.querySelectorAll("[data-mark]");
  for (const place of marks) if (state.marks[place.dataset.mark]) showMark(place, state.marks[place.dataset.mark]);
  for (const list of root.querySelectorAll("[data-incident-list]")) showIncidents(list, state.incidents);
  const other = root.querySelector(".map-drawing") && (marks.length !== Object.keys(state.marks).length || [...marks].some((place) => !state.marks[place.dataset.mark]));
  if (other || (stays && state.version !== root.dataset.version)) reload();
}

const measuredTone = (tone) => (tone ? `measured measured-${tone}` : "measured");

function showMark(place, mark) {
  const shape = place.querySelector(".map-shape");
  const tone = `map-shape map-${mark.tone}`;
  if (shape.getAttribute("class") !== tone) {
    shape.setAttribute("class", tone);
    shape.setAttribute("d", mark.shape);
  }
  if (place.title !== mark.text) place.title = mark.text;
}

function showIncidents(list, incidents) {
  const rows = incidents.slice(0, Number(list.dataset.incidentList));
  const shown = JSON.stringify(rows);
  if (list.dataset.shown === shown) return;
  const first = list.dataset.shown === undefined;
  list.dataset.shown = shown;
  if (first && list.children.length === rows.length) return; // as the server made it
  list.parentElement.querySelector("[data-no-incidents]")?.toggleAttribute("hidden", rows.length > 0);
  list.replaceChildren(...rows.map((row) => incidentRow(row, "linked" in list.dataset)));
}

function incidentRow(incident, linked) {
  const item = document.createElement("li");
  item.className = "incident";
  const row = document.createElement(linked ? "a" : "div");
  row.className = "incident-row";
  if (linked) row.href = incident.href;
  const when = part("incident-when", incident.when, "time");
  when.dateTime = `${incident.when.replace(" ", "T")}Z`;
  row.append(
    part(`tag tag-${incident.tone}`, incident.class_words),
    part("incident-what", incident.scope ? `${incident.outline} (${incident.scope})` : incident.outline),
    when,
  );
  item.append(row);
  return item;
}

function part(name, text, kind = "span") {
  const place = document.createElement(kind);
  place.className = name;
  place.textContent = text;
  return place;
}

function put(place, text) {
  if (place && text !== undefined && place.textContent !== text) place.textContent = text;
}

function showFeed(text, lost) {
  const feed = document.getElementById("feed");
  if (!feed) return;
  feed.hidden = false;
  feed.classList.toggle("feed-lost", lost);
  put(feed, text);
}

function showClock() {
  put(root.querySelector("[data-clock]"), new Date(serverNowMs()).toISOString().slice(11, 19));
}

let reloading = false;
function reload() {
  if (reloading) return;
  reloading = true;
  setTimeout(() => location.reload(), Math.max(0, RELOAD_AFTER_MS - (performance.now() - began)));
}

/** Keeps a wall's screen on where the browser allows it; a page that was hidden has to request it again. */
function keepAwake() {
  const ask = () => navigator.wakeLock?.request("screen").catch(() => {});
  ask();
  document.addEventListener("visibilitychange", () => document.hidden || ask());
}
