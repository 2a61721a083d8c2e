/* Score maps: the cell under the pointer or the arrow keys is named; a click or Enter opens its passport. Where a cell
   stands comes from the panel's origin and steps, so that markers, legends and everything else drawn on top of the
   cells never hide them from the pointer. */
import { all, byId, classed, drawn, make, shown } from "./base.js";
import { at, between, byKey, chance, exact, isEstimate, known, nameOf, rank, setsOf, why } from "./scores.js";
import { passport, visit } from "./passport.js";
const tip = classed(make("div"), "tip");
tip.hidden = true;
const said = classed(make("div"), "hide");
said.setAttribute("role", "status");
document.body.append(tip, said);

const panelOf = ([key, x, y, across, down, turned]) => {
  const columns = turned ? known.heads : known.layers, rows = turned ? known.layers : known.heads;
  const place = (i) => {
    const layer = Math.floor(i / known.heads), head = i % known.heads;
    return turned ? [head, layer] : [layer, head];
  };
  return {
    key, score: byKey.get(key), columns, rows, turned, across, down,
    box: (i) => { const [c, r] = place(i); return [x + c * across, y + r * down, across, down]; },
    head: (px, py) => {
      const c = Math.floor((px - x) / across), r = Math.floor((py - y) / down);
      if (c < 0 || r < 0 || c >= columns || r >= rows) return -1;
      return turned ? r * known.heads + c : c * known.heads + r;
    },
    step: (i, dc, dr) => {
      const [c, r] = place(i);
      const clip = (value, size) => Math.max(0, Math.min(size - 1, value));
      const nc = clip(c + dc, columns), nr = clip(r + dr, rows);
      return turned ? nr * known.heads + nc : nc * known.heads + nr;
    },
  };
};
const framed = (name, [x, y, width, height]) => drawn("rect", { class: name, x, y, width, height });

/* Every place where a map is drawn, thumbnails included, so that one head can be outlined in all of them. */
const places = [];
for (const group of all("[data-panels]")) {
  for (const panel of JSON.parse(group.dataset.panels).map(panelOf)) places.push({ panel, home: group.parentNode, group });
}
for (const tile of all("[data-tile]")) places.push({ panel: panelOf(JSON.parse(tile.dataset.tile)), home: tile });
const outline = (i) => {
  for (const place of places) {
    place.mark?.remove();
    place.mark = i < 0 ? null : framed("picked", place.panel.box(i));
    if (place.mark) place.home.append(place.mark);
  }
};

const say = (score, i) => {
  const value = at(score, "value", i), place = rank(score, i), p = at(score, "p", i);
  if (Number.isNaN(value)) return [nameOf(i), score.label, `not computed: ${why(score, i) || "no reason was recorded"}`];
  const facts = [isEstimate(score, i) ? score.how : `rank ${place} of ${exact(score).filter((v) => !Number.isNaN(v)).length}`, `n ${score.n ? `= ${score.n}` : "not given"}`];
  if (!Number.isNaN(p)) facts.push(`adjusted p ${chance(p)}`);
  if (score.line != null) facts.push(`family-wise line ${shown(score.line)}`);
  return [`${nameOf(i)} ${shown(value)} ${between(score, i)}`.trim(), score.label, facts.join(", ")];
};
const hide = () => { tip.hidden = true; for (const node of all(".cell")) node.remove(); };
const near = (x, y, lines) => {
  tip.replaceChildren(make("b", lines[0]), ...lines.slice(1).map((line) => make("span", line)));
  tip.hidden = false;
  const over = x + 14 + tip.offsetWidth > innerWidth - 4 ? x - 14 - tip.offsetWidth : x + 14;
  tip.style.left = `${Math.max(4, over)}px`;
  tip.style.top = `${Math.max(4, Math.min(y + 14, innerHeight - tip.offsetHeight - 4))}px`;
};

/* One map: `panels` of one figure, moved through by pointer and keys. */
const live = (art, panels) => {
  let cursor = null;
  const mark = ({ place, i }, pointer) => {
    cursor = { place, i };
    hide();
    const cell = framed("cell", place.panel.box(i));
    place.home.append(cell);
    const labels = setsOf(nameOf(i)).slice(0, 4).map((set) => `\u2022 ${set.label}`);
    const lines = [...say(place.panel.score, i), ...labels];
    const box = cell.getBoundingClientRect();
    near(pointer ? pointer.clientX : box.right - 8, pointer ? pointer.clientY : box.bottom - 8, lines);
    if (!pointer) said.textContent = lines.join(", ");
  };
  const under = (event) => {
    for (const place of panels) {
      const matrix = place.group.getScreenCTM();
      if (!matrix) continue;
      const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
      const i = place.panel.head(point.x, point.y);
      if (i >= 0) return { place, i };
    }
    return null;
  };
  art.classList.add("live");
  art.setAttribute("role", "application");
  art.setAttribute("aria-roledescription", "score map");
  art.setAttribute("aria-label", `${art.getAttribute("aria-label")}. Arrow keys walk the heads, Enter opens one.`);
  art.addEventListener("pointermove", (event) => {
    const next = under(event);
    if (next) mark(next, event); else hide();
  });
  art.addEventListener("pointerleave", hide);
  art.addEventListener("blur", hide);
  art.addEventListener("click", (event) => {
    const next = under(event);
    if (next) { hide(); cursor = next; visit(next.i, art); }
  });
  art.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step) {
      event.preventDefault();
      const place = cursor?.place ?? panels[0];
      let next = cursor ? place.panel.step(cursor.i, ...step) : 0;
      let there = place;
      if (cursor && next === cursor.i && step[0]) {  /* over the edge into the map beside it */
        const beside = panels[panels.indexOf(place) + step[0]];
        if (beside) { there = beside; next = beside.panel.step(cursor.i, -step[0] * beside.panel.columns, 0); }
      }
      mark({ place: there, i: next });
      if (!passport.hidden) visit(next, art, true);
    } else if (event.key === "Enter" && cursor) {
      event.preventDefault();
      visit(cursor.i, art);
      byId("head-name").focus();
    }
  });
};
for (const plate of all(".plate")) {
  const here = places.filter((place) => place.panel.score && plate.contains(place.home));
  if (here.length) live(plate.querySelector(".art"), here);
}

export { hide, outline };
