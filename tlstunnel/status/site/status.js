// Keeps the page up to date: the server makes it again, and what has changed is put in its place.
"use strict";

(() => {
  // Between two looks; and a look may take this part of the time only, so that it costs little.
  const SECONDS = 2;
  const SHARE = 0.05;
  let failed = 0;

  const openDetails = () =>
    new Set([...document.querySelectorAll("details[open]")].map((each) => each.id));

  const isBusy = () => document.hidden || !document.getSelection().isCollapsed;

  async function refresh() {
    const answer = await fetch("./", { cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (isBusy()) return;
    const open = openDetails();
    for (const id of ["health", "live"]) {
      document.getElementById(id).replaceWith(fresh.getElementById(id));
    }
    for (const each of document.querySelectorAll("details")) each.open = open.has(each.id);
    document.title = fresh.title;
  }

  async function turn() {
    const began = performance.now();
    if (!isBusy()) {
      try {
        await refresh();
        failed = 0;
      } catch {
        failed += 1;
      }
      document.documentElement.dataset.state = failed ? "lost" : "live";
    }
    const took = performance.now() - began;
    setTimeout(turn, Math.max(SECONDS * 1000 * Math.min(1 + failed, 5), took / SHARE));
  }

  setTimeout(turn, SECONDS * 1000);
  document.documentElement.dataset.state = "live";
})();
