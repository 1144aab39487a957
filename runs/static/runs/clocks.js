// Times that go on: `data-since` counts up, `data-until` counts down. The words are those of `runs.words`.

const UNITS = [
  [86_400, "d", 3_600, "h"],
  [3_600, "h", 60, "min"],
  [60, "min", 1, "s"],
];

let ahead = 0; // how far the server's clock is ahead of this one, in milliseconds

export function setServerTime(milliseconds) {
  if (milliseconds) ahead = milliseconds - Date.now();
}

export function serverNow() {
  return Date.now() + ahead;
}

export function duration(seconds) {
  if (seconds < 9.95) return `${Math.max(seconds, 0).toFixed(1)} s`;
  const whole = Math.round(seconds);
  for (const [size, unit, smallerSize, smaller] of UNITS) {
    if (whole >= size) {
      const rest = Math.floor((whole % size) / smallerSize);
      return `${Math.floor(whole / size)} ${unit}` + (rest ? ` ${rest} ${smaller}` : "");
    }
  }
  return `${whole} s`;
}

function remaining(seconds) {
  const whole = Math.max(Math.ceil(seconds), 0);
  return whole < 60 ? `${whole} s` : duration(whole);
}

// Once a second, whole seconds only: a tenth that jumps says nothing.
export function startClocks() {
  const tick = () => {
    const now = serverNow();
    for (const clock of document.querySelectorAll(".clock")) {
      const { since, until } = clock.dataset;
      const seconds = since ? Math.floor((now - Number(since)) / 1000) : (Number(until) - now) / 1000;
      const words = since ? (seconds < 10 ? `${Math.max(seconds, 0)} s` : duration(seconds)) : remaining(seconds);
      if (clock.textContent !== words) clock.textContent = words;
    }
  };
  tick();
  setInterval(tick, 1000);
}
