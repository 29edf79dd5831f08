// The command palette: a dialog with a combobox over a listbox (WAI-ARIA APG, combobox with listbox popup).
// It finds what `/search` finds; without JavaScript that page answers.


const WAIT_MS = 120; // after the last letter
const GIVE_UP_MS = 10_000;

let dialog;
let field;
let list;
let status;
let asked = 0; // the number of the newest question: an older answer is dropped
let timer;
let chosen = -1;

export function openPalette() {
  if (!dialog) build();
  if (dialog.open) return;
  field.value = "";
  dialog.showModal();
  field.focus();
  look();
}

function build() {
  dialog = element("dialog", { className: "palette", id: "palette" });
  dialog.setAttribute("aria-label", "Search");
  field = element("input", { type: "search", id: "palette-field", maxLength: 100, autocomplete: "off", spellcheck: false });
  field.placeholder = "Box, place, #incident, page, action";
  for (const [name, value] of Object.entries({ role: "combobox", "aria-label": field.placeholder, "aria-controls": "palette-list", "aria-expanded": "true", "aria-autocomplete": "list" })) {
    field.setAttribute(name, value);
  }
  list = element("ul", { id: "palette-list" });
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Found");
  status = element("p", { className: "palette-status" });
  status.setAttribute("role", "status");
  const keys = element("p", { className: "palette-keys", textContent: "↑ ↓ choose, Enter opens, Esc closes" });
  keys.setAttribute("aria-hidden", "true");
  dialog.append(field, list, status, keys);
  document.body.append(dialog);
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(look, WAIT_MS);
  });
  field.addEventListener("keydown", walk);
  list.addEventListener("mousemove", (event) => choose([...list.children].indexOf(event.target.closest("li"))));
  list.addEventListener("click", (event) => go(event.target.closest("li")));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // its backdrop
}

function element(name, values) {
  return Object.assign(document.createElement(name), values);
}

async function look() {
  const number = ++asked;
  const text = field.value.trim();
  try {
    const answer = await fetch(`/search/found?q=${encodeURIComponent(text)}`, { signal: AbortSignal.timeout(GIVE_UP_MS) });
    if (answer.status === 401) return location.assign("/sign-in");
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const { items } = await answer.json();
    if (number === asked) show(items, text);
  } catch (error) {
    if (number !== asked) return;
    show([], text);
    status.textContent = "The search does not answer now. Type again, or try later.";
    console.info("no search:", error.message);
  }
}

function show(items, text) {
  list.replaceChildren(...items.map(option));
  list.hidden = items.length === 0;
  field.setAttribute("aria-expanded", String(items.length > 0));
  status.textContent = items.length ? `${items.length} found` : `Nothing found for “${text}”`;
  dialog.dataset.shown = text;
  chosen = -1;
  choose(text ? 0 : -1);
}

function option(item, number) {
  const row = element("li", { id: `palette-${number}` });
  row.setAttribute("role", "option");
  row.setAttribute("aria-selected", "false");
  row.dataset.path = item.path;
  row.append(element("span", { className: "palette-words", textContent: item.words }), " ");
  if (item.detail) row.append(element("span", { className: "palette-detail", textContent: item.detail }), " ");
  row.append(element("span", { className: "palette-kind", textContent: item.kind }));
  return row;
}

function choose(number) {
  const rows = list.children;
  if (!rows[number] && number !== -1) return;
  rows[chosen]?.setAttribute("aria-selected", "false");
  chosen = number;
  field.removeAttribute("aria-activedescendant");
  if (number < 0) return;
  rows[number].setAttribute("aria-selected", "true");
  field.setAttribute("aria-activedescendant", rows[number].id);
  rows[number].scrollIntoView({ block: "nearest" });
}

function walk(event) {
  const count = list.children.length;
  if (event.key === "ArrowDown") choose(chosen + 1 < count ? chosen + 1 : 0);
  else if (event.key === "ArrowUp") choose(chosen > 0 ? chosen - 1 : count - 1);
  else if (event.key === "Enter") enter();
  else if (event.key === "Escape") dialog.close(); // a search field would first empty itself
  else return;
  event.preventDefault();
}

/** Opens what is chosen; without a choice, or while an answer is on its way, the page of the search. */
function enter() {
  const text = field.value.trim();
  if (chosen >= 0 && dialog.dataset.shown === text) go(list.children[chosen]);
  else location.assign(`/search?q=${encodeURIComponent(text)}`);
}

function go(row) {
  if (!row) return;
  dialog.close();
  location.assign(row.dataset.path);
}
