// Any span of the past: charts from the rows in the page, with one crosshair. A drag along chooses a span, a drag up
// or down chooses values. The page is renewed while its span ends now.

/* global uPlot */

import { axis, chart, colour, failed, readout } from "./charts.js";
import { isForPage } from "./keys.js";
import { accountClock, accountZone, aheadS, timeBeside } from "./times.js";
import { fixed, utc } from "./words.js";

const RENEW_MS = 30_000;
const DAY_S = 86_400;
const LEAST_DRAG_PX = 8;
const DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const STEPS = { z: "out", ArrowLeft: "back", ArrowRight: "forward" };
const narrow = matchMedia("(max-width: 44rem)");
let prefix = false;
let plots = [];

const iso = (t) => new Date(t * 1000).toISOString();

/** Each moment at which a row of any line begins, and what each line has there: mean, low, high, row. */
function columns(series) {
  const times = [...new Set(series.flatMap((line) => line.at))].sort((one, other) => one - other);
  const places = new Map(times.map((at, k) => [at, k]));
  const data = [times.map((at) => at / 1000)];
  for (const line of series) {
    for (const values of [line.mean, line.low, line.high]) {
      const column = new Array(times.length).fill(null);
      line.at.forEach((at, k) => (column[places.get(at)] = values[k]));
      data.push(column);
    }
  }
  return data;
}

/** Draws each row as a bar from lowest to highest with the mean as a step; no line is slanted. */
function drawRows(plot, series) {
  const { ctx, bbox } = plot;
  const x = (ms) => Math.round(plot.valToPos(ms / 1000, "x", true));
  const y = (value) => plot.valToPos(value, "y", true);
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  [...series].reverse().forEach((line, back) => {
    const hue = colour(`series-${series.length - 1 - back}`);
    const flagged = new Set(line.flagged);
    ctx.fillStyle = hue;
    line.at.forEach((at, k) => {
      const [left, right] = [x(at), Math.max(x(at + line.step), x(at) + 1)];
      const [top, bottom] = [y(line.high[k]), y(line.low[k])];
      ctx.globalAlpha = (flagged.has(k) ? 0.12 : 0.3) / (series.length > 2 ? 1.5 : 1);
      ctx.fillRect(left, top, right - left, Math.max(bottom - top, devicePixelRatio));
    });
    ctx.globalAlpha = 1;
    ctx.strokeStyle = hue;
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.beginPath();
    let end = null;
    line.at.forEach((at, k) => {
      const [left, level] = [x(at), y(line.mean[k])];
      if (end !== null && Math.abs(left - end) <= 1) ctx.lineTo(left, level);
      else ctx.moveTo(left, level);
      end = Math.max(x(at + line.step), left + 1);
      ctx.lineTo(end, level);
    });
    ctx.stroke();
  });
  ctx.restore();
}

/** Hatches spans that no line measured, and, with a closer hatch, flagged rows. */
function hatch(plot, spans, stroke, apart) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  for (const [start, end] of spans) {
    const [left, right] = [start, end].map((ms) => Math.min(Math.max(plot.valToPos(ms / 1000, "x", true), bbox.left), bbox.left + bbox.width));
    ctx.rect(left, bbox.top, Math.max(right - left, 1), bbox.height);
  }
  ctx.clip();
  ctx.strokeStyle = stroke;
  ctx.lineWidth = 1.5 * devicePixelRatio;
  ctx.beginPath();
  for (let x = bbox.left - bbox.height; x < bbox.left + bbox.width; x += apart * devicePixelRatio) {
    ctx.moveTo(x, bbox.top + bbox.height);
    ctx.lineTo(x + bbox.height, bbox.top);
  }
  ctx.stroke();
  ctx.restore();
}

/** The common parts of the gaps of all lines. */
function commonGaps(series) {
  return series.map((line) => line.gaps).reduce((common, others) =>
    common.flatMap(([start, end]) =>
      others.map(([from, to]) => [Math.max(start, from), Math.min(end, to)]).filter(([from, to]) => from < to)));
}

