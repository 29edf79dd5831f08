// Numbers and times as the server writes them (view/web/words.py).

export const UNKNOWN = "–";
const [load] = performance.getEntriesByType("navigation");
const madeMs = performance.timeOrigin + (load?.responseStart || performance.now()); // scripts may come seconds later
const serverLeadMs = Number(document.documentElement.dataset.nowMs) - madeMs;

/** The server's time: the time in the page and what has passed since its first byte came. */
export function serverNowMs() {
  return Date.now() + serverLeadMs;
}

export function fixed(value, digits) {
  if (value === null || value === undefined || !Number.isFinite(value)) return UNKNOWN;
  const [whole, part] = Math.abs(value).toFixed(digits).split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, "\u202f");
  return `${value < 0 && /[1-9]/.test(whole + part) ? "\u2212" : ""}${grouped}${part ? `.${part}` : ""}`;
}

export function utc(ms, digits) {
  const text = new Date(Math.floor(ms)).toISOString().replace("T", " ");
  return digits ? text.slice(0, 20 + digits) : text.slice(0, 19);
}

/** `1 day`, `3 days`. */
export function counted(count, one, many) {
  return `${count} ${count === 1 ? one : many}`;
}

export function ago(ms, nowMs) {
  const seconds = Math.floor((nowMs - ms) / 1000);
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${seconds}\u202fs ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}\u202fmin ago`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)}\u202fh ago`;
  return `${counted(Math.floor(seconds / 86400), "day", "days")} ago`;
}

export function age(seconds) {
  if (seconds < 90) return `${seconds}\u202fs`;
  if (seconds < 90 * 60) return `${Math.floor(seconds / 60)}\u202fmin`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)}\u202fh`;
  return counted(Math.floor(seconds / 86400), "day", "days");
}

/** `live` is null without a connection: not known; `clockKnown`: the clock's error has a bound. */
export function state(live, ageMs, freshMs, lateMs, clockKnown) {
  const old = age(Math.floor(ageMs / 1000));
  if (live === null) return `${old} old`;
  if (!live) return `Silent for ${old}`;
  const late = age(Math.floor(lateMs / 1000));
  if (lateMs) return clockKnown ? `Late by ${late}` : `Late by ${late}, by its clock`;
  return ageMs < freshMs ? "Live" : `Live, ${old} old`;
}

export function reporting(count, live) {
  const boxes = counted(count, "Box", "Boxes");
  if (live === null) return `${boxes}; without a connection it is not known which report.`;
  if (live === count) return `${boxes}, ${count === 1 ? "and it reports" : "all of them reporting"}.`;
  return `${boxes}, ${live || "none"} of them reporting now.`;
}

/** Why the values of a page no longer change: [fact, consequence], as `words.stale` of the server. */
export function stale(newestMs, nowMs) {
  const old = age(Math.max(0, Math.floor((nowMs - newestMs) / 1000)));
  return ["No Box reports now.", `The newest value is ${old} old: the figures here are from then.`];
}

/** The same for a page that has lost its connection to View. `why`: View's reason, if it gave one. */
export function lost(sinceMs, why) {
  const old = age(Math.floor(sinceMs / 1000));
  const reason = why ? `${why} ` : "";
  return ["The connection to View is lost.", `${reason}This page tries again; its figures are ${old} old or older.`];
}

const title = document.title;

/** Shows or hides the banner of a page whose values do not change, and marks its tab. */
export function showStale(words) {
  const place = document.getElementById("stale");
  if (!place) return;
  document.documentElement.classList.toggle("is-stale", words !== null);
  const named = words === null ? title : `\u25b3 ${title}`;
  if (document.title !== named) document.title = named;
  place.hidden = words === null;
  if (words === null || place.textContent === words.join(" ")) return;
  const loud = document.createElement("strong");
  loud.textContent = words[0];
  place.setAttribute("aria-live", place.textContent.startsWith(words[0]) ? "off" : "polite"); // its age is no news
  place.replaceChildren(loud, ` ${words[1]}`);
}
