// The last hour of one Box: every 10 s, lowest to highest as a band.

import { axis, chart, colour, failed, fetchJson, readout } from "./charts.js";
import { fixed } from "./words.js";

const REFRESH_MS = 30_000;
const places = [...document.querySelectorAll("[data-hour]")];
const plots = new Map();

function columns(rows, metric) {
  const part = (k) => rows.map((row) => row[metric]?.[k] ?? null);
  return [rows.map((row) => row.start_ms / 1000), part(0), part(1), part(2)];
}

function draw(place, rows) {
  const { metric, digits, unit, series = "0" } = place.dataset;
  const hue = () => colour(`series-${series}`);
  const soft = () => `${hue()}38`;
  const text = readout((plot, k) => {
    const mean = plot.data[2][k];
    const time = new Date(plot.data[0][k] * 1000).toISOString().slice(11, 19);
    return mean === null ? "" : `${time}   ${fixed(mean, Number(digits))}\u202f${unit}`;
  });
  const edge = { stroke: soft, width: 1, points: { show: false } };
  plots.set(
    place,
    chart(
      place,
      {
        cursor: { drag: { x: false, y: false }, sync: { key: "hour" }, y: false, points: { size: 7 } },
        scales: { y: { range: (_, low, high) => padded(low, high, 4 * 10 ** -Number(digits)) } },
        axes: [
          axis({ size: 34, space: 64, values: (_, splits) => splits.map((t) => new Date(t * 1000).toISOString().slice(11, 16)) }),
          axis({ size: 64 }),
        ],
        series: [{}, edge, { stroke: hue, width: 1.75, points: { show: rows.length < 3 } }, edge],
        bands: [{ series: [3, 1], fill: soft }],
        plugins: [text],
      },
      columns(rows, metric),
    ),
  );
}

function padded(low, high, least) {
  if (low === null) return [0, 1];
  const pad = Math.max((high - low) * 0.12, least);
  return [low - pad, high + pad];
}

async function refresh() {
  let rows;
  try {
    ({ rows } = await fetchJson(places[0].dataset.hour));
  } catch (error) {
    if (!plots.size) for (const place of places) failed(place, error);
    return;
  }
  for (const place of places) {
    if (plots.has(place)) plots.get(place).setData(columns(rows, place.dataset.metric));
    else draw(place, rows);
  }
}

if (places.length) {
  refresh();
  setInterval(refresh, REFRESH_MS);
}
