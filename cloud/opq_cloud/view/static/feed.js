// What comes live: from the shared worker that all pages of a browser have together; in a browser without
// shared workers from a stream of the page's own, open while the page is seen.

const NAMES = ["measurement", "incident", "incident_gone", "reporting"];

/**
 * `on[name](data)` for the events of NAMES; `on.open()` and `on.error()` for the connection.
 * `boxes`: the ids of the Boxes that the page shows; null: all that there are.
 */
export function openFeed(after, boxes, on) {
  if (window.SharedWorker) shareFeed(after, boxes, on);
  else ownFeed(after, boxes, on);
}

function shareFeed(after, boxes, on) {
  const port = joinWorker();
  port.onmessage = ({ data: { name, data } }) => on[name]?.(data);
  port.postMessage({ after, boxes });
  window.addEventListener("pagehide", () => port.postMessage({ leave: true }));
}

/**
 * A map's state as it comes, while the page is seen: `take(state)`; `lose()` when the connection is lost.
 * Without shared workers nothing comes: a stream for each map would take a browser's connections.
 * `map`: the query of the map's own address.
 */
export function openMap(after, map, take, lose) {
  if (!window.SharedWorker) return;
  const port = joinWorker();
  port.onmessage = ({ data: { name, data } }) => {
    if (name === "map") take(data);
    if (name === "error") lose();
  };
  const leave = () => port.postMessage({ leave: true });
  const follow = () => (document.hidden ? leave() : port.postMessage({ after, boxes: [], map }));
  document.addEventListener("visibilitychange", follow);
  window.addEventListener("pagehide", leave);
  window.addEventListener("pageshow", ({ persisted }) => persisted && follow());
  follow();
}

function joinWorker() {
  return new SharedWorker("/static/feed_worker.js", `opq-${document.documentElement.dataset.feed}`).port;
}

function ownFeed(after, boxes, on) {
  let source;
  let last = after;
  const follow = () => {
    source?.close();
    if (document.hidden) return;
    source = new EventSource(`/live?after=${encodeURIComponent(last)}&values=${boxes === null ? "*" : boxes.map(encodeURIComponent).join(",")}`);
    source.addEventListener("open", () => on.open());
    source.addEventListener("error", () => on.error());
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
