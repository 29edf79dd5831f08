// A page that waits for samples looks again each second, until there is nothing to wait for.

const LOOK_MS = 1000;

async function look() {
  const body = document.getElementById("event-body");
  if (!body?.dataset.waiting) return;
  try {
    const answer = document.hidden ? null : await fetch(location.href);
    if (answer?.ok) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("event-body");
      if (fresh) body.replaceWith(document.adoptNode(fresh));
    }
  } catch (error) {
    console.warn(error); // what is shown stays, and is looked for again
  }
  setTimeout(look, LOOK_MS);
}

setTimeout(look, LOOK_MS);
