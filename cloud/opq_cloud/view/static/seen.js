// Marks an incident as seen once it is on somebody's screen: not by a robot, a prefetch or a page made in advance.

const heading = document.querySelector("[data-unseen]");

function mark() {
  if (document.prerendering || document.visibilityState !== "visible") return;
  const { unseen, token } = heading.dataset;
  const body = new URLSearchParams({ form_token: token });
  removeEventListener("visibilitychange", mark, true);
  fetch(unseen, { method: "POST", body, keepalive: true }).catch(() => {});
}

addEventListener("visibilitychange", mark, true);
document.addEventListener("prerenderingchange", mark);
mark();
