// What all charts share: the colours of the style sheet, the size of the frame, axes and a readout.

/* global uPlot */


export const FONT = '12px -apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif';
const charts = [];

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

export async function fetchJson(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return answer.json();
}

export function axis(extra = {}) {
  const hairline = { stroke: () => colour("line"), width: 1 };
  const values = (plot, splits) => splits.map((value) => String(value).replace("-", "\u2212"));
  return { stroke: () => colour("ink-quiet"), font: FONT, grid: hairline, ticks: { ...hairline, size: 4 }, gap: 5, values, ...extra };
}

/** A chart that fills `place`, follows its width and the colour scheme, and is named by its caption. */
export function chart(place, options, data) {
  const height = place.clientHeight;
  const plot = new uPlot(
    {
      width: place.clientWidth,
      height,
      padding: [12, null, 0, 0],
      legend: { show: false },
      ...options,
    },
    data,
    place,
  );
  const caption = place.closest("figure")?.querySelector("figcaption")?.textContent ?? "";
  plot.root.setAttribute("role", "img");
  plot.root.tabIndex = 0;
  plot.root.addEventListener("keydown", (event) => walk(plot, event));
  plot.root.addEventListener("blur", () => plot.setCursor({ left: -10, top: -10 }));
  plot.root.setAttribute("aria-label", `Chart: ${caption.replace(/\s+/g, " ").trim()}`);
  new ResizeObserver(() => {
    if (place.clientWidth && place.clientWidth !== plot.width) plot.setSize({ width: place.clientWidth, height });
  }).observe(place);
  place.dataset.drawn = "yes";
  charts.push(plot);
  return plot;
}

/** Arrow keys move the readout from point to point, at least a pixel (with Shift ten); Home and End to the ends. */
function walk(plot, event) {
  const [times, ...lines] = plot.data;
  const { min, max } = plot.scales.x;
  const isShown = (t, k) => t >= min && t <= max && lines.some((line) => Number.isFinite(line[k] ?? NaN));
  const places = times.filter(isShown).map((t) => plot.valToPos(t, "x"));
  const stride = event.shiftKey ? 10 : 1;
  const here = plot.cursor.left;
  const next = {
    ArrowRight: () => places.find((x) => x >= here + stride) ?? places.at(-1),
    ArrowLeft: () => places.findLast((x) => x <= here - stride) ?? places[0],
    Home: () => places[0],
    End: () => places.at(-1),
  }[event.key];
  if (!next || !places.length) return;
  event.preventDefault();
  plot.setCursor({ left: next(), top: plot.over.clientHeight / 2 });
}

export function failed(place, error) {
  place.classList.add("plot-failed");
  place.textContent = "This chart could not be loaded. Its figures are in the table.";
  console.warn(error);
}

/** Text in the corner of a chart while the pointer is on it; `write(plot, index)` gives the text. */
export function readout(write) {
  let box;
  return {
    hooks: {
      init: (plot) => {
        box = document.createElement("div");
        box.className = "readout";
        box.setAttribute("role", "status");
        box.hidden = true;
        plot.root.append(box);
      },
      setCursor: (plot) => {
        const index = plot.cursor.idx;
        const text = index === null || index === undefined || plot.cursor.left < 0 ? "" : write(plot, index);
        box.hidden = !text;
        box.textContent = text;
      },
    },
  };
}

function redraw() {
  for (const plot of charts) if (plot.root.isConnected) plot.redraw(false, true);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  redraw();
});

/** Paper is light in every theme, so canvases are drawn in light colours for it. */
function onPaper(printing) {
  const paper = document.getElementById("paper");
  if (!paper) return;
  paper.media = printing ? "all" : "print";
  redraw();
}
addEventListener("beforeprint", () => onPaper(true));
addEventListener("afterprint", () => onPaper(false));
