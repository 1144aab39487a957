// The page of one run, live. What is small is shown at once: the lit node, progress, what the model says, events.
// For everything else the socket is a doorbell, and htmx asks for the parts that have changed.

import { Live, showState, soon } from "./live.js";
import { duration, serverNow, setServerTime, startClocks } from "./clocks.js";

const POLL = 2_000; // milliseconds, while there is no socket
const SOON = 100;
const REST = 500; // between two requests
const REST_OF_LARGE = 2_500; // because all of a tree is read for one
const LARGE_TREE = 100; // runs
const TREE_POLL = 2_500; // the runs below have streams of their own
const MOST_EVENTS = 200;
const MOST_SPEECHES = 50;
const LONGEST_SPEECH = 200_000; // characters
const LONGEST_WORDS = 300;
const NODE_STATES = {
  "node.started": "running",
  "node.finished": "finished",
  "node.failed": "failed",
  "node.cancelled": "cancelled",
  "node.suspended": "suspended",
};

const page = document.getElementById("run-live");
const puller = document.getElementById("run-pull");
const events = document.getElementById("events");
const said = document.getElementById("said");

setServerTime(Number(page.dataset.now));
startClocks();

const isLarge = () => document.querySelectorAll("#tree li").length >= LARGE_TREE;
const pull = soon(() => htmx.trigger(puller, "pull"), SOON, () => (isLarge() ? REST_OF_LARGE : REST));
const isActive = () => document.getElementById("head-card")?.hasAttribute("data-active") ?? false;

// --- nodes ---------------------------------------------------------------------------------------------------

function pathOf({ namespace, node }) {
  const names = (namespace || "").split("|").filter(Boolean).map((part) => part.split(":")[0]);
  return (names.at(-1) === node ? names : [...names, node]).join("/");
}

function light(data, state) {
  for (const drawn of document.querySelectorAll(".graph .node")) {
    if (drawn.dataset.node === pathOf(data)) drawn.setAttribute("class", `node ${state}`);
  }
}

// The time line goes on by a wider view, in which the bars that run grow.
function growTimeline() {
  const gantt = document.querySelector(".gantt[data-growing]");
  if (!gantt || document.hidden) return;
  const span = Math.max(Math.round(serverNow() - Number(gantt.dataset.begins)), Number(gantt.dataset.span));
  for (const lane of gantt.querySelectorAll(".lane")) lane.setAttribute("viewBox", `0 0 ${span} 10`);
  for (const bar of gantt.querySelectorAll("rect[data-start]")) {
    bar.setAttribute("width", Math.max(span - Number(bar.dataset.start), 0));
  }
  document.querySelectorAll(".gantt-marks span").forEach((mark, number, { length }) => {
    mark.textContent = duration((span / 1000) * (number / (length - 1)));
  });
}

// --- what the model says -------------------------------------------------------------------------------------

function speechOf({ message_id: id, node }) {
  const known = [...said.children].find((speech) => speech.dataset.message === (id ?? ""));
  if (known) return known;
  const speech = document.createElement("div");
  speech.className = "speech";
  speech.dataset.message = id ?? "";
  const name = document.createElement("h3");
  name.textContent = node || "model";
  speech.append(name, document.createElement("p"));
  said.append(speech);
  while (said.children.length > MOST_SPEECHES) said.firstChild.remove();
  document.getElementById("said-section").hidden = false;
  return speech;
}

function say(data) {
  const isAtEnd = said.scrollHeight - said.scrollTop - said.clientHeight < 40;
  const words = speechOf(data).querySelector("p");
  if (words.textContent.length < LONGEST_SPEECH) words.append(data.text ?? "");
  if (isAtEnd) said.scrollTop = said.scrollHeight;
}

// --- events --------------------------------------------------------------------------------------------------

// The same words as in `runs/pages/stream.py`.
function inWords(type, data) {
  if (type.startsWith("node.")) {
    return pathOf(data) + (typeof data.seconds === "number" ? `, ${duration(data.seconds)}` : "");
  }
  if (type === "run.status") return data.displayed || data.status || "";
  if (type === "progress") return `${data.done} of ${data.total || "?"}`;
  if (type === "run.stop") return [data.step, data.mode, data.by, data.reason].filter(Boolean).join(", ");
  if (type === "log") return `${data.level ?? ""} ${data.message ?? ""}`.trim().slice(0, LONGEST_WORDS);
  if (type === "child.spawned") return `${data.graph ?? ""} ${data.run_id ?? ""}`.trim();
  return JSON.stringify(type === "custom" ? (data.data ?? data) : data).slice(0, LONGEST_WORDS);
}

function list({ type, at, data }) {
  const line = document.createElement("li");
  const time = document.createElement("time");
  time.dateTime = at;
  time.textContent = at.slice(11, 19);
  const kind = document.createElement("span");
  kind.className = "code";
  kind.textContent = type;
  const words = document.createElement("span");
  words.textContent = inWords(type, data);
  line.append(time, " ", kind, " ", words);
  events.prepend(line);
  while (events.children.length > MOST_EVENTS) events.lastChild.remove();
  document.getElementById("event-count").textContent = events.children.length;
}

// --- all of them ---------------------------------------------------------------------------------------------

function showProgress({ done, total }) {
  const bar = document.querySelector("#head-card progress");
  if (!bar || !total) return false;
  bar.max = total;
  bar.value = done;
  bar.parentElement.querySelector(".count").textContent = `${done}/${total}`;
  return true;
}

function take(event) {
  const { type, data } = event;
  if (type === "reply") return;
  if (type === "token") return say(data);
  if (type === "snapshot") return pull();
  list(event);
  if (type === "progress" && showProgress(data)) return;
  if (type === "custom" || type === "log") return;
  if (NODE_STATES[type]) light(data, NODE_STATES[type]);
  pull();
}

// A press is sent by an element that stays: its own form may be replaced before the answer is there.
page.addEventListener("submit", (submit) => {
  const form = submit.target;
  if (!("press" in form.dataset)) return;
  submit.preventDefault();
  const values = Object.fromEntries(new FormData(form));
  form.querySelector("button").disabled = true;
  htmx.ajax("POST", form.action, { source: "#run-press", target: page, swap: "none", values });
});

const live = new Live({ path: page.dataset.socket, cursor: page.dataset.cursor, login: page.dataset.login });
showState(live, document.getElementById("live-state"));
live.addEventListener("event", ({ detail }) => take(detail));
live.start();
said.scrollTop = said.scrollHeight;
setInterval(growTimeline, 1000);
// The next rung of a stop is offered a moment after the one before.
setInterval(() => document.querySelector("#head-card[data-again]") && pull(), 600);
setInterval(() => live.isLive || document.hidden || !isActive() || pull(), POLL);
setInterval(() => {
  if (!document.hidden && isActive() && document.querySelector("#tree .tree")) pull();
}, TREE_POLL);
