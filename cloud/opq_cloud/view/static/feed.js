// The live feed of a page: from the shared worker of all pages of a browser. A browser without shared workers
// opens a stream for each page, while the page is seen.


const NAMES = ["measurement", "incident", "incident_gone", "reporting"];
const AGAIN_MS = 60_000; // a page leads to itself once in so long: never round and round
const REFUSED_MS = 10_000; // a refused stream is not tried again by the browser
const GOING_MS = 5000; // what the visitor just chose comes first
const made = document.documentElement.dataset.feed; // for whom the page was made, and for what they saw
let goingAt = -Infinity;
let leads = false;
window.addEventListener("beforeunload", () => (goingAt = performance.now()));

/**
 * The page was made for another visitor, or shows more than this visitor may see: its content is removed. Only a page
 * that is seen leads on: if one browser loads several forms to sign in at once, only the last one is valid.
 */
function leave() {
  for (const part of document.body.children) part.hidden = true;
  if (document.hidden) return document.addEventListener("visibilitychange", leave, { once: true });
  if (!leads) setTimeout(lead, Math.max(0, goingAt + GOING_MS - performance.now()));
  leads = true;
}

function lead() {
  const here = location.pathname + location.search;
  const signedIn = document.querySelector('form[action="/sign-out"]') !== null;
  const address = signedIn ? `/sign-in?ended=true&next=${encodeURIComponent(here)}` : here;
  const before = sessionStorage.getItem("opq-led");
  sessionStorage.setItem("opq-led", Date.now());
  if (before === null || Date.now() - before > AGAIN_MS) return location.replace(address);
  const note = document.body.appendChild(document.createElement("p"));
  note.className = "wrap";
  note.append("This page is not shown to you any more: your session has ended, or what you may see has changed.", " ");
  note.appendChild(Object.assign(document.createElement("a"), { href: address, textContent: "Go on" }));
  setTimeout(() => location.replace(address), AGAIN_MS); // a display on a wall has nobody who goes on
}

/**
 * `on[name](data)` for the events of NAMES; `on.open()` and `on.error(why)` for the connection, with View's reason
 * where its place went to another visitor. `after`: the newest incident that the page knows; null or empty: it gets only new ones. `boxes`: the ids of the Boxes that the page shows; null: all.
 */
export function openFeed(after, boxes, on) {
  if (window.SharedWorker) shareFeed(after, boxes, on);
  else ownFeed(after, boxes, on);
}

function shareFeed(after, boxes, on) {
  const port = joinWorker();
  port.onmessage = ({ data: { name, data } }) => (name === "ended" ? leave() : on[name]?.(data));
  const enter = () => port.postMessage({ after, boxes });
  window.addEventListener("pagehide", () => port.postMessage({ leave: true }));
  window.addEventListener("pageshow", ({ persisted }) => persisted && enter());
  enter();
}

/**
 * The state of a map while the page is seen: `take(state)` for each state; `lose()` when the connection is lost.
 * Without shared workers no state comes, because a stream for each map would use up a browser's connections.
 * `map`: the query of the map's own address.
 */
export function openMap(after, map, take, lose) {
  if (!window.SharedWorker) return;
  const port = joinWorker();
  port.onmessage = ({ data: { name, data } }) => {
    if (name === "map") take(data);
    if (name === "error") lose();
    if (name === "ended") leave();
  };
  const part = () => port.postMessage({ leave: true });
  const follow = () => (document.hidden ? part() : port.postMessage({ after, boxes: [], map }));
  document.addEventListener("visibilitychange", follow);
  window.addEventListener("pagehide", part);
  window.addEventListener("pageshow", ({ persisted }) => persisted && follow());
  follow();
}

function joinWorker() {
  return new SharedWorker("/static/feed_worker.js", `opq-${made}`).port;
}

function ownFeed(after, boxes, on) {
  let source;
  let last = after;
  let again;
  let why;
  const follow = () => {
    clearTimeout(again);
    source?.close();
    if (document.hidden) return;
    source = new EventSource(`/live?after=${encodeURIComponent(last ?? "")}&values=${boxes === null ? "*" : boxes.map(encodeURIComponent).join(",")}&feed=${made}`);
    source.addEventListener("open", () => {
      why = undefined;
      on.open();
    });
    source.addEventListener("full", (event) => (why = JSON.parse(event.data).reason));
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) again = setTimeout(follow, REFUSED_MS);
      on.error(why);
    });
    source.addEventListener("ended", () => {
      source.close();
      leave();
    });
    for (const name of NAMES) {
      source.addEventListener(name, (event) => {
        if (event.lastEventId) last = event.lastEventId;
        on[name](JSON.parse(event.data));
      });
    }
  };
  document.addEventListener("visibilitychange", follow);
  window.addEventListener("pagehide", () => source?.close());
  follow();
}
