// The ITIC curve with the points of an incident; time is logarithmic.

import { FONT, axis, chart, colour, fetchJson } from "./charts.js";

import { _, ngettext } from "./texts.js";

const FIRST_S = 1e-3; // what rms can say ends at half a cycle, 8.3 ms
const LAST_S = 100;
const WORDS = { 0.001: "1 ms", 0.01: "10 ms", 0.1: "100 ms", 1: "1 s", 10: "10 s", 100: "100 s" };

export async function drawItic(place) {
  const { itic } = await fetchJson(place.dataset.itic);
  const points = [...document.querySelectorAll("[data-point-s]")].map((row) => ({
    x: Math.min(Math.max(Number(row.dataset.pointS), FIRST_S * 1.2), LAST_S * 0.9),
    y: Number(row.dataset.pointPercent),
    series: row.dataset.series,
    name: row.dataset.name,
  }));
  const top = Math.max(150, ...points.map((point) => point.y + 20));
  const lower = [[FIRST_S, itic.lower[0][1]], ...itic.lower];
  const decades = Object.keys(WORDS).map(Number).sort((a, b) => a - b);
  chart(
    place,
    {
      cursor: { show: false },
      scales: { x: { time: false, distr: 3, range: [FIRST_S, LAST_S] }, y: { range: [0, top] } },
      axes: [
        axis({ size: 34, splits: () => decades, values: (plot, splits) => splits.map((s) => (s in WORDS ? WORDS[s] : "")), filter: (plot, splits) => splits }),
        axis({ size: 52, values: (plot, splits) => splits.map((value) => `${value}\u202f%`) }),
      ],
      series: [{}, { show: false }],
      hooks: {
        drawClear: [
          (plot) => {
            region(plot, itic.upper, top, "up-soft");
            region(plot, lower, 0, "down-soft");
          },
        ],
        draw: [
          (plot) => {
            trace(plot, itic.upper, "up");
            trace(plot, lower, "down");
            label(plot, 3, (itic.upper[itic.upper.length - 1][1] + top) / 2 + 4, _("prohibited"), "up");
            label(plot, 3, 35, _("no damage"), "down");
            label(plot, FIRST_S * 1.15, 104, _("no interruption in function"), "ink-quiet", "left");
            for (const point of points) mark(plot, point);
            for (const close of clusters(plot, points)) name(plot, close);
          },
        ],
      },
    },
    [[FIRST_S, LAST_S], [null, null]],
  );
}

const at = (plot, [x, y]) => [plot.valToPos(x, "x", true), plot.valToPos(y, "y", true)];

function path(plot, line) {
  const { ctx, bbox } = plot;
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.beginPath();
  line.forEach((corner, k) => ctx[k ? "lineTo" : "moveTo"](...at(plot, corner)));
}

function region(plot, line, ground, hue) {
  const { ctx } = plot;
  ctx.save();
  path(plot, [...line, [LAST_S, ground], [line[0][0], ground]]);
  ctx.fillStyle = colour(hue);
  ctx.fill();
  ctx.restore();
}

function trace(plot, line, hue) {
  const { ctx } = plot;
  ctx.save();
  path(plot, line);
  ctx.strokeStyle = colour(hue);
  ctx.lineWidth = 1.75 * devicePixelRatio;
  ctx.stroke();
  ctx.restore();
}

function label(plot, x, y, text, hue, align = "center") {
  const { ctx } = plot;
  ctx.save();
  ctx.font = FONT.replace("12px", `${12 * devicePixelRatio}px`);
  ctx.fillStyle = colour(hue);
  ctx.textAlign = align;
  ctx.textBaseline = "middle";
  ctx.fillText(text, ...at(plot, [x, y]));
  ctx.restore();
}

// Points whose names would lie on one another have one name together: "Boxes 5, 7, 8".
function clusters(plot, points) {
  const places = points.map((point) => ({ names: [point.name], where: at(plot, [point.x, point.y]) }));
  const found = [];
  for (const place of places.sort((a, b) => a.where[1] - b.where[1])) {
    const near = found.find(({ where: [x, y] }) => Math.abs(x - place.where[0]) < 70 * devicePixelRatio && place.where[1] - y < 15 * devicePixelRatio);
    if (near) near.names.push(...place.names);
    else found.push(place);
  }
  return found;
}

function named(names) {
  if (names.length === 1) return names[0];
  if (names.length > 6) return ngettext("%(num)d Box", "%(num)d Boxes", names.length);
  const numbers = names.map((each) => each.replace(_("Box %(box)s", { box: "" }), ""));
  const each = numbers.sort((a, b) => a.localeCompare(b, "en", { numeric: true })).join(", ");
  return ngettext("Box %(each)s", "Boxes %(each)s", names.length, { each });
}

function mark(plot, point) {
  const { ctx } = plot;
  const [x, y] = at(plot, [point.x, point.y]);
  const dpr = devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.arc(x, y, 6 * dpr, 0, 2 * Math.PI);
  ctx.fillStyle = colour(`series-${point.series}`);
  ctx.strokeStyle = colour("surface");
  ctx.lineWidth = 2.5 * dpr;
  ctx.stroke();
  ctx.fill();
  ctx.restore();
}

function name(plot, { names, where: [x, y] }) {
  const { ctx, bbox } = plot;
  const dpr = devicePixelRatio;
  ctx.save();
  ctx.font = FONT.replace("12px", `bold ${13 * dpr}px`);
  ctx.fillStyle = colour("ink");
  ctx.textBaseline = "middle";
  ctx.textAlign = x > bbox.left + bbox.width * 0.8 ? "right" : "left";
  ctx.fillText(named(names), x + (ctx.textAlign === "left" ? 11 : -11) * dpr, y);
  ctx.restore();
}
