// Requests a part of a page that waits for something again each second, until there is nothing to wait for.

const LOOK_MS = 1000;

async function look() {
  const body = document.querySelector("[data-waiting]");
  if (!body) return;
  try {
    const answer = document.hidden ? null : await fetch(location.href);
    if (answer?.ok) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(body.id);
      if (fresh) body.replaceWith(document.adoptNode(fresh));
    }
  } catch (error) {
    console.warn(error); // what is shown stays, and is looked for again
  }
  setTimeout(look, LOOK_MS);
}

setTimeout(look, LOOK_MS);
