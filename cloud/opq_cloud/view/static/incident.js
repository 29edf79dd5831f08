// The charts of an incident: waveform of each Box, rms envelope, ITIC curve.

/* global uPlot */

import { axis, chart, colour, failed, fetchJson, level, readout } from "./charts.js";
import { drawItic } from "./itic.js";
import { _ } from "./texts.js";
import { fixed } from "./words.js";

const root = document.getElementById("charts");
const originNs = root.dataset.startNs;
const endMs = Number(root.dataset.endMs);
const incidentRange = [-Math.max(50, 0.4 * endMs), endMs + Math.max(50, 0.4 * endMs)];
const wholeRange = [Infinity, -Infinity];
const OVERVIEW_POINTS = 600;
const linked = []; // charts that share the time axis
let range = incidentRange;

const timeAxis = () => axis({ size: 34, values: (_, splits) => splits.map((t) => `${fixed(t, Math.abs(range[1] - range[0]) < 20 ? 1 : 0)}\u202fms`), space: 70 });
const timeScale = { time: false, range: () => range };
const cursor = {
  drag: { x: true, y: false, setScale: false },
  sync: { key: "incident", scales: ["x", null] },
  bind: { dblclick: () => () => zoom(wholeRange) },
  y: false,
  points: { size: 7 },
};
const selectHook = (plot) => {
  if (plot.select.width < 5) return;
  const [first, last] = [plot.select.left, plot.select.left + plot.select.width].map((x) => plot.posToVal(x, "x"));
  plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  zoom([first, last]);
};

function zoom(wanted) {
  let [first, last] = wanted;
  if (!(last - first > 0.5)) return; // six samples
  range = [Math.max(first, wholeRange[0]), Math.min(last, wholeRange[1])];
  for (const { plot, refine } of linked) {
    plot.setScale("x", { min: range[0], max: range[1] });
    refine?.();
  }
  for (const button of document.querySelectorAll("[data-zoom]")) {
    const target = { event: incidentRange, all: wholeRange }[button.dataset.zoom];
    if (target) button.setAttribute("aria-pressed", String(target.every((edge, k) => Math.abs(clip(edge) - range[k]) < 0.01)));
  }
}

const clip = (edge) => Math.min(Math.max(edge, wholeRange[0]), wholeRange[1]);

function zoomBy(factor) {
  const [middle, half] = [(range[0] + range[1]) / 2, ((range[1] - range[0]) / 2) * factor];
  zoom([middle - half, middle + half]);
}

async function drawWaveform(place) {
  // Two points to a pixel hold its lowest and highest; the overview stands only until the closer look is there.
  const points = Math.round(Math.min(4000, Math.max(800, place.clientWidth * 2)));
  const url = (first, last) => {
    const part = first === undefined ? "" : `&start_ms=${first.toFixed(3)}&end_ms=${last.toFixed(3)}`;
    return `${place.dataset.waveform}?origin_ns=${originNs}&points=${part ? points : OVERVIEW_POINTS}${part}`;
  };
  const overview = await fetchJson(url());
  if (!overview.t_ms.length) throw new Error("an empty waveform");
  wholeRange[0] = Math.min(wholeRange[0], overview.t_ms[0]);
  wholeRange[1] = Math.max(wholeRange[1], overview.t_ms[overview.t_ms.length - 1]);
  const limit = Number(place.dataset.limit);
  const hue = () => colour(`series-${place.dataset.series}`);
  const text = readout((plot, k) => `${fixed(plot.data[0][k], 2)}\u202fms   ${fixed(plot.data[1][k], 1)}\u202fV`);
  const plot = chart(
    place,
    {
      cursor,
      scales: { x: timeScale, y: { range: [-limit, limit] } },
      axes: [timeAxis(), axis({ size: 52 })],
      series: [{}, { label: place.dataset.name, stroke: hue, width: 1.25, points: { show: false }, spanGaps: false }],
      plugins: [text],
      hooks: { setSelect: [selectHook], drawClear: [shadeIncident] },
    },
    [overview.t_ms, overview.values],
  );
  // The overview keeps each peak; a closer look asks for the samples themselves.
  let asked = 0;
  const refine = async () => {
    const mine = ++asked;
    if (!overview.reduced) return;
    await new Promise((done) => setTimeout(done, 120));
    if (mine !== asked) return;
    const slack = (range[1] - range[0]) * 0.02 + 0.2;
    const closer = await fetchJson(url(range[0] - slack, range[1] + slack)).catch(() => null);
    if (mine === asked && closer?.t_ms.length) plot.setData([closer.t_ms, closer.values], false);
    if (mine === asked) plot.setScale("x", { min: range[0], max: range[1] });
  };
  linked.push({ plot, refine }); // drawAll zooms, and so asks for each closer look once, when the whole range is known
}

