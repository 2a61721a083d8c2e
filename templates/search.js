/* Search, the filter by suite, the switch of the thumbnails, and where the reader is. */
import { all, byId, classed, make, shown } from "./base.js";
import { known, nameOf, parse, scores } from "./scores.js";
import { draw, opened, returnTo } from "./passport.js";
const hidden = new Set();

/* Head names in tables and lists lead to the passport. */
if (scores.length) {
  for (const cell of all("table.rows td, table.rows th, .head")) {
    if (cell.childElementCount === 0 && parse(cell.textContent) >= 0) {
      const link = make("a", cell.textContent);
      link.href = `#${cell.textContent}`;
      cell.replaceChildren(link);
    }
  }
}

/* One field for heads, relations and figures. */
const finder = byId("find"), input = byId("find-text"), results = byId("found"), counted = byId("found-count");
const titles = all(".plate").map((plate) => ({
  words: plate.querySelector("figcaption b").textContent.replace(/\.$/, ""), what: plate.querySelector(".fignum").textContent.replace(/\.$/, ""), href: `#${plate.id}`,
}));
const sections = all("main > section[id]").map((section) => ({ words: section.querySelector("h2").textContent, what: "section", href: `#${section.id}` }));
const matches = (text) => {
  const query = text.trim().toLowerCase();
  if (!query) return [];
  const found = [];
  const exact = parse(query);
  if (exact >= 0) found.push({ words: nameOf(exact), what: "head", href: `#${nameOf(exact)}` });
  const begun = /^l\d+(h\d*)?$/.test(query);
  if (begun) {
    for (let i = 0; i < known.layers * known.heads && found.length < 12; i += 1) {
      const name = nameOf(i);
      if (i !== exact && name.toLowerCase().startsWith(query)) found.push({ words: name, what: "head", href: `#${name}` });
    }
  }
  const holds = ({ words }) => query.split(/\s+/).every((part) => words.toLowerCase().includes(part));
  found.push(...titles.filter(holds), ...sections.filter(holds));
  for (const set of known.sets ?? []) {
    if (holds({ words: set.label })) found.push(...set.heads.slice(0, 6).map((name) => ({ words: name, what: set.label, href: `#${name}` })));
  }
  for (const score of scores.filter((s) => holds({ words: s.label })).slice(0, 6)) {
    const values = exact(score), size = score.signed ? Math.abs : (v) => v;
    const best = values.reduce((top, v, i) => (!Number.isNaN(v) && (top < 0 || size(v) > size(values[top])) ? i : top), -1);
    if (best >= 0) found.push({ words: nameOf(best), what: `first in ${score.label}, ${shown(values[best])}`, href: `#${nameOf(best)}` });
  }
  return found.slice(0, 12);
};
const search = () => {
  const found = matches(input.value);
  results.replaceChildren(...found.map(({ words, what, href }) => {
    const link = make("a", words, " ", classed(make("span", what), "quiet"));
    link.href = href;
    return make("li", "", link);
  }));
  results.hidden = !found.length;
  counted.textContent = input.value.trim() ? `${found.length} found` : "";
};
finder.hidden = false;
input.addEventListener("input", search);
input.addEventListener("focus", search);
finder.addEventListener("submit", (event) => {
  event.preventDefault();
  results.querySelector("a")?.click();
});
finder.addEventListener("keydown", (event) => {
  const links = all("a", results), here = links.indexOf(document.activeElement);
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    const next = here + (event.key === "ArrowDown" ? 1 : -1);
    (next < 0 ? input : links[Math.min(next, links.length - 1)])?.focus();
  } else if (event.key === "Escape" && !results.hidden) {
    event.stopPropagation();
    results.hidden = true;
    input.focus();
    results.hidden = true;
  }
});
finder.addEventListener("focusout", (event) => { if (!finder.contains(event.relatedTarget)) results.hidden = true; });
results.addEventListener("click", (event) => { if (event.target.closest("a")) { results.hidden = true; returnTo(input); } });
addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) { event.preventDefault(); input.focus(); }
});

/* Suites shown. */
const filter = byId("suites");
if (all("button", filter).length > 1) {
  filter.hidden = false;
  for (const toggle of all("button", filter)) {
    toggle.addEventListener("click", () => {
      const suite = toggle.dataset.suite;
      if (hidden.has(suite)) hidden.delete(suite); else hidden.add(suite);
      toggle.setAttribute("aria-pressed", String(!hidden.has(suite)));
      for (const node of all("[data-suite]")) if (node.tagName !== "BUTTON") node.hidden = hidden.has(node.dataset.suite);
      if (opened >= 0) draw(opened);
    });
  }
}

/* The same maps for the model and for each control. */
const shows = byId("show"), wall = document.querySelector(".wall");
if (shows) {
  shows.hidden = false;
  for (const choice of all("button", shows)) {
    choice.addEventListener("click", () => {
      wall.dataset.show = choice.dataset.show;
      for (const control of all(".control", wall)) control.classList.toggle("shown", control.dataset.control === choice.dataset.show);
      for (const other of all("button", shows)) other.setAttribute("aria-pressed", String(other === choice));
    });
  }
}

/* The entry of the contents where the reader is, kept in sight. */
const entries = new Map(all("nav.side a").map((link) => [link.hash.slice(1), link]));
const side = document.querySelector("nav.side");
const visible = new Set();
const spy = new IntersectionObserver((changes) => {
  for (const change of changes) if (change.isIntersecting) visible.add(change.target.id); else visible.delete(change.target.id);
  const now = [...entries.keys()].filter((id) => visible.has(id)).at(-1);
  if (!now) return;
  for (const link of entries.values()) link.removeAttribute("aria-current");
  const link = entries.get(now);
  link.setAttribute("aria-current", "true");
  const top = link.getBoundingClientRect().top - side.getBoundingClientRect().top;
  if (top < 40 || top > side.clientHeight - 60) side.scrollTop += top - side.clientHeight / 2;
}, { rootMargin: "-10% 0px -70% 0px" });
for (const id of entries.keys()) if (byId(id)) spy.observe(byId(id));

export { filter, hidden };
