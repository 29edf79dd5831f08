// The live part of a page: new values in place, new incidents on top. Without this script the
// page stays as it was when it was made.

import { openFeed } from "./feed.js";
import { ago, fixed, lost, reporting, serverNowMs, showStale, stale, state, utc } from "./words.js";

const FRESH_MS = 10_000; // younger than this, a value's age is not worth a word
const SPARK_MS = 300_000;
const UNKNOWN_UNCERTAINTY_NS = 4_294_967_295;
const SPARK_JOINT_MS = 500; // windows less apart than that follow on each other
const NORMAL_PERCENT = [90, 110]; // each scale of the sparklines has at least this, of nominal
const SHOWN_PERCENT = [0, 200]; // and reaches no further
const SPARK_MARGIN = 0.05;
const TOGETHER_MS = 3000; // steady states that began within this are one row
const LISTED_MS = 10_000; // the span of the list to which such a row leads

document.documentElement.classList.add("scripted");
const after = document.querySelector("script[data-after]").dataset.after;
const heard = new Map(); // box id -> { at: performance.now(), silentAfterMs, newestMs, lateMs, clockKnown }
const recent = new Map(); // box id -> [[end_ms, min, mean, max, window_ms], …]
const reached = new Map(); // box id -> its lowest and highest of these, percent of nominal
let filled = false; // whether what was measured before this page is known, or cannot be had
let scale = null; // of all sparklines of the page: bottom and top, percent of nominal

const LOST_AFTER_MS = 5000; // a connection that is back by then was hardly away
let connection = "";
let lostWhy; // View's reason
let lostAt = null;
let saysLost = false;
let backAt = -Infinity; // when a connection was there again
const list = document.querySelector("[data-part-of]"); // one page of many Boxes
// The cards are all Boxes: when a new Box is heard, the page is loaded again.
const showsAll = document.querySelector(".cards, #no-incidents") !== null && !document.querySelector("[data-only-box], [data-part-of]");
const shownBoxes = [...new Set([...document.querySelectorAll("[data-box]")].map((box) => box.dataset.box))];
let reportingNow = null; // how many of all Boxes report, of a page that shows some
openFeed(after, showsAll ? null : shownBoxes, {
  open: () => showConnection("open"),
  error: (why) => showConnection("error", why),
  measurement: showMeasurement,
  incident: showIncident,
  reporting: (now) => (reportingNow = now),
  incident_gone: ({ id }) => removeIncident(id),
});
window.addEventListener("pageshow", (event) => event.persisted && location.reload());
setInterval(showAges, 1000);
fillSparklines();

function showConnection(standing, why) {
  if (standing === "open" && connection === "error") backAt = performance.now();
  connection = standing;
  lostWhy = why;
  lostAt = standing === "error" ? (lostAt ?? performance.now()) : null;
  showFeed();
}

function showFeed() {
  if (!connection) return;
  const feed = document.getElementById("feed");
  const away = connection === "error";
  const others = showsAll ? null : reportingNow;
  const known = heard.size > 0 || others !== null; // until then, what the page was sent with stands
  const silent = known && [...heard.values()].every((last) => reports(last) === false) && !(others && (others.reporting || others.newest_ms === null));
  const text = away ? "Connection lost, trying again" : silent ? "No Box reports" : "Live";
  feed.hidden = false;
  feed.classList.toggle("feed-lost", away || silent);
  if (feed.textContent !== text) feed.textContent = text;
  const lostMs = away ? performance.now() - lostAt : 0;
  if (lostMs > LOST_AFTER_MS) saysLost = true;
  if (lostMs > LOST_AFTER_MS) showStale(lost(lostMs, lostWhy));
  else if (silent && document.querySelector("[data-box]")) showStale(stale(Math.max(others?.newest_ms ?? 0, ...[...heard.values()].map((last) => last.newestMs)), serverNowMs()));
  else if (!away && (known || saysLost)) showStale(null);
}

const isLive = (last) => performance.now() - last.at < last.silentAfterMs;
const isLost = () => lostAt !== null && performance.now() - lostAt > LOST_AFTER_MS;

/** Whether a Box reports; null: not known, because nothing that it sent without a connection is here. */
function reports(last) {
  if (isLost()) return null;
  if (isLive(last)) return true;
  return lostAt !== null || (last.told < backAt && performance.now() - backAt < last.silentAfterMs) ? null : false;
}

