// Asks again and again while somebody looks, and says so when the server does not answer.

/**
 * Call `work` every `period` milliseconds; not while the tab is hidden, and at once when it is shown again.
 * `note` is given the words of what is wrong, or nothing.
 */
export function poll(period, work, note) {
  let timer = null;
  let busy = false;

  async function round() {
    clearTimeout(timer);
    timer = null;
    if (document.hidden || busy) return;
    busy = true;
    try {
      await work();
      note("");
    } catch (error) {
      note(`Not up to date: ${error.message}`);
    } finally {
      busy = false;
      timer = setTimeout(round, period);
    }
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) round();
  });
  timer = setTimeout(round, period);
}

/** The answer of our own server, as a person who is logged in gets it. */
export async function ask(url) {
  let answer;
  try {
    answer = await fetch(url, { credentials: "same-origin", redirect: "error", cache: "no-store" });
  } catch {
    throw new Error("the server does not answer, or you are logged out. It is asked again.");
  }
  if (!answer.ok) throw new Error(`the server says ${answer.status}. It is asked again.`);
  return answer;
}
