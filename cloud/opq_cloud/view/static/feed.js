// What comes live: from the shared worker that all pages of a browser have together; in a browser without
// shared workers from a stream of the page's own, open while the page is seen.

const NAMES = ["measurement", "incident", "incident_gone"];

/** `on[name](data)` for measurement, incident and incident_gone; `on.open()` and `on.error()` for the connection. */
export function openFeed(after, on) {
  if (window.SharedWorker) shareFeed(after, on);
  else ownFeed(after, on);
}

function shareFeed(after, on) {
  const { port } = new SharedWorker("/static/feed_worker.js", `opq-${document.documentElement.dataset.feed}`);
  port.onmessage = ({ data: { name, data } }) => on[name](data);
  port.postMessage({ after });
  window.addEventListener("pagehide", () => port.postMessage({ leave: true }));
}

function ownFeed(after, on) {
  let source;
  let last = after;
  const follow = () => {
    source?.close();
    if (document.hidden) return;
    source = new EventSource(`/live?after=${encodeURIComponent(last)}`);
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