function showMeasurement(measurement) {
  const boxes = document.querySelectorAll(`[data-box="${CSS.escape(measurement.box_id)}"]`);
  // A Box that this page does not know yet; the page is loaded again, once.
  if (!boxes.length && showsAll) reloadSoon();
  const { timestamp_ms: timeMs, age_ms: ageMs, silent_after_ms: silentAfterMs, late_ms: lateMs, newest_ms: newestMs } = measurement;
  const before = heard.get(measurement.box_id);
  if (before !== undefined && newestMs < before.newestMs) dropRecent(measurement.box_id, timeMs); // its clock was set back
  // A window may come after a crossing that is later than its end: the voltage of the window is then the older one.
  const overtaken = timeMs < newestMs;
  const clockKnown = (measurement.uncertainty_ns ?? UNKNOWN_UNCERTAINTY_NS) < UNKNOWN_UNCERTAINTY_NS;
  heard.set(measurement.box_id, { at: performance.now() - ageMs, told: performance.now(), silentAfterMs, newestMs, lateMs, clockKnown });
  for (const box of boxes) {
    for (const place of box.querySelectorAll("[data-value][data-digits]")) {
      const { value: name, digits } = place.dataset;
      if (!(overtaken && name === "rms_v")) place.textContent = fixed(measurement[name], Number(digits));
    }
    const percent = box.querySelector('[data-value="percent"]');
    if (percent && !overtaken) percent.textContent = fixed(measurement.rms_v === null ? null : (measurement.rms_v / Number(box.dataset.nominalV)) * 100, 1);
    const time = box.querySelector('[data-value="time"]');
    if (time) {
      time.textContent = utc(newestMs, 0);
      time.dateTime = new Date(newestMs).toISOString();
    }
    showState(box);
  }
  if (measurement.rms_v !== null) {
    const { timestamp_ms, rms_min_v, rms_v, rms_max_v, window_ms } = measurement;
    addRecent(measurement.box_id, [[timestamp_ms, rms_min_v, rms_v, rms_max_v, window_ms]]);
    drawSparklines(measurement.box_id);
  }
}

let reloading = false;
function reloadSoon() {
  if (reloading) return;
  reloading = true;
  setTimeout(() => location.reload(), 1500); // several Boxes usually appear together
}

function showState(box) {
  const place = box.querySelector("[data-state]");
  const last = heard.get(box.dataset.box);
  if (!place || last === undefined) return;
  const ageMs = performance.now() - last.at;
  const live = reports(last);
  place.classList.toggle("state-live", live === true);
  place.classList.toggle("state-silent", live === false);
  place.classList.toggle("state-late", live === true && last.lateMs > 0);
  const text = state(live, ageMs, FRESH_MS, last.lateMs, last.clockKnown);
  if (place.textContent !== text) place.textContent = text;
}

function showAges() {
  const nowMs = serverNowMs();
  for (const place of document.querySelectorAll("[data-ago]")) place.textContent = ago(Number(place.dataset.ago), nowMs);
  for (const box of document.querySelectorAll("[data-box]")) showState(box);
  showFeed();
  showReporting();
}

function showReporting() {
  const place = document.querySelector("[data-reporting]");
  if (place && list && reportingNow) {
    const text = reporting(Number(list.dataset.partOf), isLost() ? null : reportingNow.reporting);
    if (place.textContent !== text) place.textContent = text;
    return;
  }
  const states = document.querySelectorAll(".card [data-state]");
  if (!place || !states.length) return;
  const live = [...states].filter((each) => each.classList.contains("state-live")).length;
  const text = reporting(states.length, isLost() ? null : live);
  if (place.textContent !== text) place.textContent = text;
}

// The list of one Box says what an incident was there; the feed has it as a whole. So the page's own list is read again.
const LIST_MS = 1_000;
let listTimer = null;

