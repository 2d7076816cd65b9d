// The live part of the pages. Everything works without it, by forms and links; with it the pages follow the router by
// themselves, clocks tick, and closing a lease does not load the page anew.
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

  // --- copying ---------------------------------------------------------------------------------

  // Browsers give the clipboard to pages of TLS only; elsewhere the text is selected, to be copied by hand.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (!button) return;
    const source = byId(button.dataset.copy);
    getSelection().selectAllChildren(source);
    try {
      if (navigator.clipboard) await navigator.clipboard.writeText(source.textContent);
      else if (!document.execCommand("copy")) return;
      button.textContent = body.dataset.copied;
    } catch { /* it stays selected */ }
  });

  // --- files -----------------------------------------------------------------------------------

  for (const field of document.querySelectorAll("[data-into]")) {
    field.closest("[hidden]").hidden = false;
    field.addEventListener("change", async () => {
      if (field.files.length) byId(field.dataset.into).value = await field.files[0].text();
    });
  }

  function enliven(root) {
    for (const button of root.querySelectorAll("[data-copy]")) button.hidden = false;
    wind(root);
  }

  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.closest("input, select, textarea") || !byId("q")) return;
    event.preventDefault();
    byId("q").focus();
  });

  document.querySelector(".side [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

  const mode = body.dataset.live;
  const rows = mode === "rows" ? byId("rows") : null;
  const most = 200; // rows of a page, as the server sends them

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
    for (const clock of document.querySelectorAll("[data-left]")) {
      if (!ends.has(clock)) continue;
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

  // Where the focus is in an element, as what puts it into another one: into the same row, if there are rows, at the same place.
  // Null if it is elsewhere.
  const focusable = "a, button, summary, [type=checkbox]";
  function focusIn(root) {
    const at = document.activeElement;
    if (!root.contains(at)) return null;
    const row = at.closest("tr[id]"), index = [...(row ?? root).querySelectorAll(focusable)].indexOf(at);
    return (other) => {
      const place = row ? byId(row.id) : other;
      if (index >= 0) (place?.querySelectorAll(focusable)[index] ?? byId("main")).focus();
    };
  }

  // Puts one row where it belongs, newest first; one that is there already is replaced.
  function put(row) {
    const old = byId(row.id);
    wind(row);
    if (old) {
      if (old.dataset.closing && !row.classList.contains("stuck")) return;
      const focus = focusIn(old);
      row.querySelector("[name=id]").checked = old.querySelector("[name=id]").checked;
      old.replaceWith(row);
      focus?.(row);
      return;
    }
    const seq = Number(row.dataset.seq);
    const next = [...rows.rows].find((other) => Number(other.dataset.seq) < seq);
    if (!next && rows.rows.length >= most) return; // it is on a later page
    const fresh = next === rows.rows[0]; // below the others it is one that had no place before
    rows.insertBefore(row, next ?? null);
    if (rows.rows.length > most) rows.rows[most].remove();
    byId("leases").hidden = false;
    if (!fresh) return;
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

  // Makes the list equal to another one.
  function takeRows(all) {
    const fresh = [...all.querySelectorAll("tr")], ids = new Set(fresh.map((row) => row.id));
    for (const row of [...rows.rows]) if (!ids.has(row.id)) remove(row.dataset.id);
    fresh.forEach(put);
  }

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
    button.ariaDisabled = "true"; // a button that is disabled loses the focus
    button.textContent = body.dataset.closing;
    let reason;
    try {
      const answer = await fetch("/api/v1/leases/" + row.dataset.id, { method: "DELETE" });
      if (answer.status === 401) return location.reload();
      if (answer.ok || answer.status === 404) {
        remove(row.dataset.id);
        choose();
        if (answer.ok) offerUndo(row.dataset.id, row.dataset.what);
        return;
      }
      reason = (await answer.json()).detail;
    } catch (problem) {
      reason = problem.message;
    }
    delete row.dataset.closing;
    button.ariaDisabled = null;
    button.textContent = label;
    if (row.isConnected) refused(row, reason);
  }

  // In a row, or in its menu.
  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-close]"), row = form?.closest("tr") ?? byId("lease-" + form?.dataset.close);
    if (!row || !toast) return;
    event.preventDefault();
    menu.close();
    if (!row.dataset.closing) close(row, row.querySelector("[data-close] button"));
  });

  // --- taking back -----------------------------------------------------------------------------

  // For eight seconds, and for as long as somebody looks at it: the pointer or the focus is there.
  const toast = byId("toast");
  let offered, hiding;

  function hideToast() {
    clearTimeout(hiding);
    hiding = setTimeout(() => {
      if (toast.matches(":hover, :focus-within")) hideToast();
      else toast.hidden = true;
    }, 8000);
  }

  function say(text, id) {
    offered = id;
    toast.firstElementChild.textContent = text;
    toast.querySelector("button").hidden = !id;
    toast.hidden = false;
    hideToast();
  }

  function offerUndo(id, what) { say(fill(toast.dataset.closed, { what }), id); }

  toast?.querySelector("button").addEventListener("click", async () => {
    let reason;
    try {
      const answer = await fetch("/api/v1/leases/" + offered + "/reopen", { method: "POST" });
      if (answer.status === 401) return location.reload();
      if (!answer.ok) reason = (await answer.json()).detail;
    } catch (problem) {
      reason = problem.message;
    }
    if (reason) return say(fill(toast.dataset.failed, { reason }));
    toast.hidden = true;
    byId("leases").focus();
    if (!rows) return renew();
    const fresh = await freshPage(); // the stream may have seen no change
    if (fresh) takeRows(fresh.getElementById("rows"));
  });

  // --- the menu of a row -----------------------------------------------------------------------

  // It is what the page of the lease has, asked for when it is wanted.
  const menu = byId("menu");

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-menu]");
    if (!button || !menu || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    let page;
    try {
      page = await fetch(button.href, { headers: { Accept: "text/html" } });
    } catch { /* the browser shows what is wrong */ }
    if (!page?.ok || page.redirected) return location.assign(button.href);
    const actions = new DOMParser().parseFromString(await page.text(), "text/html").getElementById("actions");
    actions.querySelector("h2").remove();
    for (const field of actions.querySelectorAll("[name=back]")) field.value = location.pathname + location.search;
    byId("menu-title").textContent = button.closest("tr").dataset.what;
    byId("menu-body").replaceChildren(...actions.childNodes);
    enliven(menu);
    menu.showModal();
  });

  menu?.addEventListener("click", (event) => { if (event.target === menu) menu.close(); });

  // --- choosing rows ---------------------------------------------------------------------------

  function choose() {
    const chosen = byId("chosen");
    if (chosen) chosen.textContent = fill(chosen.dataset.text, { n: document.querySelectorAll("#leases [name=id]:checked").length });
  }

  document.addEventListener("change", (event) => { if (event.target.matches("#leases [name=id]")) choose(); });

  if (byId("chooseall")) {
    byId("chooseall").hidden = false;
    byId("chooseall").addEventListener("click", () => {
      for (const box of document.querySelectorAll("#leases [name=id]")) box.checked = true;
      choose();
    });
  }

  // --- parts -----------------------------------------------------------------------------------

  // A page that is no plain list asks for itself anew when the state has changed, and takes over its parts. What the reader
  // has opened stays open, and what has the focus keeps it.
  const pause = 2000;
  let asked = 0, asking, missed = false;

  function renew() {
    clearTimeout(asking);
    asking = setTimeout(fetchParts, Math.max(0, asked + pause - performance.now()));
  }

  async function fetchParts() {
    if (document.querySelector("[data-part] :is(input:not([type=checkbox]), select, textarea):focus")) { missed = true; return; }
    asked = performance.now();
    const fresh = await freshPage();
    if (fresh) takeParts(fresh);
  }

  // The page as it is now; null if the router does not give it.
  async function freshPage() {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.redirected) location.reload(); // to sign in again
      else if (answer.ok) return new DOMParser().parseFromString(await answer.text(), "text/html");
    } catch { /* it is gone, which the stream tells too */ }
    return null;
  }

  function takeParts(fresh) {
    let changed = false;
    for (const part of document.querySelectorAll("[data-part]")) {
      const other = fresh.getElementById(part.id);
      if (other && other.outerHTML !== part.original) changed = replace(part, other) || changed;
    }
    body.dataset.state = fresh.body.dataset.state;
    if (changed) announce = true;
  }

  let announce = false;
  setInterval(() => {
    if (announce) byId("announce").textContent = body.dataset.updated;
    announce = false;
  }, 5000);

  // What changes while the state does not, such as who was heard, is asked for now and then.
  const often = document.querySelector("[data-again]")?.dataset.again;
  if (often) setInterval(() => { if (!document.hidden && !body.classList.contains("lost")) renew(); }, 1000 * Number(often));

  // Elements are found again by their place: the n-th of their kind.
  function replace(part, other) {
    const original = other.outerHTML;
    const open = [...part.querySelectorAll("details")].map((d) => d.open);
    const chosen = new Set([...part.querySelectorAll("[name=id]:checked")].map((box) => box.value));
    const focus = focusIn(part);
    part.replaceWith(other);
    other.original = original;
    [...other.querySelectorAll("details")].forEach((d, i) => { d.open = open[i] ?? false; });
    for (const box of other.querySelectorAll("[name=id]")) box.checked = chosen.has(box.value);
    focus?.(other);
    choose();
    enliven(other);
    return true;
  }

  document.addEventListener("focusout", () => { if (missed) { missed = false; renew(); } });

  // --- the order of rules ----------------------------------------------------------------------

  // Rules are moved by buttons; with a script also by dragging them, and by Alt with the arrow keys. Each sends the form of
  // the buttons, with the place among the rules that can be moved.
  for (const list of document.querySelectorAll("[data-sort]")) {
    const own = () => [...list.querySelectorAll("[data-own]")];
    let dragged;
    document.querySelector("[data-sorthelp]").hidden = own().length < 2;
    function move(rule, to) {
      if (to < 0 || to >= own().length || to === own().indexOf(rule)) return;
      const form = rule.querySelector("[data-move]"), place = document.createElement("input");
      Object.assign(place, { type: "hidden", name: "to", value: to });
      form.append(place);
      form.submit();
    }
    for (const rule of own()) {
      rule.draggable = true;
      rule.addEventListener("dragstart", (event) => { dragged = rule; event.dataTransfer.setData("text/plain", rule.id); });
      rule.addEventListener("dragend", () => {
        dragged = undefined;
        for (const other of own()) other.classList.remove("target");
      });
      rule.addEventListener("dragover", (event) => {
        if (!dragged) return;
        event.preventDefault();
        for (const other of own()) other.classList.toggle("target", other === rule && other !== dragged);
      });
      rule.addEventListener("drop", (event) => {
        if (!dragged) return;
        event.preventDefault();
        move(dragged, own().indexOf(rule));
      });
      rule.addEventListener("keydown", (event) => {
        const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
        if (!event.altKey || !by) return;
        event.preventDefault();
        move(rule, own().indexOf(rule) + by);
      });
    }
    // After a move the rule has the focus again, so that the next key moves it on. The browser takes the focus away
    // when it goes to the part of the page that the address names, so this comes later.
    const moved = location.hash.startsWith("#rule-") && byId(location.hash.slice(1))?.querySelector("button");
    if (moved) addEventListener("load", () => moved.focus());
  }

  // --- following the router --------------------------------------------------------------------

  const stale = byId("stale");
  let source, known = new Date(), again;

  function connected(yes) {
    for (const sign of document.querySelectorAll("#live")) sign.hidden = !yes;
    stale.hidden = yes;
    body.classList.toggle("lost", !yes);
    if (yes) known = new Date();
    else stale.textContent = fill(stale.dataset.text, { time: known.toLocaleTimeString(document.documentElement.lang) });
  }

  function listen() {
    clearTimeout(again);
    source?.close();
    source = new EventSource("/live?" + new URLSearchParams({ page: mode, state: body.dataset.state }));
    source.addEventListener("leases", (event) => takeRows(parse(event.data)));
    source.addEventListener("lease", (event) => put(parse(event.data).querySelector("tr")));
    source.addEventListener("gone", (event) => remove(JSON.parse(event.data).id));
    source.addEventListener("status", (event) => {
      for (const part of [...parse(event.data).children]) {
        byId(part.id)?.replaceWith(part);
        wind(part);
      }
      tick();
      connected(true);
      if (mode === "parts" && event.lastEventId !== body.dataset.state) renew();
    });
    source.onerror = () => {
      // A browser comes back by itself after a broken connection, but not after a refusal.
      if (source.readyState === EventSource.CLOSED) poll();
      else connected(false);
    };
  }

  // How leases are used changes without a change of the state: the page looks once a minute.
  async function takeUses() {
    if (document.hidden || body.classList.contains("lost")) return;
    if (!rows) return renew();
    const fresh = await freshPage();
    for (const row of fresh?.querySelectorAll("#rows tr") ?? []) {
      const old = byId(row.id)?.querySelectorAll(".use") ?? [];
      row.querySelectorAll(".use").forEach((cell, i) => { if (old[i] && old[i].innerHTML !== cell.innerHTML) old[i].replaceWith(cell); });
    }
  }

  // The router has no place for one more stream, or asks who this is: the page asks for itself every five seconds, and each
  // time for a place.
  async function poll() {
    again = setTimeout(listen, 5000);
    const fresh = await freshPage();
    connected(fresh !== null);
    if (!fresh) return;
    if (rows) takeRows(fresh.getElementById("rows"));
    else if (!document.querySelector("[data-part] :is(input:not([type=checkbox]), select, textarea):focus")) takeParts(fresh);
    for (const id of ["banner", "count", "empty", "foot"]) {
      const part = fresh.getElementById(id);
      if (part) byId(id)?.replaceWith(part);
    }
    tick();
  }

  // Without a page that follows the router there is nothing to listen to, and forms are left alone.
  enliven(document);
  setInterval(tick, 1000);
  if (!mode) return;

  const takeUsesNow = byId("leases") || byId("lease") ? takeUses : () => {};
  setInterval(takeUsesNow, 60000);

  // A tab that nobody sees holds no connection; when it is seen again it is brought up to date.
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) {
      takeUsesNow();
      return listen();
    }
    clearTimeout(again);
    source?.close();
  });
  if (!document.hidden) listen();
})();
