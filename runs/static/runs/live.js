// A WebSocket that comes back: it keeps the cursor of the last event, so that none is missed and none is told twice.
// It fires "event" (detail: the message), "state" ("live", "waiting", "offline", "refused") and nothing else.

const FIRST_PAUSE = 500; // milliseconds
const LONGEST_PAUSE = 30_000;
const SILENCE = 40_000; // a heartbeat comes every 15 s
const STEADY = 5_000; // a connection that lasted so long counts as good

const REFUSALS = {
  4403: "You may not watch this any more.",
  4404: "This run is not there any more.",
};
const BAD_CURSOR = 4400;
const LOG_IN = 4401;

export class Live extends EventTarget {
  #path;
  #cursor;
  #login;
  #socket = null;
  #pause = FIRST_PAUSE;
  #retry = 0;
  #silence = 0;
  #openedAt = 0;
  #ended = false;

  constructor({ path, cursor = "", login = "" }) {
    super();
    this.#path = path;
    this.#cursor = cursor;
    this.#login = login;
  }

  get isLive() {
    return this.#socket !== null && this.#socket.readyState === WebSocket.OPEN;
  }

  start() {
    addEventListener("online", () => this.#connectNow());
    addEventListener("offline", () => this.#tell("offline"));
    addEventListener("pageshow", () => this.#connectNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.#connectNow());
    this.#connect();
  }

  send(message) {
    if (this.isLive) this.#socket.send(JSON.stringify(message));
  }

  #connectNow() {
    if (this.#ended || this.#socket) return;
    clearTimeout(this.#retry);
    this.#connect();
  }

  #connect() {
    const url = new URL(this.#path, location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    if (this.#cursor) url.searchParams.set("after", this.#cursor);
    const socket = new WebSocket(url);
    this.#socket = socket;
    socket.addEventListener("open", () => {
      this.#openedAt = Date.now();
      this.#watch();
      this.#tell("live");
    });
    socket.addEventListener("message", (message) => socket === this.#socket && this.#take(message.data));
    socket.addEventListener("close", (close) => socket === this.#socket && this.#closed(close.code, close.reason));
  }

  #take(text) {
    this.#watch();
    const message = JSON.parse(text);
    if (message.type === "heartbeat") {
      this.send({ action: "alive" });
      return;
    }
    if (message.cursor) {
      if (message.type !== "snapshot" && !isLater(message.cursor, this.#cursor)) return;
      this.#cursor = message.cursor;
    }
    this.dispatchEvent(new CustomEvent("event", { detail: message }));
  }

  #closed(code, reason) {
    clearTimeout(this.#silence);
    this.#socket = null;
    if (code === LOG_IN && this.#login) {
      this.#ended = true;
      location.assign(`${this.#login}?next=${encodeURIComponent(location.pathname + location.search)}`);
      return;
    }
    if (REFUSALS[code]) {
      this.#ended = true;
      this.#tell("refused", { words: REFUSALS[code], reason });
      return;
    }
    if (code === BAD_CURSOR) this.#cursor = "";
    if (this.#openedAt && Date.now() - this.#openedAt > STEADY) this.#pause = FIRST_PAUSE;
    this.#openedAt = 0;
    // Half of it at least, the rest by chance, so that a thousand pages do not come back in one moment.
    const pause = this.#pause * (0.5 + Math.random() / 2);
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE);
    this.#retry = setTimeout(() => this.#connect(), pause);
    this.#tell(navigator.onLine === false ? "offline" : "waiting", { until: Date.now() + pause });
  }

  #watch() {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => {
      // A connection that is dead without having been closed.
      const socket = this.#socket;
      if (!socket) return;
      socket.close();
      this.#closed(0, "");
    }, SILENCE);
  }

  #tell(state, more = {}) {
    this.dispatchEvent(new CustomEvent("state", { detail: { state, ...more } }));
  }
}

// Cursors of Redis are "milliseconds-number", of any length; what has another form is always later.
function isLater(cursor, other) {
  if (!other) return true;
  const [one, two] = [cursor, other].map((text) => /^(\d+)-(\d+)$/.exec(text));
  if (!one || !two) return cursor !== other;
  const [time, otherTime] = [BigInt(one[1]), BigInt(two[1])];
  return time > otherTime || (time === otherTime && BigInt(one[2]) > BigInt(two[2]));
}

// Shows the state of a connection in words. A screen reader hears the states, not each second of a countdown.
export function showState(live, element) {
  let ticking = 0;
  const spoken = document.createElement("span");
  const counted = document.createElement("span");
  counted.setAttribute("aria-hidden", "true");
  element.replaceChildren(spoken, counted);
  const show = (state, words, rest = "") => {
    element.dataset.state = state;
    if (spoken.textContent !== words) spoken.textContent = words;
    counted.textContent = rest;
  };
  live.addEventListener("state", ({ detail }) => {
    clearInterval(ticking);
    if (detail.state === "live") return show("live", "Live");
    if (detail.state === "offline") return show("offline", "Offline");
    if (detail.state === "refused") return show("refused", detail.words);
    const count = () => {
      const left = Math.ceil((detail.until - Date.now()) / 1000);
      show("waiting", "Reconnecting…", left > 0 ? ` in ${left} s` : "");
    };
    count();
    ticking = setInterval(count, 500);
  });
}

// Calls `work` once for many requests: after `pause`, and at least `rest` after the last time, in milliseconds.
export function soon(work, pause, rest) {
  let timer = 0;
  let last = 0;
  return () => {
    timer ||= setTimeout(() => {
      timer = 0;
      last = Date.now();
      work();
    }, Math.max(pause, last + rest() - Date.now()));
  };
}
