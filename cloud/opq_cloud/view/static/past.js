// Boxes beside one another: the chart is made by the server; here is what stands under the pointer, and by keys.

import { timeBeside } from "./times.js";
import { fixed, utc } from "./words.js";

const DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const HOUR_MS = 3_600_000;
const figure = document.querySelector("figure[data-rows]");
const readout = figure?.querySelector(".readout");
const { rows: address, unit, digits, weeks } = figure?.dataset ?? {};
const [start, end] = [Number(figure?.dataset.start), Number(figure?.dataset.end)];
let asked = null;
let place = -1;

/** Each moment at which a row begins, in order, with the row of each line that has one there. */
function arranged(answer) {
  const moments = new Map();
  for (const line of answer.series) {
    for (const [at, ...values] of line.rows) {
      if (!moments.has(at)) moments.set(at, []);
      moments.get(at).push({ line, values });
    }
  }
  return [...moments].sort(([one], [other]) => one - other);
}

/** The rows behind the chart, asked for when somebody first points at it. */
function moments() {
  asked ??= fetch(address).then(async (answer) => {
    if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
    return arranged(await answer.json());
  });
  return asked;
}

function timeOf(at, stepMs) {
  if (weeks) return `${DAYS[Math.floor(at / (24 * HOUR_MS))]} ${new Date(at).toISOString().slice(11, 16)}, ${weeks}`;
  if (stepMs >= 24 * HOUR_MS) return `${utc(at, 0).slice(0, 10)} UTC`;
  return `${utc(at, 0)} UTC (${timeBeside(new Date(at))})`;
}

function textOf({ line, values }) {
  const [low, mean, high] = values.map((value) => fixed(value, Number(digits)));
  const ends = `${low} to ${high}`;
  return `${mean}\u202f${unit} (${ends})`;
}

async function show(choose) {
  let all;
  try {
    all = await moments();
  } catch (error) {
    asked = null;
    console.warn(error);
    return;
  }
  if (!all.length) return;
  place = Math.min(all.length - 1, Math.max(0, choose(all)));
  const [at, found] = all[place];
  const step = Math.max(...found.map((each) => each.line.step_ms));
  const middle = (Math.max(at, start) + Math.min(at + step, end)) / 2;
  const cursor = figure.querySelector(".cursor");
  for (const side of ["x1", "x2"]) cursor.setAttribute(side, `${(100 * (middle - start)) / (end - start)}%`);
  cursor.setAttribute("visibility", "visible");
  const head = document.createElement("strong");
  head.textContent = timeOf(at, step);
  const lines = found.map((each) => {
    const line = document.createElement("span");
    const name = document.createElement("span");
    name.className = `named key-${each.line.number}`;
    name.textContent = each.line.words;
    line.append(name, ` ${textOf(each)}`);
    return line;
  });
  readout.replaceChildren(head, ...lines);
  readout.classList.toggle("readout-left", middle - start > (end - start) / 2);
  readout.hidden = false;
}

function hide() {
  figure.querySelector(".cursor").setAttribute("visibility", "hidden");
  readout.hidden = true;
}

function nearest(clientX) {
  const box = figure.querySelector(".history-plot").getBoundingClientRect();
  const moment = start + ((clientX - box.left) / box.width) * (end - start);
  return (all) => {
    let best = 0;
    all.forEach(([at, found], k) => {
      const half = found[0].line.step_ms / 2;
      if (Math.abs(at + half - moment) < Math.abs(all[best][0] + half - moment)) best = k;
    });
    return best;
  };
}

function walk(event) {
  const stride = event.shiftKey ? 10 : 1;
  const choose = {
    ArrowRight: () => place + stride,
    ArrowLeft: () => (place < 0 ? Infinity : place - stride),
    Home: () => 0,
    End: () => Infinity,
  }[event.key];
  if (!choose || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  show(choose);
}

if (figure) {
  const plot = figure.querySelector(".history-plot");
  plot.addEventListener("pointermove", (event) => show(nearest(event.clientX)));
  plot.addEventListener("pointerdown", (event) => show(nearest(event.clientX)));
  figure.addEventListener("pointerleave", hide);
  figure.addEventListener("blur", hide);
  figure.addEventListener("keydown", walk);
}
