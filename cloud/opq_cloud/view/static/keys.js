// Keys of every page: `/` finds, `?` lists the keys, `g` and a letter goes to a page, `[` `]` and `j` `k` move.
// Single keys can be turned off (WCAG 2.2, 2.1.4); then the links of the page do the same.

import { openPalette } from "./palette.js";

const OFF = "opq-keys-off";
const SECOND_KEY_MS = 1500;
const PLACES = { b: "/", i: "/incidents", p: "/past", c: "/past?show=verdicts", r: "/report", m: "/map", g: "/past?of=grid:" };
const ROWS = "main :is(.list th[scope=row] a, .incidents a, .found a, .card h2 a)";

let wentAt = -Infinity;

/** Whether single keys do something on this device. */
export function keysAreOn() {
  try {
    return localStorage.getItem(OFF) === null;
  } catch {
    return true; // a browser that keeps nothing
  }
}

/** Whether a key is for the page: no field or dialog has the focus and no other key is held. */
export function isForPage(event) {
  const taken = event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing;
  const { target } = event;
  return !taken && !target.closest?.("input, select, textarea, [contenteditable], dialog") && keysAreOn();
}

document.addEventListener("keydown", (event) => {
  if (!isForPage(event)) return;
  const second = performance.now() - wentAt < SECOND_KEY_MS;
  wentAt = -Infinity;
  if (second && PLACES[event.key]) location.assign(PLACES[event.key]);
  else if (event.key === "/") openPalette();
  else if (event.key === "?") showKeys();
  else if (event.key === "g") wentAt = performance.now();
  else if (event.key === "[") return follow("prev");
  else if (event.key === "]") return follow("next");
  else if (event.key === "j" || event.key === "k") return move(event.key === "j" ? 1 : -1);
  else return;
  event.preventDefault();
});

for (const link of document.querySelectorAll("[data-search]")) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    openPalette();
  });
}
for (const place of document.querySelectorAll("[data-keys]")) {
  place.hidden = false;
  place.addEventListener("click", showKeys);
}

function follow(rel) {
  document.querySelector(`main a[rel~="${rel}"]`)?.click();
}

/** Focus goes to the next row of the page's lists. */
function move(step) {
  const rows = [...document.querySelectorAll(ROWS)].filter((row) => row.offsetParent !== null);
  const here = rows.indexOf(document.activeElement);
  rows[here < 0 ? (step > 0 ? 0 : rows.length - 1) : here + step]?.focus();
}

function showKeys() {
  const dialog = document.getElementById("keys");
  const box = dialog.querySelector("[name=keys-on]");
  box.checked = keysAreOn();
  box.onchange = () => {
    try {
      if (box.checked) localStorage.removeItem(OFF);
      else localStorage.setItem(OFF, "yes");
    } catch (error) {
      console.info("not kept:", error.message);
    }
  };
  if (!dialog.open) dialog.showModal();
}
