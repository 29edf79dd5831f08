// Plays an incident's way over the map: play and pause, step by step, by pointer or keyboard. Without this script
// the page shows the same as small pictures and a table.


const PLAYED_MS = 8000;
const STILL_STEP_MS = 1000; // with reduced motion each arrival stands so long, and nothing moves between them

const root = document.querySelector("[data-spread]");
if (root) start(root);

function start(place) {
  document.documentElement.classList.add("scripted");
  const controls = place.querySelector(".spread-controls");
  const slider = controls.querySelector("input");
  const said = controls.querySelector("output");
  const play = controls.querySelector('[data-do="play"]');
  const marks = [...place.querySelectorAll("[data-arrival]")];
  const rows = [...document.querySelectorAll("[data-arrived]")];
  const times = [...new Set(marks.map((mark) => Number(mark.dataset.afterMs)))].sort((a, b) => a - b);
  const lastsMs = Math.max(Number(place.dataset.lastsMs), 1e-6);
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let atMs = lastsMs;
  let playing = 0; // what cancels it

  controls.hidden = false;
  controls.addEventListener("click", ({ target }) => doIt(target.dataset.do));
  slider.addEventListener("input", () => {
    pause();
    show((slider.value / 1000) * lastsMs);
  });
  place.addEventListener("keydown", (event) => {
    const from = event.target;
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (from === slider && event.key !== " ") return; // its own keys
    if (from.tagName === "BUTTON" && event.key === " ") return;
    const done = { " ": "play", ArrowRight: "on", ArrowDown: "on", ArrowLeft: "back", ArrowUp: "back", Home: "first", End: "last" }[event.key];
    if (!done) return;
    event.preventDefault();
    doIt(done);
  });
  document.addEventListener("visibilitychange", () => document.hidden && pause());
  show(lastsMs);

  function doIt(what) {
    if (what === "play") return playing ? pause() : begin();
    pause();
    if (what === "on") show(times.find((time) => time > atMs + 1e-9) ?? lastsMs);
    if (what === "back") show(times.findLast((time) => time < atMs - 1e-9) ?? 0);
    if (what === "first") show(0);
    if (what === "last") show(lastsMs);
  }

  function begin() {
    if (atMs >= lastsMs) show(0);
    play.textContent = "Pause";
    play.setAttribute("aria-pressed", "true");
    if (still.matches) {
      const timer = setInterval(() => step(times.find((time) => time > atMs + 1e-9) ?? lastsMs), STILL_STEP_MS);
      playing = () => clearInterval(timer);
      return;
    }
    let before = performance.now();
    let frame = requestAnimationFrame(function draw(now) {
      step(Math.min(lastsMs, atMs + ((now - before) / PLAYED_MS) * lastsMs));
      before = now;
      if (playing) frame = requestAnimationFrame(draw);
    });
    playing = () => cancelAnimationFrame(frame);
  }

  function step(ms) {
    show(ms);
    if (ms >= lastsMs) pause();
  }

  function pause() {
    if (playing) playing();
    playing = 0;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
  }

  function show(ms) {
    atMs = ms;
    slider.value = Math.round((ms / lastsMs) * 1000);
    let reached = 0;
    for (const mark of marks) {
      const come = Number(mark.dataset.afterMs) <= ms + 1e-9;
      reached += come;
      mark.classList.toggle("spread-waits", !come);
    }
    for (const row of rows) row.classList.toggle("spread-now", Number(row.dataset.arrived) === reached);
    slider.setAttribute("aria-valuetext", `${ms.toFixed(1)} ms`);
    const text = `${reached} of ${marks.length} Boxes`;
    place.dataset.reached = reached;
    if (said.textContent !== text) said.textContent = text;
  }
}
