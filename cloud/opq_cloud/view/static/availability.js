// Renews the measured shares on a page once a minute; the server makes their words and tones.

import { fetchJson } from "./charts.js";

const EVERY_MS = 60_000;

const toned = (place, { text, tone }) => {
  place.textContent = text;
  place.className = tone ? `measured measured-${tone}` : "measured";
};

async function renew() {
  const places = [...document.querySelectorAll("[data-measured]")];
  const query = places.map((place) => `box=${encodeURIComponent(place.dataset.measured)}`).join("&");
  try {
    const { summary, boxes } = await fetchJson(`/api/v1/availability?${query}`);
    for (const place of document.querySelectorAll("[data-measured-together]")) {
      toned(place, summary);
      place.hidden = !summary.text;
    }
    for (const place of places) {
      const found = boxes[place.dataset.measured] ?? {};
      for (const span of place.querySelectorAll("[data-span]")) if (found[span.dataset.span]) toned(span, found[span.dataset.span]);
    }
  } catch (error) {
    console.info("no availability:", error.message);
  }
}

// without a connection the page says so itself, and requests nothing
setInterval(() => document.hidden || document.querySelector(".feed-lost") || renew(), EVERY_MS);