function readList(list) {
  listTimer ??= setTimeout(async () => {
    listTimer = null;
    const answer = await fetch(location.pathname).catch(() => null);
    if (!answer?.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("incidents");
    if (!fresh) return;
    list.replaceChildren(...fresh.children);
    document.getElementById("no-incidents").hidden = list.children.length > 0;
  }, LIST_MS);
}

function showIncident(incident) {
  const list = document.getElementById("incidents");
  const template = document.getElementById("incident-row");
  if (list && list.dataset.onlyBox) {
    if (incident.box_ids.includes(list.dataset.onlyBox)) readList(list);
  } else if (list && template) {
    if (isFolded(list, incident)) return;
    const old = list.querySelector(`li[data-incident="${incident.id}"]`);
    const row = template.content.firstElementChild.cloneNode(true);
    row.dataset.incident = incident.id;
    row.dataset.kind = incident.class;
    row.querySelector("a").href = `/incidents/${incident.id}`;
    const tag = row.querySelector(".tag");
    tag.textContent = incident.show.class_words;
    tag.classList.add(`tag-${incident.show.tone}`);
    row.querySelector(".incident-outline").textContent = incident.show.outline;
    const time = row.querySelector("time");
    time.textContent = utc(incident.start_ms, 0);
    time.dateTime = new Date(incident.start_ms).toISOString();
    const age = row.querySelector("[data-ago]");
    age.dataset.ago = Math.floor(incident.start_ms);
    age.textContent = ago(incident.start_ms, serverNowMs());
    if (old) {
      if (old.querySelector(".incident-outline").textContent === incident.show.outline) return;
      old.replaceWith(row);
      if (old.dataset.alike) showAlike(row, old.dataset.alike.split(" "));
    } else {
      const place = (item) => [Date.parse(item.querySelector("time").dateTime), Number(item.dataset.incident)];
      const [start, id] = place(row);
      const below = [...list.children].find((item) => {
        const [itsStart, itsId] = place(item);
        return itsStart < start || (itsStart === start && itsId < id);
      });
      list.insertBefore(row, below ?? null);
    }
    while (list.children.length > Number(list.dataset.limit)) list.lastElementChild.remove();
    document.getElementById("no-incidents").hidden = true;
  }
  const news = document.getElementById("news");
  if (news && !document.querySelector(`tr[data-incident="${incident.id}"]`)) {
    news.hidden = false;
    news.querySelector("a").textContent = `New: ${incident.summary}. Show the newest`;
  }
  const shown = document.getElementById("charts");
  const changed = document.getElementById("changed");
  if (changed && shown.dataset.incident === String(incident.id) && incident.show.fingerprint !== shown.dataset.fingerprint) {
    changed.hidden = false;
  }
}

/** Whether a row already covers this incident: steady states that began together are one row, as on the server. */
function isFolded(list, incident) {
  if (!("folds" in list.dataset) || !incident.show.steady) return false;
  const rows = [...list.children];
  const number = String(incident.id);
  if (rows.some((row) => row.dataset.alike?.split(" ").includes(number))) return true;
  const first = rows.find((row) => row.dataset.kind === incident.class && Math.abs(Date.parse(row.querySelector("time").dateTime) - incident.start_ms) <= TOGETHER_MS);
  if (!first || first.dataset.incident === number) return false;
  showAlike(first, [...(first.dataset.alike?.split(" ") ?? []), number]);
  return true;
}

function showAlike(row, others) {
  const link = row.querySelector("a");
  const what = row.querySelector(".incident-what");
  if (!others.length) {
    what.querySelector(".incident-alike").remove();
    delete row.dataset.alike;
    link.href = `/incidents/${row.dataset.incident}`;
    return;
  }
  const from = Date.parse(row.querySelector("time").dateTime) - TOGETHER_MS;
  const moment = (ms) => new Date(ms).toISOString().slice(0, 19);
  row.dataset.alike = others.join(" ");
  link.href = `/incidents?${new URLSearchParams({ class: row.dataset.kind.split("+")[0], from: moment(from), to: moment(from + LISTED_MS) })}`;
  const place = what.querySelector(".incident-alike") ?? what.appendChild(document.createElement("span"));
  place.className = "incident-alike";
  place.textContent = ` and ${others.length} like it`;
}

/** Removes a row whose incident became part of another one; the incidents that it covered stay. */
function removeIncident(id) {
  for (const row of document.querySelectorAll("li[data-incident]")) {
    const others = row.dataset.alike?.split(" ") ?? [];
    const left = others.filter((each) => each !== String(id));
    if (row.dataset.incident !== String(id)) {
      if (left.length < others.length) showAlike(row, left);
    } else if (left.length) {
      row.dataset.incident = left.shift();
      showAlike(row, left);
    } else row.remove();
  }
}

async function fillSparklines() {
  if (!document.querySelector(".spark-frame")) return;
  try {
    const answer = await fetch("/api/v1/recent");
    if (!answer.ok) throw new Error(String(answer.status));
    for (const [boxId, rows] of Object.entries(await answer.json())) addRecent(boxId, rows);
  } catch (error) {
    console.info("no recent measurements:", error.message); // the line starts with what comes live
  } finally {
    filled = true;
  }
  drawSparklines();
}

function addRecent(boxId, rows) {
  const known = recent.get(boxId) ?? [];
  const times = new Set(known.map((row) => row[0]));
  const all = [...known, ...rows.filter((row) => !times.has(row[0]))].sort((a, b) => a[0] - b[0]);
  const kept = all.filter((row) => row[0] > all[all.length - 1][0] - SPARK_MS);
  recent.set(boxId, kept);
  const nominalV = Number(document.querySelector(`.card[data-box="${CSS.escape(boxId)}"]`)?.dataset.nominalV);
  if (!nominalV) return;
  const percent = (volts) => (volts / nominalV) * 100;
  reached.set(boxId, [percent(Math.min(...kept.map((row) => row[1]))), percent(Math.max(...kept.map((row) => row[3])))]);
}

function dropRecent(boxId, fromMs) {
  recent.set(boxId, (recent.get(boxId) ?? []).filter((row) => row[0] < fromMs));
}

function commonScale() {
  const lows = [...reached.values()].map((each) => each[0]);
  const highs = [...reached.values()].map((each) => each[1]);
  const low = Math.max(SHOWN_PERCENT[0], Math.min(NORMAL_PERCENT[0], ...lows));
  const high = Math.min(SHOWN_PERCENT[1], Math.max(NORMAL_PERCENT[1], ...highs));
  const margin = (high - low) * SPARK_MARGIN;
  return [low - margin, high + margin];
}

/** Draws the line of one Box, or those of all Boxes if their common scale has changed. */
function drawSparklines(boxId) {
  if (!filled) return;
  const before = scale;
  scale = commonScale();
  const same = before !== null && before.every((edge, k) => edge === scale[k]);
  const which = same && boxId !== undefined ? `.card[data-box="${CSS.escape(boxId)}"]` : ".card[data-box]";
  for (const box of document.querySelectorAll(which)) drawSparkline(box, recent.get(box.dataset.box) ?? []);
}

function drawSparkline(box, rows) {
  const svg = box.querySelector("[data-spark]");
  if (!svg) return;
  const [bottom, top] = scale;
  const { width, height } = svg.viewBox.baseVal;
  const place = (percent) => ((top - Math.min(top, Math.max(bottom, percent))) / (top - bottom)) * height;
  const normal = svg.querySelector(".spark-normal");
  normal.setAttribute("y", place(NORMAL_PERCENT[1]).toFixed(1));
  normal.setAttribute("height", (place(NORMAL_PERCENT[0]) - place(NORMAL_PERCENT[1])).toFixed(1));
  if (rows.length < 2) return;
  const low = Math.min(...rows.map((row) => row[1]));
  const high = Math.max(...rows.map((row) => row[3]));
  const first = rows[0][0] - rows[0][4];
  const span = Math.max(1, rows[rows.length - 1][0] - first);
  const x = (t) => (((t - first) / span) * width).toFixed(1);
  const nominalV = Number(box.dataset.nominalV);
  const y = (volts) => place((volts / nominalV) * 100).toFixed(1);
  let line = "";
  let band = "";
  let before = first;
  for (const [end, min, mean, max, length] of rows) {
    const begin = Math.max(end - length, before); // a crossing lies within its window
    line += `${line && begin - before < SPARK_JOINT_MS ? "L" : "M"}${x(begin)},${y(mean)}H${x(end)}`;
    band += `M${x(begin)},${y(max)}H${x(end)}V${y(min)}H${x(begin)}Z`;
    before = end;
  }
  svg.querySelector(".spark-line").setAttribute("d", line);
  svg.querySelector(".spark-band").setAttribute("d", band);
  const note = box.querySelector("[data-spark-note]");
  const seconds = span / 1000;
  const words = seconds < 90 ? `${Math.round(seconds)}\u202fs` : `${Math.round(seconds / 60)}\u202fmin`;
  if (note) note.textContent = `${fixed(low, 1)} to ${fixed(high, 1)}\u202fV in the last ${words}`;
}
