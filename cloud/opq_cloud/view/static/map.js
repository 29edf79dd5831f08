// Maps: Leaflet draws the outlines of land, or tiles, and places the marks that the page has. After a map was moved,
// the page of its new window is loaded, so that the address has the window and Back undoes the move.

/* global L */

const MIN_KM = 5; // as map_frame.py
const MAX_KM = 40_000;
const KM_PER_DEGREE = 111.195;
const EDGE = 84; // degrees of latitude, the edge of the map
const REST_MS = 300; // after the last turn of the wheel or press of a key
const meets = (one, other) => one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;
const within = (low, value, high) => Math.min(high, Math.max(low, value));

document.documentElement.classList.add("scripted");
for (const place of document.querySelectorAll(".map-drawing")) show(place);

function show(place) {
  const { south, west, north, east, tiles } = place.dataset;
  const marks = [...place.children];
  const moves = "moves" in place.dataset;
  const map = L.map(place, {
    attributionControl: false, // the caption has it
    boxZoom: false,
    doubleClickZoom: moves,
    dragging: moves && !L.Browser.mobile, // one finger scrolls the page, two are the map's
    fadeAnimation: false,
    inertia: false,
    keyboard: moves,
    maxBounds: [[-85, -190], [85, 190]],
    scrollWheelZoom: false,
    touchZoom: moves,
    zoomAnimation: false,
    zoomControl: moves,
    zoomSnap: 0,
  });
  map.fitBounds([[south, west], [north, east]]);
  if (tiles) L.tileLayer(tiles, { maxZoom: 19 }).addTo(map);
  else drawOutlines(map, place.dataset.outlines);
  marks.forEach((mark, number) => addMark(map, mark, number));
  showNames(place, marks);
  if (moves) followHand(map, place);
}

async function drawOutlines(map, address) {
  const answer = await fetch(address);
  if (!answer.ok) return;
  const look = (feature) => ({ className: `map-${feature.properties.kind}` });
  L.geoJSON(await answer.json(), { interactive: false, style: look }).addTo(map).bringToBack();
}

function addMark(map, mark, number) {
  const at = [Number(mark.dataset.lat), Number(mark.dataset.lon)];
  const icon = L.divIcon({ className: "map-icon", html: mark, iconSize: [0, 0] });
  L.marker(at, { icon, interactive: false, keyboard: false, zIndexOffset: number * 1000 }).addTo(map);
  if (mark.dataset.doubtKm) L.circle(at, { className: "map-doubt", interactive: false, radius: mark.dataset.doubtKm * 1000 }).addTo(map);
}

/** Shows the names that have room, those of the most important marks first; the table has all of them. */
function showNames(place, marks) {
  const edge = place.getBoundingClientRect();
  const taken = marks.map((mark) => [mark, mark.firstElementChild.getBoundingClientRect()]);
  for (const mark of marks.toReversed()) {
    const name = mark.querySelector(".map-name");
    if (!name) continue;
    const box = name.getBoundingClientRect();
    const inside = box.left >= edge.left && box.right <= edge.right && box.top >= edge.top && box.bottom <= edge.bottom;
    name.hidden = !inside || taken.some(([owner, other]) => owner !== mark && meets(box, other));
    if (!name.hidden) taken.push([mark, box]);
  }
}

function followHand(map, place) {
  let timer;
  let resized = false; // the end of that move is nobody's
  map.on("resize", () => (resized = true));
  map.on("moveend", () => {
    clearTimeout(timer);
    if (!resized) timer = setTimeout(load, REST_MS, map);
    resized = false;
  });
  place.addEventListener("click", (event) => map.dragging.moved() && event.preventDefault(), { capture: true });
  place.addEventListener("wheel", (event) => turn(map, event), { passive: false });
}

function turn(map, event) {
  if (!event.ctrlKey && !event.shiftKey) return;
  event.preventDefault();
  const step = (event.deltaY || event.deltaX) > 0 ? -0.3 : 0.3;
  map.setZoomAround(map.mouseEventToContainerPoint(event), map.getZoom() + step);
}

function load(map) {
  const middle = map.getCenter();
  const latitude = within(-EDGE, middle.lat, EDGE);
  const wide = map.getBounds().getEast() - map.getBounds().getWest();
  const km = within(MIN_KM, wide * KM_PER_DEGREE * Math.cos((latitude * Math.PI) / 180), MAX_KM);
  const at = `${latitude.toFixed(4)},${within(-180, middle.lng, 180).toFixed(4)}`;
  location.assign(`?${new URLSearchParams({ at, km: km.toFixed(km < 100 ? 1 : 0) })}`);
}
