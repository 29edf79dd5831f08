// Prints the incidents and the Measurements of a running system: node live.mjs [ADDRESS of the page]
// Needs nothing but Node 18. In a page of your own, `new EventSource(address)` reads /live without the last loop.

const system = process.argv[2] ?? "http://127.0.0.1:8888";

const answer = await fetch(`${system}/api/v1/incidents?limit=5`);
if (!answer.ok) throw new Error((await answer.json()).detail);
for (const incident of (await answer.json()).items) {
  console.log(`Incident ${incident.id}: ${incident.class} at Boxes ${incident.box_ids.join(", ")}`);
}

function show(name, data) {
  if (name === "measurement") {
    console.log(`Box ${data.box_id}: ${data.rms_v?.toFixed(2) ?? "unknown"} V until ${data.timestamp_ms}`);
  } else if (name === "incident") {
    console.log(`Incident ${data.id}: ${data.class} at Boxes ${data.box_ids.join(", ")}`);
  }
}

const live = await fetch(`${system}/api/v1/live`);
let text = ""; // what has come and is not a whole event yet; an empty line ends one
for await (const part of live.body.pipeThrough(new TextDecoderStream())) {
  const events = (text + part).split("\n\n");
  text = events.pop();
  for (const lines of events) {
    const fields = Object.fromEntries(lines.split("\n").map((line) => line.split(/: (.*)/s, 2)));
    if (fields.data) show(fields.event, JSON.parse(fields.data));
  }
}