/** A lane for each line at the foot of the chart, hatched where it has a gap, if not all have. */
function drawLanes(plot, series) {
  if (series.length < 2) return;
  const { ctx, bbox } = plot;
  const tall = 5 * devicePixelRatio;
  series.forEach((line, k) => {
    ctx.fillStyle = colour(`series-${k}`);
    for (const [start, end] of line.gaps) {
      const [left, right] = [start, end].map((ms) => Math.min(Math.max(plot.valToPos(ms / 1000, "x", true), bbox.left), bbox.left + bbox.width));
      const top = bbox.top + bbox.height - (k + 1) * (tall + devicePixelRatio);
      for (let x = left; x < right; x += 4 * devicePixelRatio) ctx.fillRect(x, top, 2 * devicePixelRatio, tall);
    }
  });
}

/** The right end of a label of this width at this height: beside those that are there; null where no room is left. */
function besideOthers(plot, labels, top, width) {
  const { left, width: across } = plot.bbox;
  const near = labels.filter((each) => Math.abs(each.top - top) < 13 * devicePixelRatio);
  const right = Math.min(left + across - 4, ...near.map((each) => each.left - 12 * devicePixelRatio));
  if (right - width < left) return null;
  labels.push({ top, left: right - width });
  return right;
}

function drawLines(plot, { nominal, limits, unit }, marks) {
  const { ctx, bbox } = plot;
  const labels = [];
  ctx.save();
  ctx.font = `${11 * devicePixelRatio}px sans-serif`;
  ctx.textAlign = "right";
  const across = [...limits.map(([value, words]) => [value, `${fixed(value, 2).replace(/\.?0+$/, "")}\u202f${unit}, ${words}`, "bad"]), ...(nominal === null ? [] : [[nominal, "", "ink-quiet"]])];
  for (const [value, words, ink] of across) {
    const level = plot.valToPos(value, "y", true);
    if (level < bbox.top || level > bbox.top + bbox.height) continue;
    ctx.strokeStyle = ctx.fillStyle = colour(ink);
    ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.lineWidth = devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(bbox.left, level);
    ctx.lineTo(bbox.left + bbox.width, level);
    ctx.stroke();
    const top = level - 4 * devicePixelRatio;
    const right = words ? besideOthers(plot, labels, top, ctx.measureText(words).width) : null;
    if (right !== null) ctx.fillText(words, right, top);
  }
  ctx.setLineDash([]);
  ctx.lineWidth = 2 * devicePixelRatio;
  for (const [ms, tone] of marks) {
    const x = plot.valToPos(ms / 1000, "x", true);
    ctx.strokeStyle = colour(tone);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + 10 * devicePixelRatio);
    ctx.stroke();
  }
  ctx.restore();
}

/** What Mauka found to have changed: a line at a step, a band over what took longer, with its number of the list. */
function drawChanges(plot, { changes }) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.fillStyle = ctx.strokeStyle = colour("accent");
  ctx.font = `bold ${12 * devicePixelRatio}px sans-serif`;
  ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
  for (const [number, start, end] of changes) {
    const [left, right] = [start, end].map((ms) => Math.min(Math.max(plot.valToPos(ms / 1000, "x", true), bbox.left), bbox.left + bbox.width));
    ctx.globalAlpha = 0.12;
    ctx.fillRect(left, bbox.top, right - left, bbox.height);
    ctx.globalAlpha = 1;
    ctx.beginPath();
    ctx.moveTo(left, bbox.top);
    ctx.lineTo(left, bbox.top + bbox.height);
    ctx.stroke();
    ctx.fillText(`${number}`, left + 3 * devicePixelRatio, bbox.top + 12 * devicePixelRatio);
  }
  ctx.restore();
}

