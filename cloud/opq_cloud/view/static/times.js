// The time of whoever looks, at hand wherever a page names one in UTC: under the pointer, on focus, on touch.

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const local = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium", timeZone: zone });
const named = new Intl.DateTimeFormat("en", { timeZone: zone, timeZoneName: "longOffset" });

/** `2026-11-22 15:02:04 in Europe/Zurich, GMT+01:00`: with the offset of that day, not of today. */
export function localTime(date) {
  const offset = named.formatToParts(date).find((part) => part.type === "timeZoneName").value;
  return `${local.format(date)} in ${zone}, ${offset}`;
}

function show(event) {
  const place = event.target.closest?.("time[datetime]");
  if (!place) return;
  const date = new Date(place.dateTime);
  if (!Number.isNaN(date.getTime())) place.title = `${localTime(date)}; ${place.dateTime.replace("T", " ").replace("Z", " UTC")}`;
}

for (const kind of ["pointerover", "pointerdown", "focusin"]) document.addEventListener(kind, show);
const said = document.querySelector("[data-your-time]");
if (said) said.textContent = ` Yours is ${zone}; point at a time to read it there.`;
