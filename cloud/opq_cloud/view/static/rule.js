// The editor of a rule: what the engine says of it, while somebody types. Without it the button Check does the same.
import { counted } from "./words.js";
import { localClock } from "./times.js";

const form = document.getElementById("rule");
const verdict = document.getElementById("verdict");
const PAUSE_MS = 400;
let timer = 0;
let asked = 0;

async function check() {
  const mine = ++asked;
  const body = new URLSearchParams(new FormData(form));
  try {
    const answer = await fetch(verdict.dataset.check, { method: "POST", body });
    const said = answer.ok ? await answer.json() : { valid: false, text: `View answers ${answer.status}.` };
    if (mine !== asked) return; // somebody went on typing
    const place = said.line ? `Line ${said.line}, column ${said.column}: ` : "";
    verdict.textContent = place + said.text;
    verdict.className = `verdict-line ${said.valid ? "verdict-good" : "verdict-bad"}`;
  } catch {
    if (mine === asked) verdict.textContent = "View does not answer; what is typed was not checked.";
  }
}

if (form && verdict) {
  form.addEventListener("input", (event) => {
    if (!event.target.matches("textarea, #id")) return;
    clearTimeout(timer);
    timer = setTimeout(check, PAUSE_MS);
  });
}

// Rows as they come, while the page is open: begun and ended by the button.
const button = document.getElementById("rows-button");
const said = document.getElementById("rows-said");
const list = document.getElementById("rows-list");
const SHOWN_ROWS = 50;
let source = null;
let count = 0;
let passedOver = 0;
let resting = "";

function addRow([atMs, text]) {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  const time = document.createElement("time");
  const date = new Date(atMs);
  time.dateTime = date.toISOString();
  time.textContent = localClock(date);
  head.append(time);
  const cell = document.createElement("td");
  const code = document.createElement("code");
  code.textContent = text;
  cell.append(code);
  row.append(head, cell);
  list.prepend(row);
  while (list.rows.length > SHOWN_ROWS) list.lastElementChild.remove();
}

function end(text) {
  source?.close();
  source = null;
  button.textContent = "Show them live";
  said.textContent = text;
}

function say() {
  const rows = counted(count, "row", "rows");
  const shown = passedOver ? `${rows}, ${passedOver} of them not shown` : rows;
  const what = count ? shown : "No row yet";
  said.textContent = (resting || "Live.") + ` ${what}.`;
}

function begin() {
  count = passedOver = 0;
  resting = "";
  list.replaceChildren();
  document.getElementById("rows-frame").hidden = false;
  button.textContent = "Stop";
  say();
  source = new EventSource(button.dataset.rows);
  source.addEventListener("rows", (event) => {
    const given = JSON.parse(event.data);
    count += given.rows.length + given.passed_over;
    passedOver += given.passed_over;
    given.rows.forEach(addRow);
    say();
  });
  source.addEventListener("state", (event) => {
    resting = JSON.parse(event.data).text;
    say();
  });
  source.addEventListener("end", (event) => end(JSON.parse(event.data).text));
  source.onerror = () => end("They cannot be had now: the rule engine does not answer, or too many pages read rows.");
}

if (button) {
  button.hidden = false;
  button.addEventListener("click", () => (source ? end(`Stopped after ${counted(count, "row", "rows")}.`) : begin()));
}
