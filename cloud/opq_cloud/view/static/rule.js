// The editor of a rule: what the engine says of it, while somebody types. Without it the button Check does the same.
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
