// Any span of a Box: the charts are made by the server; here are readout, keys, and renewal while live.

import { fetchJson } from "./charts.js";
import { isForPage } from "./keys.js";
import { timeBeside } from "./times.js";
import { fixed } from "./words.js";

const RENEW_MS = 30_000;
const STEPS = { z: "out", ArrowLeft: "back", ArrowRight: "forward" };
let body = document.getElementById("history-body");
let trend = null;
let place = -1;
let prefix = false;

/** The rows behind the charts, asked for when somebody first points at one. */
function rows() {
  trend ??= fetchJson(body.dataset.trend).then((answer) => answer.rows);
  return trend;
}

function time(row) {
  const iso = new Date(row.start_ms).toISOString();
  if (Number(body.dataset.step) >= 86_400_000) return `${iso.slice(0, 10)} UTC`;
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC (${timeBeside(new Date(row.start_ms))})`;
}

async function show(figure, choose) {
  let all;
  try {
    all = await rows();
  } catch (error) {
    trend = null;
    console.warn(error);
    return;
  }
  const { metric, digits, unit, factor = 1 } = figure.dataset;
  const shown = all.filter((row) => row[metric]);
  if (!shown.length || !figure.isConnected) return;
  place = Math.min(shown.length - 1, Math.max(0, choose(shown)));
  const row = shown[place];
  const { start, end, step } = body.dataset;
  const middle = (Math.max(row.start_ms, start) + Math.min(row.start_ms + Number(step), end)) / 2;
  for (const cursor of body.querySelectorAll(".cursor")) {
    const x = `${(100 * (middle - start)) / (end - start)}%`;
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.setAttribute("visibility", "visible");
  }
  const [low, mean, high] = row[metric].map((value) => fixed(value * factor, Number(digits)));
  const ends = `${low} to ${high}`;
  const readout = figure.querySelector(".readout");
  readout.hidden = false;
  readout.textContent = `${time(row)}   ${mean}\u202f${unit} (${ends})`;
}

function hide() {
  for (const cursor of body.querySelectorAll(".cursor")) cursor.setAttribute("visibility", "hidden");
  for (const readout of body.querySelectorAll(".readout")) readout.hidden = true;
}

function nearest(figure, clientX) {
  const box = figure.querySelector(".history-plot").getBoundingClientRect();
  const { start, end, step } = body.dataset;
  const moment = Number(start) + ((clientX - box.left) / box.width) * (end - start) - step / 2;
  return (shown) => {
    let best = 0;
    shown.forEach((row, k) => {
      if (Math.abs(row.start_ms - moment) < Math.abs(shown[best].start_ms - moment)) best = k;
    });
    return best;
  };
}

function walk(figure, event) {
  const stride = event.shiftKey ? 10 : 1;
  const choose = {
    ArrowRight: () => place + stride,
    ArrowLeft: () => (place < 0 ? Infinity : place - stride),
    Home: () => 0,
    End: () => Infinity,
  }[event.key];
  if (!choose || prefix) return;
  event.preventDefault();
  show(figure, choose);
}

function listen() {
  for (const figure of body.querySelectorAll("figure")) {
    figure.addEventListener("pointermove", (event) => show(figure, nearest(figure, event.clientX)));
    figure.addEventListener("pointerleave", hide);
    figure.addEventListener("blur", hide);
    figure.addEventListener("keydown", (event) => walk(figure, event));
  }
}

/** `t` and then `z`, left or right: zoom out, back, forward. */
document.addEventListener("keydown", (event) => {
  if (!isForPage(event)) return;
  const step = prefix ? STEPS[event.key] : null;
  prefix = event.key === "t";
  if (!step) return;
  event.preventDefault();
  body.querySelector(`[data-step-to="${step}"]`)?.click();
});

/** Renewed while it ends now, nobody works in it and the page is seen. */
async function renew() {
  const used = body.contains(document.activeElement) || body.matches(":hover") || body.querySelector("details[open]");
  if (document.hidden || used) return;
  try {
    const answer = await fetch(body.dataset.history);
    if (!answer.ok) throw new Error(`${body.dataset.history}: ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("history-body");
    body.replaceWith(document.adoptNode(fresh));
    body = fresh;
    trend = null;
    place = -1;
    listen();
  } catch (error) {
    console.warn(error); // the chart that is there stays, with its time
  }
}

listen();
if (body.dataset.live) setInterval(renew, RENEW_MS);
