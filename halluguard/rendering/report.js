"use strict";
document.documentElement.classList.add("scripted");
(() => {
  const byId = (id) => document.getElementById(id);

  // --- the table of objects
  const find = byId("find-label");
  const rows = [...document.querySelectorAll("#labels tbody tr")];
  if (find) {
    find.addEventListener("input", () => {
      const wanted = find.value.trim().toLowerCase();
      for (const row of rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
    });
  }

  // --- tables sort by the column that is clicked
  const value = (row, column) => {
    const cell = row.cells[column];
    const number = Number(cell.dataset.value ?? NaN);
    return Number.isNaN(number) ? cell.textContent.trim().toLowerCase() : number;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        // the first click begins with the largest number, or with the first name
        const order = head.getAttribute("aria-sort");
        const numbers = column > 0 && "value" in table.tBodies[0].rows[0].cells[column].dataset;
        const down = order === null ? numbers : order === "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const sorted = [...table.tBodies[0].rows].map((row) => [value(row, column), row]);
        sorted.sort((a, b) => (down ? compare(b[0], a[0]) : compare(a[0], b[0])));
        table.tBodies[0].append(...sorted.map((pair) => pair[1]));
      });
    });
  }

  // --- an image that several samples share is embedded once
  for (const image of document.querySelectorAll("img[data-same]")) {
    const first = document.querySelector(`#${CSS.escape(image.dataset.same)} img`);
    if (first) image.src = first.src;
  }

  // --- the samples
  const form = byId("filters");
  if (!form) return;
  const PAGE = 60;
  const cards = [...document.querySelectorAll("#cards > article")];
  const texts = cards.map((card) => card.textContent.toLowerCase());
  const [search, why, decision, kind, label, edited] =
    ["search", "why", "decision", "kind", "label", "edited"].map(byId);
  const more = byId("more");
  let shown = PAGE;

  const has = (list, one, by) => !one || (list || "").split(by).includes(one);

  let wanted = null; // the card that the address names

  function update() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let fitting = 0;
    cards.forEach((card, i) => {
      const data = card.dataset;
      const fits =
        has(data.why, why.value, " ") && has(data.decisions, decision.value, " ") &&
        has(data.kinds, kind.value, " ") &&
        (has(data.labels, label.value.trim(), "|") || has(data.omitted, label.value.trim(), "|")) &&
        (!edited.checked || "edited" in data) && words.every((word) => texts[i].includes(word));
      if (fits) fitting += 1;
      card.hidden = (!fits || fitting > shown) && card !== wanted;
    });
    more.hidden = fitting <= shown;
    const none = fitting || !label.value.trim() ? "" : `; claims.parquet has all claims about ${label.value.trim()}`;
    byId("count").textContent = `${fitting} of ${cards.length} samples${none}`;
  }

  function filter() {
    shown = PAGE;
    update();
  }

  form.addEventListener("input", filter);
  form.addEventListener("change", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  more.addEventListener("click", () => {
    const next = shown;
    shown += PAGE;
    update();
    const visible = cards.filter((card) => !card.hidden);
    if (visible[next]) visible[next].focus();
  });
  for (const button of document.querySelectorAll("button[data-label]")) {
    button.addEventListener("click", () => {
      label.value = button.dataset.label;
      filter();
      byId("samples").scrollIntoView();
      label.focus({ preventScroll: true });
    });
  }

  // --- permalinks
  function follow() {
    wanted = /^#row-\d+$/.test(location.hash) ? byId(location.hash.slice(1)) : null;
    update();
    if (wanted) {
      const row = wanted;
      const show = () => row.scrollIntoView();
      show();
      requestAnimationFrame(() => requestAnimationFrame(show)); // rows above get their height when they are laid out
      row.focus({ preventScroll: true });
    }
  }
  window.addEventListener("hashchange", follow);

  // --- human verdicts, saved as JSON lines that `halluguard audit --verdicts` reads
  const human = new Map();
  const save = byId("save");
  for (const verdict of document.querySelectorAll(".judge .verdict")) {
    for (const word of ["accept", "dispute"]) {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.human = button.textContent = word;
      button.setAttribute("aria-pressed", "false");
      verdict.append(" ", button);
    }
  }
  for (const button of document.querySelectorAll("button[data-human]")) {
    button.addEventListener("click", () => {
      const verdict = button.closest(".verdict");
      const index = Number(button.closest(".judge").dataset.index);
      const key = `${index} ${verdict.dataset.claim}`;
      const pressed = button.getAttribute("aria-pressed") === "true";
      for (const other of verdict.querySelectorAll("button")) other.setAttribute("aria-pressed", "false");
      if (pressed) {
        human.delete(key);
      } else {
        button.setAttribute("aria-pressed", "true");
        const { claim, phrase, decision } = verdict.dataset;
        human.set(key, { index, claim: Number(claim), phrase, decision, human: button.dataset.human });
      }
      save.disabled = human.size === 0;
      save.textContent = `Save human verdicts (${human.size})`;
    });
  }
  save.addEventListener("click", () => {
    const lines = [...human.values()].sort((a, b) => a.index - b.index || a.claim - b.claim);
    const text = lines.map((line) => JSON.stringify(line) + "\n").join("");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/jsonl" }));
    link.download = "verdicts.jsonl";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    save.disabled = true; // until another verdict is given
  });

  window.addEventListener("beforeunload", (event) => {
    if (human.size && !save.disabled) event.preventDefault(); // verdicts that were not saved
  });

  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input:not([type=checkbox]), select");
    if (event.key === "Escape") {
      form.reset();
      document.activeElement.blur();
    } else if (event.ctrlKey || event.metaKey || event.altKey || typing) {
      return;
    } else if (event.key === "/") {
      event.preventDefault();
      search.focus();
    } else if (event.key === "j" || event.key === "k") {
      const visible = cards.filter((card) => !card.hidden);
      const at = visible.indexOf(document.activeElement.closest("#cards > article"));
      const next = event.key === "j" ? at + 1 : Math.max(at - 1, 0);
      if (visible[next]) visible[next].focus();
    }
  });
  follow();
})();
