// The visitor's own time wherever a page names a time in UTC: under the pointer, on focus, on touch, and on request
// beside each time.

const KEPT = "opq-times-beside";
const PLAIN = /^\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d(\.\d+)?)?( UTC)?$|^\d\d:\d\d(:\d\d(\.\d+)?)?$/;
const root = document.documentElement;
const zone = usable(root.dataset.zone) ?? Intl.DateTimeFormat().resolvedOptions().timeZone;
const local = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium", timeZone: zone });
const named = new Intl.DateTimeFormat("en", { timeZone: zone, timeZoneName: "longOffset" });

/** The zone that an account chose, else UTC: axes and forms are in it, and say so. */
export const accountZone = usable(root.dataset.zone) ?? "UTC";
const accountDays = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium", timeZone: accountZone });

/** `2026-11-22 15:02:04` by the account's clock, of seconds since 1970. */
export const accountClock = (t) => accountDays.format(new Date(t * 1000));

/** How far the account's clock is ahead of UTC at a moment, seconds. */
export const aheadS = (t) => Date.parse(`${accountClock(t).replace(" ", "T")}Z`) / 1000 - Math.floor(t);

/** The zone of an account; undefined without one, or if this browser does not know it. */
function usable(name) {
  try {
    return name && new Intl.DateTimeFormat("en", { timeZone: name }).resolvedOptions().timeZone;
  } catch {
    return undefined;
  }
}

/** `GMT+01:00`: of that moment, not of today. */
function offsetOf(date) {
  return named.formatToParts(date).find((part) => part.type === "timeZoneName").value;
}

/** `2026-11-22 15:02:04 in Europe/Zurich, GMT+01:00`: with the offset of that day, not of today. */
export function localTime(date) {
  return `${local.format(date)} in ${zone}, ${offsetOf(date)}`;
}

/** `15:02:04 GMT+01:00`, with its day where that is not the day by UTC. */
export function timeBeside(date) {
  const text = local.format(date);
  const sameDay = text.slice(0, 10) === date.toISOString().slice(0, 10);
  return `${sameDay ? text.slice(11) : text} ${offsetOf(date)}`.replaceAll(" ", "\u00a0");
}

function dateOf(place) {
  const date = new Date(place.dateTime);
  return Number.isNaN(date.getTime()) ? null : date;
}

function show(event) {
  const place = event.target.closest?.("time[datetime]");
  const date = place && dateOf(place);
  if (date) place.title = `${localTime(date)}; ${place.dateTime.replace("T", " ").replace("Z", " UTC")}`;
}

for (const kind of ["pointerover", "pointerdown", "focusin"]) document.addEventListener(kind, show);

/** A text that names its zone, or is not a time of day (`3 min ago`, a running clock), stays as it is. */
function putBeside() {
  waiting = false;
  for (const place of document.querySelectorAll("time[datetime]:not([data-clock])")) {
    const date = PLAIN.test(place.textContent) ? dateOf(place) : null;
    const text = date ? timeBeside(date) : "";
    if ((place.dataset.local ?? "") === text) continue;
    if (text) place.dataset.local = text;
    else delete place.dataset.local;
  }
}

let waiting = false;
const changes = new MutationObserver(() => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(putBeside);
});

function beside(on) {
  root.classList.toggle("times-beside", on);
  changes.disconnect();
  if (!on) return;
  putBeside();
  changes.observe(document.body, { subtree: true, childList: true, characterData: true, attributeFilter: ["datetime"] });
}

/** Whether to show it is stored on this device; an account with a chosen zone shows it from the start. */
function wanted() {
  try {
    return (localStorage.getItem(KEPT) ?? (root.dataset.zone ? "yes" : "no")) === "yes";
  } catch {
    return Boolean(root.dataset.zone);
  }
}

const said = document.querySelector("[data-your-time]");
const box = document.getElementById("times-beside");
if (said && box) {
  const isUtc = ["UTC", "Etc/UTC", "Etc/GMT", "GMT"].includes(zone);
  const where = isUtc ? "Your time zone is UTC." : `Your time zone is ${zone}; point at a time to read it there.`;
  said.textContent = ` ${where}`;
  box.parentElement.hidden = isUtc;
  box.checked = !isUtc && wanted();
  box.addEventListener("change", () => {
    beside(box.checked);
    try {
      localStorage.setItem(KEPT, box.checked ? "yes" : "no");
    } catch {
      // not kept on this device
    }
  });
  if (box.checked) beside(true);
}

// Names of zones for the form that asks for one.
document.getElementById("zones")?.append(...Intl.supportedValuesOf("timeZone").map((name) => new Option("", name)));