/** Words of moments: only the first and the first of each new day have a date. */
function labels(splits, increment, weeks) {
  let date = "";
  return splits.map((t) => {
    if (weeks) return increment < DAY_S ? `${DAYS[Math.floor(t / DAY_S)] ?? ""} ${iso(t).slice(11, 16)}` : (DAYS[Math.floor(t / DAY_S)] ?? "");
    const at = accountClock(t);
    const [year, month, of] = at.slice(0, 10).split("-").map(Number);
    const day = `${of} ${MONTHS[month - 1]}${increment >= 28 * DAY_S ? ` ${year}` : ""}`;
    const clock = at.slice(11, increment < 60 ? 19 : 16);
    const words = increment >= DAY_S ? day : day === date ? clock : `${clock}\n${day}`;
    date = day;
    return words;
  });
}

/** Whole steps of the account's clock. */
function splitsOf(low, high, increment) {
  const found = [];
  for (let step = Math.ceil((low + aheadS(low)) / increment); ; step += 1) {
    const t = step * increment - aheadS(step * increment - aheadS(low));
    if (t > high) return found;
    if (t >= low) found.push(t);
  }
}

function timeOf(t, stepMs, weeks) {
  if (weeks) return `${DAYS[Math.floor(t / DAY_S)]} ${iso(t).slice(11, 16)}, ${weeks}`;
  if (stepMs >= DAY_S * 1000) return `${iso(t).slice(0, 10)} UTC`;
  if (accountZone !== "UTC") return `${accountClock(t)} ${accountZone}`;
  return `${utc(t * 1000, 0)} UTC${narrow.matches ? "" : ` (${timeBeside(new Date(t * 1000))})`}`;
}

function written(plot, k, item, weeks) {
  const { series, digits, unit } = item;
  const lines = series.flatMap((line, place) => {
    const [mean, low, high] = [1, 2, 3].map((part) => plot.data[3 * place + part][k]);
    if (mean === null || mean === undefined) return [];
    const flagged = line.flagged.includes(line.at.indexOf(Math.round(plot.data[0][k] * 1000))) ? ", flagged" : "";
    const ends = narrow.matches ? "" : ` (${fixed(low, digits)} to ${fixed(high, digits)}${flagged})`;
    return [`${series.length > 1 ? `${line.words}: ` : ""}${fixed(mean, digits)}${unit ? `\u202f${unit}` : ""}${ends}`];
  });
  if (!lines.length) return "";
  return [timeOf(plot.data[0][k], Math.max(...series.map((line) => line.step)), weeks), ...lines].join("\n");
}

function bounds({ series, digits }) {
  const every = series.flatMap((line) => [...line.low, ...line.high]).filter((value) => value !== null);
  const [low, high] = [every.reduce((a, b) => Math.min(a, b)), every.reduce((a, b) => Math.max(a, b))];
  const pad = Math.max((high - low) * 0.1, 4 * 10 ** -digits);
  return [low - pad, high + pad];
}

/** A drag along chooses a new span, a drag up or down chooses values. */
function chosen(plot, weeks, show) {
  const { left, top, width, height } = plot.select;
  if (height < plot.over.clientHeight - 1 && height > LEAST_DRAG_PX) {
    show(plot.posToVal(top + height, "y"), plot.posToVal(top, "y"));
  } else if (width > LEAST_DRAG_PX && !weeks) {
    const [from, to] = [left, left + width].map((px) => Math.round(plot.posToVal(px, "x") * 1000));
    const address = new URL(location.href);
    address.searchParams.delete("zone"); // the moments below are in UTC
    address.searchParams.set("from", utc(from, 0).replace(" ", "T"));
    address.searchParams.set("to", utc(Math.max(to, from + 10_000), 0).replace(" ", "T"));
    location.assign(address);
  }
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
}

