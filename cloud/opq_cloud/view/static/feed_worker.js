// The live feed of all open pages of one browser: a shared worker with one event stream, of the Boxes that they
// show. Over HTTP/1.1 a browser opens six connections to a host; with a stream per page the seventh never loads.

const INCIDENTS_KEPT = 200;
const AGAIN_MS = 10_000; // a refused stream is not tried again by the browser
const FEWER_MS = 60_000; // pages that left: their Boxes are asked for so much longer
const MAP_FRESH_MS = 3000;
const ADDRESS_LENGTH = 1800; // View takes 2048 bytes; beyond, the pages that opened first are not sent values
const MAX_MAPS = 3; // of different windows; the map that opened first asks for its state itself
const pages = new Map(); // port -> { boxes: Set of the ids that it shows, or null: all; map: its window's query }
const maps = new Map(); // window's query -> { state, at }
const newest = new Map(); // box id -> { measurement, at }
const incidents = new Map(); // incident id -> incident, the oldest first
const streams = new Set(); // the newest, and while that one connects the one before it
let source; // the newest
let shown; // what the stream is asked for: Set of ids, or null: all
let windows = []; // and of maps
let reporting; // the last of these
let standing; // the last message of the connection: { name: "open" or "error", data: why }
let why; // View's reason, where this browser's place went to another visitor
let first; // the incident after which the first page was made; null: it gets only new ones
let waiting;

self.onconnect = (event) => {
  const [page] = event.ports;
  page.onmessage = ({ data }) => ("after" in data ? enter(page, data) : leave(page));
};

function enter(page, { after, boxes, map }) {
  const wanted = boxes === null ? null : new Set(boxes);
  pages.delete(page); // a map that is seen again is the newest
  pages.set(page, { boxes: wanted, map });
  if (!source) {
    first = after ? Number(after) : null;
    connect();
    return;
  }
  if (standing) page.postMessage(standing);
  for (const [id, incident] of incidents) if (after && id > Number(after)) page.postMessage({ name: "incident", data: incident });
  if (reporting) page.postMessage({ name: "reporting", data: reporting });
  for (const { measurement, at } of newest.values()) {
    const ageMs = measurement.age_ms + performance.now() - at;
    if (shows(wanted, measurement.box_id)) page.postMessage({ name: "measurement", data: { ...measurement, age_ms: ageMs } });
  }
  if (map !== undefined && performance.now() - (maps.get(map)?.at ?? -Infinity) < MAP_FRESH_MS) page.postMessage({ name: "map", data: maps.get(map).state });
  const moreBoxes = shown !== null && (wanted === null || [...wanted].some((box) => !shown.has(box)));
  if (moreBoxes || (map !== undefined && !windows.includes(map))) connect();
}

function leave(page) {
  pages.delete(page);
  clearTimeout(waiting);
  waiting = setTimeout(() => (pages.size ? fewer() && connect() : stop()), FEWER_MS);
}

function fewer() {
  const now = together();
  return mapsTogether().length < windows.length || (now !== null && (shown === null || now.size < shown.size));
}

/** No page is seen: the next page begins as the first one did. */
function stop() {
  for (const each of streams) end(each);
  source = reporting = standing = why = undefined;
  newest.clear();
  incidents.clear();
  maps.clear();
}

const shows = (wanted, box) => wanted === null || wanted.has(box);

/** What all pages show together, the newest page first; null: all Boxes. */
function together() {
  const all = new Set();
  let length = 0;
  for (const { boxes: wanted } of [...pages.values()].reverse()) {
    if (wanted === null) return null;
    for (const box of wanted) {
      if (all.has(box)) continue;
      length += encodeURIComponent(box).length + 1;
      if (length > ADDRESS_LENGTH) return all;
      all.add(box);
    }
  }
  return all;
}

/** Windows of the maps that all pages show, of the newest pages first. */
function mapsTogether() {
  const all = new Set([...pages.values()].reverse().map(({ map }) => map));
  all.delete(undefined);
  return [...all].slice(0, MAX_MAPS);
}

/** Opens a stream of what the pages show now. The stream before it ends after this one has begun: nothing is missed. */
function connect() {
  clearTimeout(waiting);
  shown = together();
  windows = mapsTogether();
  for (const map of maps.keys()) if (!windows.includes(map)) maps.delete(map);
  for (const box of newest.keys()) if (!shows(shown, box)) newest.delete(box);
  const after = incidents.size || first !== null ? Math.max(first, ...incidents.keys()) : "";
  const values = shown === null ? "*" : [...shown].map(encodeURIComponent).join(",");
  const drawn = windows.map((map) => `&map=${encodeURIComponent(map)}`).join("");
  const opened = new EventSource(`/live?after=${after}&values=${values}${drawn}&feed=${self.name.slice("opq-".length)}`);
  source = opened;
  streams.add(opened);
  opened.addEventListener("open", () => {
    for (const other of streams) if (other !== opened) end(other);
    why = undefined;
    announce("open");
  });
  opened.addEventListener("full", (event) => (why = JSON.parse(event.data).reason));
  opened.addEventListener("error", () => {
    const refused = opened.readyState === EventSource.CLOSED;
    if (refused) end(opened);
    if (![...streams].some((each) => each.readyState === EventSource.OPEN)) announce("error", why);
    if (refused && source === opened) setTimeout(() => source === opened && connect(), AGAIN_MS);
  });
  opened.addEventListener("ended", over);
  for (const name of ["measurement", "incident", "incident_gone", "reporting"]) {
    opened.addEventListener(name, (event) => hand(name, JSON.parse(event.data)));
  }
  opened.addEventListener("map", (event) => draw(JSON.parse(event.data)));
}

/** The pages were made for another visitor than the stream now has: nothing that is stored here is for them. */
function over() {
  for (const page of pages.keys()) page.postMessage({ name: "ended" });
  pages.clear();
  stop();
}

function draw({ map, state }) {
  if (!windows.includes(map)) return; // of the stream before
  maps.set(map, { state, at: performance.now() });
  for (const [page, wanted] of pages) if (wanted.map === map) page.postMessage({ name: "map", data: state });
}

function end(stream) {
  stream.close();
  streams.delete(stream);
}

function announce(name, data) {
  standing = { name, data };
  for (const page of pages.keys()) page.postMessage(standing);
}

function hand(name, data) {
  if (name === "measurement") newest.set(data.box_id, { measurement: data, at: performance.now() });
  if (name === "reporting") reporting = data;
  if (name === "incident_gone") incidents.delete(data.id);
  if (name === "incident") {
    incidents.set(data.id, data);
    if (incidents.size > INCIDENTS_KEPT) incidents.delete(incidents.keys().next().value);
  }
  for (const [page, { boxes: wanted }] of pages) {
    if (name !== "measurement" || shows(wanted, data.box_id)) page.postMessage({ name, data });
  }
}
