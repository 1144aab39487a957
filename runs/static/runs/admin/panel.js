// Numbers that change in place ([data-panel] with [data-live] inside), and parts that are drawn again ([data-part]).

import { ask, poll } from "./polling.js";

for (const panel of document.querySelectorAll("[data-panel]")) {
  poll(
    1000,
    async () => {
      const found = await (await ask(panel.dataset.panel)).json();
      for (const place of panel.querySelectorAll("[data-live]")) {
        const words = found[place.dataset.live];
        if (words !== undefined && place.textContent !== words) place.textContent = words;
      }
    },
    (words) => note(panel, words),
  );
}

for (const part of document.querySelectorAll("[data-part]")) {
  poll(
    10000,
    async () => {
      if (part.contains(document.activeElement) && document.activeElement !== document.body) return;
      // Our own page, escaped by the server; scripts in a parsed document never run.
      const page = new DOMParser().parseFromString(await (await ask(part.dataset.part)).text(), "text/html");
      const fresh = page.querySelector("[data-part]");
      if (fresh) part.replaceChildren(...fresh.childNodes);
    },
    (words) => note(part, words),
  );
}

function note(place, words) {
  const said = place.parentElement.querySelector("[data-live-note]");
  if (said && said.textContent !== words) said.textContent = words;
}
