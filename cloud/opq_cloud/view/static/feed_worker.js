// The live feed of all open pages of one browser: a shared worker with one event stream.
// Over HTTP/1.1 a browser opens six connections to a host; with a stream per page the seventh never loads.

const INCIDENTS_KEPT = 200;
const AGAIN_MS = 10_000; // a refused stream is not tried again by the browser
const pages = new Set(); // ports
const newest = new Map(); // box id -> { measurement, at }
const incidents = new Map(); // incident id -> incident, the oldest first
let source;
let standing; // the last thing known of the connection: "open" or "error"

self.onconnect = (event) => {
  const [page] = event.ports;
  page.onmessage = ({ data }) => ("after" in data ? enter(page, data.after) : pages.delete(page));
};

function enter(page, after) {
  pages.add(page);
  if (!source) {
    connect(after);
    return;
  }
  if (standing) page.postMessage({ name: standing });
  for (const [id, incident] of incidents) if (id > Number(after)) page.postMessage({ name: "incident", data: incident });
  for (const { measurement, at } of newest.values()) {
    const ageMs = measurement.age_ms + performance.now() - at;
    page.postMessage({ name: "measurement", data: { ...measurement, age_ms: ageMs } });
  }
}

function connect(after) {
  source = new EventSource(`/live?after=${encodeURIComponent(after)}`);
  source.addEventListener("open", () => announce("open"));
  source.addEventListener("error", () => {
    announce("error");
    if (source.readyState === EventSource.CLOSED) {
      const last = Math.max(Number(after), ...incidents.keys());
      setTimeout(connect, AGAIN_MS, String(last));
    }
  });
  for (const name of ["measurement", "incident", "incident_gone"]) {
    source.addEventListener(name, (event) => hand(name, JSON.parse(event.data)));
  }
}

function announce(name) {
  standing = name;
  for (const page of pages) page.postMessage({ name });
}

function hand(name, data) {
  if (name === "measurement") newest.set(data.box_id, { measurement: data, at: performance.now() });
  if (name === "incident_gone") incidents.delete(data.id);
  if (name === "incident") {
    incidents.set(data.id, data);
    if (incidents.size > INCIDENTS_KEPT) incidents.delete(incidents.keys().next().value);
  }
  for (const page of pages) page.postMessage({ name, data });
}
