// The live part of the pages. Everything works without it, by forms and links; with it the list follows the
// router by itself, clocks tick, and closing a lease does not load the page anew.
"use strict";

(() => {
  const body = document.body;
  const byId = (id) => document.getElementById(id);
  // Puts values for the names in braces into a text of the catalogue.
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);

  // --- show and hide what is typed -------------------------------------------------------------

  for (const button of document.querySelectorAll("[data-reveal]")) {
    const field = byId(button.dataset.reveal);
    button.hidden = false;
    button.addEventListener("click", () => {
      const shown = field.type === "password";
      field.type = shown ? "text" : "password";
      button.textContent = shown ? button.dataset.hide : button.dataset.show;
      button.setAttribute("aria-pressed", String(shown));
      field.focus();
    });
  }

  const rows = byId("rows");
  if (!rows) return;

  // --- clocks ----------------------------------------------------------------------------------

  // The server says how many seconds are left, and performance.now() counts them: neither the router's nor
  // this computer's time of day matters.
  const ends = new WeakMap();

  function wind(root) {
    for (const clock of root.querySelectorAll("[data-left]")) {
      ends.set(clock, performance.now() + 1000 * Number(clock.dataset.left));
    }
  }

  function duration(seconds) {
    const two = (n) => String(n).padStart(2, "0");
    const d = Math.floor(seconds / 86400), h = Math.floor(seconds / 3600), m = Math.floor(seconds / 60);
    if (d > 0) return fill(body.dataset.days, { days: d, hours: h % 24 });
    if (h > 0) return fill(body.dataset.hours, { hours: h, minutes: two(m % 60) });
    if (m > 0) return fill(body.dataset.minutes, { minutes: m, seconds: two(seconds % 60) });
    return fill(body.dataset.seconds, { seconds });
  }

  function tick() {
    for (const clock of rows.querySelectorAll("[data-left]")) {
      const left = Math.max(0, Math.floor((ends.get(clock) - performance.now()) / 1000));
      const text = duration(left);
      if (clock.textContent !== text) clock.textContent = text;
      clock.classList.toggle("soon", left < 60);
    }
  }

  // --- rows ------------------------------------------------------------------------------------

  const changes = { opened: 0, closed: 0 };

  function parse(html) {
    const holder = document.createElement("template");
    holder.innerHTML = html; // from our own templates, which escape what devices sent
    return holder.content;
  }

  // Puts one row where it belongs, newest first; one that is there already is replaced.
  function put(row) {
    const old = byId(row.id);
    wind(row);
    if (old) {
      if (old.dataset.closing && !row.classList.contains("stuck")) return;
      const focused = old.contains(document.activeElement);
      old.replaceWith(row);
      if (focused) row.querySelector("button")?.focus();
      return;
    }
    const seq = Number(row.dataset.seq);
    const next = [...rows.rows].find((other) => Number(other.dataset.seq) < seq);
    rows.insertBefore(row, next ?? null);
    row.classList.add("new");
    changes.opened++;
  }

  function remove(id) {
    const row = byId("lease-" + id);
    if (!row) return;
    const focused = row.contains(document.activeElement);
    const near = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    if (focused) (near?.querySelector("button") ?? byId("leases")).focus();
    changes.closed++;
  }

  // At most one announcement in five seconds, for those who listen to the page.
  setInterval(() => {
    if (changes.opened + changes.closed === 0) return;
    byId("announce").textContent = fill(body.dataset.changes, changes);
    changes.opened = changes.closed = 0;
  }, 5000);

  // --- closing ---------------------------------------------------------------------------------

  function refused(row, reason) {
    row.querySelector(".failed")?.remove();
    const note = document.createElement("span");
    note.className = "failed";
    note.setAttribute("role", "alert");
    note.textContent = fill(body.dataset.failed, { reason });
    row.querySelector(".description").append(note);
  }

  async function close(row, button) {
    const label = button.textContent;
    row.dataset.closing = "yes";
    button.disabled = true;
    button.textContent = body.dataset.closing;
    let reason;
    try {
      const answer = await fetch("/api/v1/leases/" + row.dataset.id, { method: "DELETE" });
      if (answer.status === 401) return location.reload();
      if (answer.ok || answer.status === 404) return remove(row.dataset.id);
      reason = (await answer.json()).detail;
    } catch (problem) {
      reason = problem.message;
    }
    delete row.dataset.closing;
    button.disabled = false;
    button.textContent = label;
    if (row.isConnected) refused(row, reason);
  }

  rows.addEventListener("submit", (event) => {
    event.preventDefault();
    const row = event.target.closest("tr");
    if (!row.dataset.closing) close(row, event.target.querySelector("button"));
  });

  // --- following the router --------------------------------------------------------------------

  const stale = byId("stale"), live = byId("live");
  let source, known = new Date(), again;

  function connected(yes) {
    live.hidden = !yes;
    stale.hidden = yes;
    body.classList.toggle("lost", !yes);
    if (yes) known = new Date();
    else stale.textContent = fill(stale.dataset.text, { time: known.toLocaleTimeString() });
  }

  function listen() {
    clearTimeout(again);
    source?.close();
    source = new EventSource("/live");
    source.addEventListener("leases", (event) => {
      const all = parse(event.data), ids = new Set();
      for (const row of all.querySelectorAll("tr")) ids.add(row.id);
      for (const row of [...rows.rows]) if (!ids.has(row.id)) remove(row.dataset.id);
      for (const row of [...all.querySelectorAll("tr")]) put(row);
    });
    source.addEventListener("lease", (event) => put(parse(event.data).querySelector("tr")));
    source.addEventListener("gone", (event) => remove(JSON.parse(event.data).id));
    source.addEventListener("status", (event) => {
      for (const part of [...parse(event.data).children]) byId(part.id)?.replaceWith(part);
      tick();
      connected(true);
    });
    source.onerror = () => {
      connected(false);
      // A browser comes back by itself after a broken connection, but not after a refusal.
      if (source.readyState === EventSource.CLOSED) again = setTimeout(retry, 5000);
    };
  }

  async function retry() {
    try {
      const session = await (await fetch("/api/v1/session")).json();
      if (session.state !== "open") return location.reload();
    } catch {
      // Not there yet: listen fails too and comes here again.
    }
    listen();
  }

  // A tab that nobody sees holds no connection; when it is seen again it is brought up to date.
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) return listen();
    clearTimeout(again);
    source?.close();
  });

  wind(rows);
  setInterval(tick, 1000);
  if (!document.hidden) listen();
})();
