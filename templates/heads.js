/* Every head of every run: every word typed must be found in the head's run, name or classes; maps show what is left. */
import { all, byId, drawn } from "./base.js";
const listed = byId("all");
if (listed) {
  const search = byId("head-search"), wanted = byId("head-class"), which = byId("head-map"), figures = all(".head-map");
  const labels = new Map([...wanted.options].map((option) => [option.value, option.textContent.toLowerCase()]));
  const runs = all("section.run", listed).map((node) => ({
    node, name: node.dataset.name.toLowerCase(), place: node.dataset.run, layers: all("p", node).map((p) => ({ p, heads: all("a", p) })),
  }));
  const total = runs.reduce((sum, run) => sum + run.layers.reduce((n, layer) => n + layer.heads.length, 0), 0);

  /* A page opened as a file has no server that adds index.html. */
  if (location.protocol === "file:") for (const link of all("p a", listed)) if (link.pathname.endsWith("/")) link.pathname += "index.html";

  /* A run's path has a move for each head in the order of its list, and a closed point for each that has a value. */
  const dots = (path) => {
    if (path.at) return path.at;
    let x = 0, y = 0;
    path.at = [...path.getAttribute("d").matchAll(/m(-?\d+) ?(-?\d+)(z)?/g)].map(([, dx, dy, dot]) => {
      x += Number(dx); y += Number(dy);
      return dot ? [x, y] : null;
    });
    return path.at;
  };
  const redraw = (kept, filtered) => {
    for (const figure of figures) {
      const art = figure.querySelector("svg");
      for (const old of all(".kept", art)) old.remove();
      art.classList.toggle("dimmed", filtered);
      if (!filtered) continue;
      for (const path of all(".dots", art)) {
        const heads = kept.get(path.dataset.run) ?? [], at = dots(path);
        const d = heads.map((i) => at[i]).filter(Boolean).map(([x, y]) => `M${x} ${y}z`).join("");
        if (d) art.append(drawn("path", { d, class: `kept ${path.classList[1]}` }));
      }
    }
  };
  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean), one = wanted.value;
    const kept = new Map();
    let seen = 0;
    for (const run of runs) {
      const rest = words.filter((word) => !run.name.includes(word)), mine = [];
      let i = 0;
      for (const { p, heads } of run.layers) {
        let left = 0;
        for (const head of heads) {
          const held = head.dataset.c?.split(" ") ?? [];
          const name = head.hash.slice(1).toLowerCase();
          const fits = (!one || held.includes(one)) && rest.every((word) => name === word || (/^l\d+$/.test(word) && name.startsWith(`${word}h`)) || held.some((c) => labels.get(c)?.includes(word)));
          head.hidden = !fits;
          if (fits) { left += 1; mine.push(i); }
          i += 1;
        }
        p.hidden = !left;
        seen += left;
      }
      run.node.hidden = !mine.length;
      kept.set(run.place, mine);
    }
    const filtered = seen < total;
    byId("head-count").textContent = filtered ? `${seen} of ${total} heads` : `${total} heads`;
    byId("no-head").hidden = seen > 0;
    redraw(kept, filtered);
  };
  which.addEventListener("change", () => figures.forEach((figure, i) => { figure.hidden = which.value !== "" && Number(which.value) !== i; }));
  search.addEventListener("input", show);
  wanted.addEventListener("change", show);

  /* The dot under the pointer: its head in the note below, its passport on a click. */
  for (const figure of figures) {
    const art = figure.querySelector("svg"), note = figure.querySelector(".note"), said = note.textContent;
    const under = (event) => {
      const { left, top, width } = art.getBoundingClientRect(), scale = 326 / width;
      const x = (event.clientX - left) * scale - 22, y = (event.clientY - top) * scale - 4;
      let best = null, near = 16;
      for (const path of all(".dots", art)) {
        const run = runs.find((each) => each.place === path.dataset.run);
        dots(path).forEach((at, i) => {
          const far = at ? (at[0] - x) ** 2 + (at[1] - y) ** 2 : Infinity;
          if (far < near) { near = far; best = [run, i]; }
        });
      }
      if (!best) return null;
      const [run, i] = best, heads = run.layers[0].heads.length;
      const link = run.layers[Math.floor(i / heads)].heads[i % heads];
      return link.hidden ? null : { words: `${run.node.dataset.name} ${link.hash.slice(1)}. Click: its passport.`, href: link.href };
    };
    art.addEventListener("pointermove", (event) => { const found = under(event); note.textContent = found ? found.words : said; art.style.cursor = found ? "pointer" : ""; });
    art.addEventListener("pointerleave", () => { note.textContent = said; });
    art.addEventListener("click", (event) => { const found = under(event); if (found) location.assign(found.href); });
  }
  byId("head-tools").hidden = false;
  show();
}
