// Numbers and times as the server writes them (view/words.py).

export const UNKNOWN = "–";

export function fixed(value, digits) {
  if (value === null || value === undefined || !Number.isFinite(value)) return UNKNOWN;
  const [whole, part] = Math.abs(value).toFixed(digits).split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, "\u202f");
  return `${value < 0 ? "\u2212" : ""}${grouped}${part ? `.${part}` : ""}`;
}

export function utc(ms, digits) {
  const text = new Date(Math.floor(ms)).toISOString().replace("T", " ");
  return digits ? text.slice(0, 20 + digits) : text.slice(0, 19);
}

export function ago(ms, nowMs) {
  const seconds = Math.floor((nowMs - ms) / 1000);
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${seconds}\u202fs ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}\u202fmin ago`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)}\u202fh ago`;
  return `${Math.floor(seconds / 86400)} days ago`;
}

export function age(seconds) {
  if (seconds < 90) return `${seconds}\u202fs`;
  if (seconds < 90 * 60) return `${Math.floor(seconds / 60)}\u202fmin`;
  return seconds < 48 * 3600 ? `${Math.floor(seconds / 3600)}\u202fh` : `${Math.floor(seconds / 86400)} days`;
}

/** `live` null: without a connection it is not known. */
export function state(live, ageMs, freshMs) {
  const words = age(Math.floor(ageMs / 1000));
  if (live === null) return `${words} old`;
  if (!live) return `Silent for ${words}`;
  return ageMs < freshMs ? "Live" : `Live, ${words} old`;
}

export function reporting(count, live) {
  const boxes = `${count} Box${count === 1 ? "" : "es"}`;
  if (live === null) return `${boxes}; without a connection it is not known which report.`;
  if (live === count) return `${boxes}, ${count === 1 ? "and it reports" : "all of them reporting"}.`;
  return `${boxes}, ${live || "none"} of them reporting now.`;
}

/** What a page says of values that no longer move: [what, what follows], as `words.stale` of the server. */
export function stale(newestMs, nowMs) {
  return ["No Box reports now.", `The newest value is ${age(Math.max(0, Math.floor((nowMs - newestMs) / 1000)))} old: what stands here is from then.`];
}

/** The same where the page itself has lost View. */
export function lost(sinceMs) {
  return ["The connection to View is lost.", `It is tried again; what stands here is ${age(Math.floor(sinceMs / 1000))} old or older.`];
}

const title = document.title;

/** Shows or hides the banner of a page whose values do not move, and marks its tab. */
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
