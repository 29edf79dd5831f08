// A form is sent once: a second click while it is being sent would send it twice. A separate file, as every page loads it.

const GIVE_UP_MS = 20_000;

/** A form may be sent again after the visitor left the page, or if nothing answers. */
function free(form) {
  delete form.dataset.sent;
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || event.defaultPrevented) return;
  if (form.dataset.sent) return event.preventDefault();
  form.dataset.sent = "yes";
  setTimeout(free, GIVE_UP_MS, form);
});
addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach(free)); // came back to
