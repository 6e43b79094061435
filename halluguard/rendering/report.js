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

  function update() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let fitting = 0;
    cards.forEach((card, i) => {
      const data = card.dataset;
      const fits =
        has(data.why, why.value, " ") && has(data.decisions, decision.value, " ") &&
        has(data.kinds, kind.value, " ") && has(data.labels, label.value.trim(), "|") &&
        (!edited.checked || "edited" in data) && words.every((word) => texts[i].includes(word));
      if (fits) fitting += 1;
      card.hidden = !fits || fitting > shown;
    });
    more.hidden = fitting <= shown;
    byId("count").textContent = `${fitting} of ${cards.length} samples`;
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
  update();
})();
