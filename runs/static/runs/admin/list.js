// The list of runs: the rows on screen change in place.

import { ask, poll } from "./polling.js";

const PERIOD = 2000; // milliseconds

function rowsById() {
  const rows = new Map();
  for (const mark of document.querySelectorAll("[data-run]")) rows.set(mark.dataset.run, mark.closest("tr"));
  return rows;
}

function showStatus(cell, status, live) {
  if (cell.dataset.value === status) return;
  const looks = live.querySelector(`template[data-status="${CSS.escape(status)}"]`);
  if (!looks) return;
  cell.replaceChildren(looks.content.cloneNode(true));
  cell.dataset.value = status;
}

function showButtons(cell, buttons, live) {
  const value = buttons.map((button) => button.url).join(" ");
  if (cell.dataset.value === value) return;
  const looks = live.querySelector("template[data-button]");
  const links = buttons.flatMap((button) => {
    const link = looks.content.cloneNode(true).querySelector("a");
    link.textContent = button.text;
    link.setAttribute("href", button.url);
    return [link, " "];
  });
  cell.replaceChildren(...links);
  cell.dataset.value = value;
}

function showRow(row, run, live) {
  for (const cell of row.querySelectorAll("[data-live]")) {
    const name = cell.dataset.live;
    if (name === "status") showStatus(cell, run.status, live);
    else if (name === "buttons") showButtons(cell, run.buttons, live);
    else if (cell.textContent !== run[name]) cell.textContent = run[name];
  }
}

/** The banner of the emergency brake; the page's own one says more, so it stays while it is right. */
function showFreezes(freezes) {
  const banner = document.querySelector(".brake-banner");
  if (!banner) return;
  const value = freezes.map((freeze) => freeze.id).join(" ");
  if (banner.dataset.value === value) return;
  banner.dataset.value = value;
  banner.hidden = freezes.length === 0;
  banner.replaceChildren(
    ...freezes.map((freeze) => {
      const line = document.createElement("p");
      const words = document.createElement(freeze.url ? "a" : "span");
      words.textContent = freeze.text;
      if (freeze.url) words.setAttribute("href", freeze.url);
      line.append(words);
      return line;
    }),
  );
}

async function update() {
  const live = document.querySelector("[data-runs-live]");
  const rows = rowsById();
  if (!live) return;
  const ids = [...rows.keys()].join(",");
  const found = await (await ask(`${live.dataset.runsLive}?ids=${ids}`)).json();
  for (const [id, run] of Object.entries(found.runs)) showRow(rows.get(id), run, live);
  showFreezes(found.freezes);
}

function note(words) {
  const place = document.querySelector("[data-live-note]");
  if (place && place.textContent !== words) place.textContent = words;
}

poll(PERIOD, update, note);