/** A faint ground where the incident lies. */
function shadeIncident(plot) {
  const { ctx, bbox } = plot;
  const [first, last] = [0, endMs].map((t) => Math.min(Math.max(plot.valToPos(t, "x", true), bbox.left), bbox.left + bbox.width));
  ctx.save();
  ctx.fillStyle = colour("sunken");
  ctx.fillRect(first, bbox.top, last - first, bbox.height);
  ctx.restore();
}

async function drawEnvelope(place) {
  const tables = [...document.querySelectorAll("[data-envelope-of]")];
  const lines = await Promise.all(tables.map((table) => fetchJson(`${table.dataset.envelopeOf}?origin_ns=${originNs}`)));
  const nominal = Number(place.dataset.nominalV);
  const [sag, swell, out] = ["sag", "swell", "interruption"].map((key) => (Number(place.dataset[key]) / 100) * nominal);
  const data = uPlot.join(
    lines.map((line) => [line.t_ms, line.values]),
    lines.map((line) => line.values.map((value) => (value === null ? 2 : 0))),
  );
  const known = lines.flatMap((line) => line.values).filter((value) => value !== null);
  const low = Math.min(...known, sag);
  const bottom = low < 0.4 * nominal ? 0 : low - 0.03 * nominal;
  const top = Math.max(...known, swell) + 0.04 * nominal;
  if (data[0].length) {
    wholeRange[0] = Math.min(wholeRange[0], data[0][0]);
    wholeRange[1] = Math.max(wholeRange[1], data[0][data[0].length - 1]);
  }
  const text = readout((plot, k) => {
    const values = tables.map((table, row) => [table.dataset.name, nearest(plot.data, row + 1, k)]);
    return `${fixed(plot.data[0][k], 1)}\u202fms   ${values.map(([name, value]) => `${name} ${fixed(value, 1)}\u202fV`).join("   ")}`;
  });
  const plot = chart(
    place,
    {
      cursor,
      scales: { x: timeScale, y: { range: [bottom, top] } },
      axes: [timeAxis(), axis({ size: 52 })],
      series: [
        {},
        ...tables.map((table) => ({
          label: table.dataset.name,
          stroke: () => colour(`series-${table.dataset.series}`),
          width: 2,
          dash: Number(table.dataset.series) ? [10, 3] : undefined,
          points: { show: false },
          spanGaps: true,
        })),
      ],
      plugins: [text],
      hooks: {
        setSelect: [selectHook],
        drawClear: [shadeIncident],
        draw: [
          (plot) => {
            level(plot, sag, `${_("sag")} ${place.dataset.sag.replace(/\.0$/, "")}\u202f%`, colour("down"));
            level(plot, swell, `${_("swell")} ${place.dataset.swell.replace(/\.0$/, "")}\u202f%`, colour("up"));
            level(plot, out, `${_("interruption")} ${place.dataset.interruption.replace(/\.0$/, "")}\u202f%`, colour("out"));
          },
        ],
      },
    },
    data,
  );
  linked.push({ plot });
}

/** The value of a series at or just beside index k: two Boxes never share their instants. */
function nearest(data, series, k) {
  for (let step = 0; step < 6; step++) {
    for (const at of [k - step, k + step]) if (Number.isFinite(data[series][at] ?? NaN)) return data[series][at];
  }
  return null;
}

async function drawAll() {
  const places = [...document.querySelectorAll("[data-waveform]")];
  const envelope = document.querySelector("[data-envelope]");
  await Promise.all([
    ...places.map((place) => drawWaveform(place).catch((error) => failed(place, error))),
    envelope && drawEnvelope(envelope).catch((error) => failed(envelope, error)),
  ]);
  if (linked.length) {
    document.querySelector(".tools").hidden = false;
    zoom(incidentRange);
  }
}

for (const button of document.querySelectorAll("[data-zoom]")) {
  button.addEventListener("click", () => {
    const how = { event: () => zoom(incidentRange), all: () => zoom(wholeRange), in: () => zoomBy(0.5), out: () => zoomBy(2) };
    how[button.dataset.zoom]();
  });
}
drawAll();
const itic = document.querySelector("[data-itic]");
if (itic) drawItic(itic).catch((error) => failed(itic, error));