function draw(place, item, facts) {
  const { start, end, weeks, marks } = facts;
  const whole = bounds(item);
  const tools = place.closest("figure").querySelector(".past-tools");
  const how = (low, high) => (low === whole[0] && high === whole[1] ? "" : `${fixed(low, item.digits)} to ${fixed(high, item.digits)}${item.unit ? `\u202f${item.unit}` : ""}`);
  let seen = whole;
  const show = (low, high) => {
    seen = [low, high];
    tools.querySelector("output").textContent = how(low, high);
    plot.setScale("y", { min: low, max: high });
  };
  const zoom = (step) => {
    const pad = (seen[1] - seen[0]) * ({ in: 0.25, out: -0.5 }[step] ?? 0);
    show(...(step === "all" ? whole : [seen[0] + pad, seen[1] - pad]));
  };
  const gaps = commonGaps(item.series);
  const flagged = item.series.flatMap((line) => line.flagged.map((k) => [line.at[k], line.at[k] + line.step]));
  const hidden = { show: true, points: { show: false }, paths: () => null };
  const plot = chart(
    place,
    {
      padding: [14, 38, 0, 0],
      cursor: { drag: { x: true, y: true, uni: 30, setScale: false }, sync: { key: "past", setSeries: false }, points: { show: false }, bind: { dblclick: () => () => zoom("all") } },
      scales: { x: { time: false, range: () => [start / 1000, end / 1000] }, y: { range: () => seen } },
      axes: [
        axis({ size: 44, space: 78, incrs: [1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 10_800, 21_600, 43_200, ...[1, 2, 7, 14, 28, 56, 91, 182, 365].map((days) => days * DAY_S)], ...(weeks ? {} : { splits: (_, __, low, high, increment) => splitsOf(low, high, increment) }), values: (_, splits, __, ___, increment) => labels(splits, increment, weeks) }),
        axis({ size: 62 }),
      ],
      series: [{}, ...item.series.flatMap(() => [hidden, hidden, hidden])],
      plugins: [readout((one, k) => written(one, k, item, weeks))],
      hooks: {
        setSelect: [(one) => chosen(one, weeks, show)],
        drawClear: [
          (one) => hatch(one, gaps, colour("line-strong"), 7),
          (one) => hatch(one, flagged, colour("line"), 4),
          (one) => drawRows(one, item.series),
          (one) => drawLanes(one, item.series),
          (one) => drawLines(one, item, marks),
          (one) => drawChanges(one, item),
        ],
      },
    },
    columns(item.series),
  );
  plot.root.addEventListener("keydown", (event) => {
    const step = { "+": "in", "-": "out", 0: "all" }[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    zoom(step);
  });
  tools.hidden = false;
  for (const button of tools.querySelectorAll("button")) button.addEventListener("click", () => zoom(button.dataset.zoom));
  return plot;
}

function drawAll() {
  const data = document.getElementById("past-data");
  if (!data) return;
  const facts = JSON.parse(data.content.textContent);
  for (const place of document.querySelectorAll("[data-chart]")) {
    try {
      plots.push(draw(place, facts.charts.find((each) => each.name === place.dataset.chart), facts));
    } catch (error) {
      failed(place, error);
    }
  }
}

/** Renews the page while its span ends now and the page is seen, but not while a visitor uses a form of it. */
async function renew() {
  const body = document.getElementById("past-body");
  const used = body.contains(document.activeElement) || body.matches(":hover") || body.querySelector("details[open]");
  if (document.hidden || used) return;
  try {
    const answer = await fetch(location.href);
    if (!answer.ok) throw new Error(`${location.href}: ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("past-body");
    for (const plot of plots) plot.destroy();
    plots = [];
    body.replaceWith(document.adoptNode(fresh));
    drawAll();
  } catch (error) {
    console.warn(error); // the charts that are there stay, with their time
  }
}

/** `t` and then `z`, left or right: zoom out, back, forward. */
document.addEventListener("keydown", (event) => {
  if (!isForPage(event)) return;
  const step = prefix ? STEPS[event.key] : null;
  prefix = event.key === "t";
  if (!step) return;
  event.preventDefault();
  document.querySelector(`[data-step-to="${step}"]`)?.click();
});

drawAll();
if (document.getElementById("past-body")?.dataset.live) setInterval(renew, RENEW_MS);
