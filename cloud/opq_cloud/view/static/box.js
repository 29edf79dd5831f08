// The last hour of one Box: every 10 s, lowest to highest as a band.

/* global uPlot */

import { axis, chart, colour, failed, fetchJson, readout } from "./charts.js";
import { accountClock, accountZone, timeBeside } from "./times.js";
import { fixed, serverNowMs } from "./words.js";

const REFRESH_MS = 30_000;
const places = [...document.querySelectorAll("[data-hour]")];
const plots = new Map();
const UNFINISHED_MS = 15_000; // a stretch this near to now is not complete yet
const HOUR_MS = 3_600_000;
let holes = []; // [start, end, share] of what was not measured, in seconds

/** A step is as wide as its span of time; nothing is drawn where nothing was measured. */
function columns(rows, { metric, factor = 1 }, bucketMs) {
  const [times, ...values] = [[], [], [], []];
  const value = (row, k) => (row[metric] ? row[metric][k] * factor : null);
  rows.forEach((row, place) => {
    const end = row.start_ms + bucketMs;
    times.push(row.start_ms / 1000);
    values.forEach((part, k) => part.push(value(row, k)));
    if (rows[place + 1]?.start_ms === end) return;
    times.push(end / 1000); // the last step's right edge; and a hole behind it
    values.forEach((part, k) => part.push(value(row, k)));
    times.push(end / 1000 + 0.001);
    for (const part of values) part.push(null);
  });
  return [times, ...values];
}

/** What was not measured since the Box was first heard, up to now. */
function holesIn(rows, bucketMs, firstHeardMs) {
  const now = serverNowMs();
  if (firstHeardMs === null) return [];
  const found = [];
  const since = Math.max(firstHeardMs, now - HOUR_MS);
  let after = since;
  for (const { start_ms: start, coverage } of rows) {
    if (start > after) found.push([after / 1000, start / 1000, 1]);
    if (coverage < 0.99 && start >= since && start + bucketMs < now - UNFINISHED_MS) found.push([start / 1000, (start + bucketMs) / 1000, 1 - coverage]);
    after = Math.max(after, start + bucketMs);
  }
  if (after < now - UNFINISHED_MS) found.push([after / 1000, now / 1000, 1]);
  return found;
}

/** Hatches the gaps, each as high as the share that is missing. */
function hatchHoles(plot) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  for (const [start, end, share] of holes) {
    const [left, right] = [start, end].map((t) => Math.min(Math.max(plot.valToPos(t, "x", true), bbox.left), bbox.left + bbox.width));
    ctx.rect(left, bbox.top + bbox.height * (1 - share), Math.max(right - left, 0), bbox.height * share);
  }
  ctx.clip();
  ctx.strokeStyle = colour("line-strong");
  ctx.lineWidth = 2 * devicePixelRatio;
  ctx.beginPath();
  for (let x = bbox.left - bbox.height; x < bbox.left + bbox.width; x += 7 * devicePixelRatio) {
    ctx.moveTo(x, bbox.top + bbox.height);
    ctx.lineTo(x + bbox.height, bbox.top);
  }
  ctx.stroke();
  ctx.restore();
}

const clock = (t, increment) => accountClock(t).slice(11, increment < 60 ? 19 : 16);

function draw(place, rows, bucketMs) {
  const { digits, unit, series = "0" } = place.dataset;
  const hue = () => colour(`series-${series}`);
  const soft = () => `${hue()}38`;
  const text = readout((plot, k) => {
    const mean = plot.data[2][k];
    const moment = new Date(plot.data[0][k] * 1000);
    const utcTime = `${moment.toISOString().slice(11, 19)} UTC (${timeBeside(moment)})`;
    const time = accountZone === "UTC" ? utcTime : `${clock(plot.data[0][k], 1)} ${accountZone}`;
    return mean === null ? "" : `${time}   ${fixed(mean, Number(digits))}\u202f${unit}`;
  });
  const paths = uPlot.paths.stepped({ align: 1 });
  const edge = { stroke: soft, width: 1, points: { show: false }, paths };
  plots.set(
    place,
    chart(
      place,
      {
        padding: [12, 28, 0, 0], // half of the last label, with its seconds
        cursor: { drag: { x: false, y: false }, sync: { key: "hour" }, y: false, points: { size: 7 } },
        scales: { x: { range: (_, low, high) => [Math.min(low, holes[0]?.[0] ?? low), Math.max(high, serverNowMs() / 1000)] }, y: { range: (_, low, high) => padded(low, high, 4 * 10 ** -Number(digits)) } }, // an axis goes on to now: silence is seen
        axes: [
          axis({ size: 34, space: 64, values: (_, splits, __, ___, increment) => splits.map((t) => clock(t, increment)) }),
          axis({ size: 64 }),
        ],
        series: [{}, edge, { stroke: hue, width: 1.75, points: { show: false }, paths }, edge],
        bands: [{ series: [3, 1], fill: soft }],
        plugins: [text],
        hooks: { drawClear: [hatchHoles] },
      },
      columns(rows, place.dataset, bucketMs),
    ),
  );
}

function padded(low, high, least) {
  if (low === null) return [0, 1];
  const pad = Math.max((high - low) * 0.12, least);
  return [low - pad, high + pad];
}

async function refresh() {
  let rows, bucketMs, firstHeardMs;
  try {
    ({ rows, bucket_ms: bucketMs, first_heard_ms: firstHeardMs } = await fetchJson(places[0].dataset.hour));
  } catch (error) {
    if (!plots.size) for (const place of places) failed(place, error);
    return;
  }
  holes = holesIn(rows, bucketMs, firstHeardMs);
  for (const place of places) {
    if (plots.has(place)) plots.get(place).setData(columns(rows, place.dataset, bucketMs));
    else draw(place, rows, bucketMs);
  }
}

if (places.length) {
  refresh();
  setInterval(refresh, REFRESH_MS);
}
