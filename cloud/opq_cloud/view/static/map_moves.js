// The map by hand: it follows a pointer at once, and where it comes to rest the page of that window is loaded, so
// that the address has it and Back undoes it. The links above the map do the same without this script.

const MIN_KM = 5; // as map_frame.py
const MAX_KM = 40_000;
const WIDTH = 1000;
const HEIGHT = 560;
const MOVED_PX = 5; // less is a click
const REST_MS = 300; // after the last turn of the wheel

const map = document.querySelector(".map-drawing[data-wide]");
const [left, top_, wide, km] = ["left", "top", "wide", "km"].map((name) => Number(map.dataset[name]));
const latitudeOf = (y) => Math.atan(Math.sinh(Math.PI * (1 - 2 * y)));
const equatorKm = km / (wide * Math.cos(latitudeOf(top_ + (wide * HEIGHT) / WIDTH / 2)));
const within = (low, value, high) => Math.min(high, Math.max(low, value));

let view = { x: 0, y: 0, scale: 1 }; // the corner of the viewBox, and its size
let grip = null;
let isMoved = false;
let timer;
const pointers = new Map();

document.documentElement.classList.add("scripted");
map.addEventListener("pointerdown", begin);
map.addEventListener("pointermove", move);
for (const name of ["pointerup", "pointercancel"]) map.addEventListener(name, end);
map.addEventListener("click", (event) => isMoved && event.preventDefault(), { capture: true });
map.addEventListener("dragstart", (event) => event.preventDefault());
map.addEventListener("dblclick", (event) => {
  zoom(event.shiftKey ? 2 : 0.5, event);
  load();
});
map.addEventListener("wheel", turn, { passive: false });
// One finger scrolls the page; two are the map's.
for (const name of ["touchstart", "touchmove"]) map.addEventListener(name, (event) => event.touches.length > 1 && event.preventDefault(), { passive: false });

function begin(event) {
  if (event.button) return;
  pointers.set(event.pointerId, event);
  isMoved = false;
  hold();
}

function hold() {
  const enough = pointers.size > 1 || [...pointers.values()].every((each) => each.pointerType !== "touch");
  grip = pointers.size && enough ? { ...between(), from: view } : null;
}

/** The middle of the pointers, and how far they are apart. */
function between() {
  const [one, other = one] = [...pointers.values()];
  return { x: (one.clientX + other.clientX) / 2, y: (one.clientY + other.clientY) / 2, apart: Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) };
}

function move(event) {
  if (!pointers.has(event.pointerId)) return;
  pointers.set(event.pointerId, event);
  if (!grip) return;
  const now = between();
  if (!isMoved && Math.hypot(now.x - grip.x, now.y - grip.y) + Math.abs(now.apart - grip.apart) < MOVED_PX) return;
  isMoved = true;
  map.setPointerCapture(event.pointerId); // not before: a click would no longer be the link's
  const scale = pointers.size > 1 ? allowed((grip.from.scale * Math.max(8, grip.apart)) / Math.max(8, now.apart)) : grip.from.scale;
  const start = place(grip.x, grip.y, grip.from);
  const moved = place(now.x, now.y, { x: 0, y: 0, scale });
  show({ x: start.x - moved.x, y: start.y - moved.y, scale });
}

function end(event) {
  if (!pointers.delete(event.pointerId)) return;
  hold();
  if (!pointers.size && isMoved) load();
}

function turn(event) {
  if (!event.ctrlKey && !event.shiftKey) return;
  event.preventDefault();
  zoom((event.deltaY || event.deltaX) > 0 ? 1.25 : 0.8, event);
  clearTimeout(timer);
  timer = setTimeout(load, REST_MS);
}

function zoom(factor, event) {
  const scale = allowed(view.scale * factor);
  const here = place(event.clientX, event.clientY, view);
  const then = place(event.clientX, event.clientY, { x: 0, y: 0, scale });
  show({ x: here.x - then.x, y: here.y - then.y, scale });
}

const allowed = (scale) => within(MIN_KM / km, scale, MAX_KM / km);

/** The point of the drawing at a point of the screen. */
function place(x, y, seen) {
  const box = map.getBoundingClientRect();
  return { x: seen.x + ((x - box.left) / box.width) * WIDTH * seen.scale, y: seen.y + ((y - box.top) / box.height) * HEIGHT * seen.scale };
}

function show(next) {
  view = next;
  map.setAttribute("viewBox", `${view.x} ${view.y} ${WIDTH * view.scale} ${HEIGHT * view.scale}`);
}

function load() {
  const x = left + ((view.x + (WIDTH * view.scale) / 2) / WIDTH) * wide;
  const y = top_ + ((view.y + (HEIGHT * view.scale) / 2) / WIDTH) * wide;
  const latitude = within(-1.466, latitudeOf(y), 1.466); // 84 degrees, the edge of the map
  const widthKm = within(MIN_KM, wide * view.scale * equatorKm * Math.cos(latitude), MAX_KM);
  const at = `${((latitude * 180) / Math.PI).toFixed(4)},${within(-180, (x - 0.5) * 360, 180).toFixed(4)}`;
  location.assign(`?${new URLSearchParams({ at, km: widthKm.toFixed(widthKm < 100 ? 1 : 0) })}`);
}
