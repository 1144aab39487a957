// The page of a book, live: the socket tells that a run of its tree has changed, and htmx asks for what is new.

import { Live, showState, soon } from "../runs/live.js";

const SOON = 100; // milliseconds
const REST = 400; // between two requests
const POLL = 1_000; // while there is no socket, and while a countdown runs

const page = document.getElementById("book");
const shown = () => document.getElementById("book-live");
const isActive = () => shown().hasAttribute("data-active");
const ring = soon(
  () => {
    if (!isActive()) return;
    // The answer to the request that is under way may be older than this ring, and replaces the element.
    if (shown().classList.contains("htmx-request")) ring();
    else htmx.trigger(shown(), "ring");
  },
  SOON,
  () => REST,
);

const live = new Live({ path: page.dataset.socket, cursor: page.dataset.cursor, login: page.dataset.login });
showState(live, document.getElementById("live-state"));
live.addEventListener("event", ({ detail: { type, run_id: id, data } }) => {
  const root = shown().dataset.root;
  if (type === "snapshot" || id === root || data.root_id === root) ring();
});
live.start();
setInterval(() => {
  const counts = document.getElementById("stop-outlook") !== null;
  if ((counts || !live.isLive) && !document.hidden) ring();
}, POLL);
