// Checks every few seconds whether a page that was not available is there again, and then loads it.

const GIVE_UP_MS = 15_000;
const place = document.getElementById("retry");
const everyMs = Number(place.dataset.everyS) * 1000;

async function look() {
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(GIVE_UP_MS) });
    if (answer.status < 500) return location.reload();
  } catch (error) {
    console.info("not yet:", error.message); // View itself may not run; the next check follows
  }
  place.dataset.looked = String(Number(place.dataset.looked ?? 0) + 1);
  setTimeout(look, everyMs);
}

setTimeout(look, everyMs);
