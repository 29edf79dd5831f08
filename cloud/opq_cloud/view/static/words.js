// Numbers and times as the server writes them (view/words.py), in the language of the page.

import { _, ngettext } from "./texts.js";

export const UNKNOWN = "–";
const [load] = performance.getEntriesByType("navigation");
const madeMs = performance.timeOrigin + (load?.responseStart || performance.now()); // scripts may come seconds later
const serverLeadMs = Number(document.documentElement.dataset.nowMs) - madeMs;

/** The server's time, by what the page says it is and when its first byte came. */
export function serverNowMs() {
  return Date.now() + serverLeadMs;
}

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
  if (seconds < 5) return _("just now");
  if (seconds < 60) return _("%(age)s ago", { age: `${seconds}\u202fs` });
  if (seconds < 3600) return _("%(age)s ago", { age: `${Math.floor(seconds / 60)}\u202fmin` });
  if (seconds < 48 * 3600) return _("%(age)s ago", { age: `${Math.floor(seconds / 3600)}\u202fh` });
  return ngettext("%(num)d day ago", "%(num)d days ago", Math.floor(seconds / 86400));
}

export function age(seconds) {
  if (seconds < 90) return `${seconds}\u202fs`;
  if (seconds < 90 * 60) return `${Math.floor(seconds / 60)}\u202fmin`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)}\u202fh`;
  return ngettext("%(num)d day", "%(num)d days", Math.floor(seconds / 86400));
}

/** `live` null: without a connection it is not known; `clockKnown`: there is a bound of its clock's error. */
export function state(live, ageMs, freshMs, lateMs, clockKnown) {
  const words = { age: age(Math.floor(ageMs / 1000)) };
  if (live === null) return _("%(age)s old", words);
  if (!live) return _("Silent for %(age)s", words);
  const late = { age: age(Math.floor(lateMs / 1000)) };
  if (lateMs) return clockKnown ? _("Late by %(age)s", late) : _("Late by %(age)s, by its clock", late);
  return ageMs < freshMs ? _("Live") : _("Live, %(age)s old", words);
}

export function reporting(count, live) {
  if (live === null) return ngettext("%(num)d Box; without a connection it is not known which report.", "%(num)d Boxes; without a connection it is not known which report.", count);
  if (live === count) return ngettext("%(num)d Box, and it reports.", "%(num)d Boxes, all of them reporting.", count);
  if (!live) return ngettext("%(num)d Box, none of them reporting now.", "%(num)d Boxes, none of them reporting now.", count);
  return ngettext("%(num)d Box, %(live)d of them reporting now.", "%(num)d Boxes, %(live)d of them reporting now.", count, { live });
}

/** What a page says of values that no longer move: [what, what follows], as `words.stale` of the server. */
export function stale(newestMs, nowMs) {
  const old = age(Math.max(0, Math.floor((nowMs - newestMs) / 1000)));
  return [_("No Box reports now."), _("The newest value is %(age)s old: what stands here is from then.", { age: old })];
}

/** The same where the page itself has lost View. */
export function lost(sinceMs) {
  const old = age(Math.floor(sinceMs / 1000));
  return [_("The connection to View is lost."), _("It is tried again; what stands here is %(age)s old or older.", { age: old })];
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
