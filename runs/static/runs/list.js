// The list of runs, live: a socket tells which rows have changed, and they are asked for anew, by htmx.

import { Live, showState, soon } from "./live.js";
import { setServerTime, startClocks } from "./clocks.js";

const POLL = 4_000; // milliseconds, while there is no socket
const SOON = 150;
const REST = 700; // between two requests
const MOST = 100; // rows of one request

const form = document.getElementById("runs-form");
const list = document.getElementById("run-rows");
const stale = new Set();
let newer = false;

setServerTime(Number(form.dataset.now));
startClocks();

const row = (id) => document.getElementById(`live-${id}`);

const pull = soon(() => {
  const query = new URLSearchParams(form.dataset.query);
  for (const id of [...stale].slice(0, MOST)) {
    query.append("shown", id);
    stale.delete(id);
  }
  if (newer && "firstPage" in form.dataset) {
    const first = list.querySelector(":scope > li [data-run]");
    query.set("since", first ? first.dataset.run : "");
  }
  newer = false;
  if (query.has("shown") || query.has("since")) {
    htmx.ajax("GET", `${form.dataset.rows}?${query}`, { source: form, target: form, swap: "none" });
  }
  if (stale.size) pull();
}, SOON, () => REST);

function pullAll(selector) {
  for (const shown of document.querySelectorAll(selector)) stale.add(shown.dataset.run);
  newer = true;
  pull();
}

function showProgress(element, { done, total }) {
  const bar = element.querySelector("progress");
  if (!bar || !total) return false;
  bar.max = total;
  bar.value = done;
  bar.parentElement.querySelector(".count").textContent = `${done}/${total}`;
  return true;
}

function take({ type, run_id: id, data }) {
  if (type === "snapshot") {
    pullAll("[data-run][data-active]");
    return;
  }
  const shown = row(id);
  if (type === "progress" && shown && showProgress(shown, data)) return;
  if (shown) stale.add(id);
  for (const above of [data.parent_id, data.root_id]) {
    if (above && above !== id && row(above)) stale.add(above);
  }
  // Children are folded, unless a search shows every run.
  if (!shown && type === "run.status" && (!data.parent_id || form.dataset.query)) newer = true;
  if (newer || stale.size) pull();
}

// A row that has come in later: nothing is empty any more.
document.body.addEventListener("htmx:afterSettle", () => {
  if (list.children.length) document.getElementById("no-runs")?.remove();
});

const live = new Live({ path: form.dataset.socket, cursor: form.dataset.cursor, login: form.dataset.login });
showState(live, document.getElementById("live-state"));
live.addEventListener("event", ({ detail }) => take(detail));
live.start();
setInterval(() => live.isLive || document.hidden || pullAll("[data-run][data-active]"), POLL);
