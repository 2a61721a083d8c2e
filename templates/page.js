"use strict";
/* The page is complete without this script. It adds: a light/dark switch, copy buttons, and the head panel. */
(() => {
  const byId = (id) => document.getElementById(id);
  const make = (tag, words, ...children) => {
    const node = document.createElement(tag);
    if (words) node.textContent = words;
    node.append(...children);
    return node;
  };

  /* Light or dark: the system's choice until the reader makes one. */
  const root = document.documentElement;
  const button = byId("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const stored = () => { try { return localStorage.getItem("reportgen-theme"); } catch { return null; } };
  const store = (theme) => { try { localStorage.setItem("reportgen-theme", theme); } catch { /* private mode: forgotten */ } };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const relabel = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  const saved = stored();
  if (saved === "light" || saved === "dark") root.dataset.theme = saved;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    store(root.dataset.theme);
    relabel();
  });
  system.addEventListener("change", relabel);
  button.hidden = false;
  relabel();

  /* Copy buttons for LaTeX and BibTeX. */
  for (const pre of document.querySelectorAll("details.tex pre")) {
    const copy = make("button", "Copy");
    copy.type = "button";
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(pre.textContent);
        copy.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(pre);
        copy.textContent = "Selected: press Ctrl+C";
      }
    });
    pre.before(copy);
  }

  /* Scores of every head, unpacked when first needed: [kind, base64] of float16 ("e") or float32 ("f"), row by layer. */
  const known = JSON.parse(byId("passport-data").textContent);
  const half = (bits) => {
    const sign = bits & 0x8000 ? -1 : 1, power = (bits >> 10) & 31, part = bits & 1023;
    if (power === 31) return part ? NaN : sign * Infinity;
    return power ? sign * 2 ** (power - 15) * (1 + part / 1024) : sign * 2 ** -14 * (part / 1024);
  };
  const unpack = ([kind, text]) => {
    const view = new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
    const size = kind === "e" ? 2 : 4;
    return Float32Array.from({ length: view.byteLength / size }, (_, i) =>
      size === 2 ? half(view.getUint16(2 * i, true)) : view.getFloat32(4 * i, true));
  };
  const grid = (score, name) => {
    if (typeof score[name]?.[0] === "string") score[name] = unpack(score[name]);
    return score[name];
  };
  const at = (score, name, i) => (score[name] ? grid(score, name)[i] : NaN);
  const shown = (x, digits = 3) => {
    if (Number.isNaN(x)) return "\u2013";
    const small = x !== 0 && Math.abs(x) < 0.5 * 10 ** -digits;
    return (small ? x.toExponential(1) : x.toFixed(digits)).replace("-", "\u2212");
  };
  const between = (score, i) => {
    const low = at(score, "low", i), high = at(score, "high", i);
    return Number.isNaN(low) || Number.isNaN(high) ? "\u2013" : `[${shown(low)}, ${shown(high)}]`;
  };
  const chance = (p) => (Number.isNaN(p) ? "\u2013" : p < 0.001 ? "<0.001" : p.toFixed(3));
  const rank = (score, i) => {
    const size = score.signed ? Math.abs : (value) => value;
    const values = grid(score, "value"), own = size(values[i]);
    if (Number.isNaN(own)) return NaN;
    return 1 + values.reduce((above, value) => above + (size(value) > own ? 1 : 0), 0);
  };

  /* The panel of one head. */
  const panel = byId("head");
  const parse = (name) => {
    const found = /^L(\d+)H(\d+)$/i.exec(name.trim());
    if (!found || !known.scores) return null;
    const head = { layer: Number(found[1]), head: Number(found[2]) };
    return head.layer < known.layers && head.head < known.heads ? head : null;
  };
  const close = () => { panel.hidden = true; };
  const row = (kind, cells) => {
    const tr = make("tr");
    cells.forEach((cell, i) => {
      const td = make(kind, cell);
      if (i > 0) td.className = "n";
      tr.append(td);
    });
    return tr;
  };
  const show = ({ layer, head }) => {
    const name = `L${layer}H${head}`, i = layer * known.heads + head;
    const shut = make("button", "Close");
    shut.type = "button";
    shut.addEventListener("click", close);
    const top = make("div", "", make("h2", name), shut);
    top.className = "top";
    const sets = known.sets.filter((set) => set.heads.includes(name));
    const list = make("ul", "", ...sets.map((set) => make("li", `${set.label} \u2013 ${set.legend} (${set.source})`)));
    const lines = known.scores.map((score) => ({ score, place: rank(score, i) }));
    lines.sort((a, b) => (Number.isNaN(a.place) - Number.isNaN(b.place)) || a.place - b.place);
    const body = make("tbody", "", ...lines.map(({ score, place }) => row("td", [
      score.label, shown(at(score, "value", i)), between(score, i), chance(at(score, "p", i)),
      Number.isNaN(place) ? "\u2013" : String(place),
    ])));
    const table = make("table", "", make("thead", "", row("th", ["Score", "Value", "95 % interval", "Adj. p", "Rank"])), body);
    table.className = "rows";
    panel.replaceChildren(top, list, table);
    panel.hidden = false;
    panel.scrollTop = 0;
  };
  const open = (name) => {
    const head = parse(name);
    if (head) show(head);
    return Boolean(head);
  };
  addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });

  /* Head names in the text lead to the panel. */
  if (known.scores) {
    const finder = byId("find"), input = byId("find-head");
    finder.hidden = false;
    input.addEventListener("input", () => open(input.value));
    finder.addEventListener("submit", (event) => {
      event.preventDefault();
      if (open(input.value)) history.replaceState(null, "", `#${input.value.trim().toUpperCase()}`);
    });
    for (const td of document.querySelectorAll("table.rows td, table.rows th")) {
      if (td.childElementCount === 0 && parse(td.textContent)) {
        const link = make("a", td.textContent);
        link.href = `#${td.textContent}`;
        td.replaceChildren(link);
      }
    }
  }

  /* Cells of score maps: the one under the pointer or the arrow keys is named; a click or Enter opens its panel. */
  const tip = make("div"), box = make("div");
  tip.className = "tip";
  box.className = "cell";
  tip.hidden = true;
  document.body.append(tip);
  const hide = () => { tip.hidden = true; box.remove(); };
  for (const plate of document.querySelectorAll("[data-keys]")) {
    const art = plate.querySelector(".art");
    const keys = plate.dataset.keys.split(" ");
    const frames = [...plate.querySelectorAll('.art [class$="cells_marks"]')]
      .map((cells) => cells.closest("g.mark-group")?.querySelector("path.background"));
    const scores = keys.map((key) => (known.scores ?? []).find((score) => score.key === key));
    if (frames.length !== keys.length || frames.includes(undefined) || scores.includes(undefined)) continue;
    art.classList.add("live");
    let cursor = null;
    const mark = (next, pointer) => {
      cursor = next;
      const frame = frames[next.panel].getBoundingClientRect(), home = art.getBoundingClientRect();
      const width = frame.width / known.layers, height = frame.height / known.heads;
      const left = frame.left + next.layer * width, top = frame.top + next.head * height;
      box.style.left = `${left - home.left + art.scrollLeft}px`;
      box.style.top = `${top - home.top}px`;
      box.style.width = `${width}px`;
      box.style.height = `${height}px`;
      art.append(box);
      const score = scores[next.panel], i = next.layer * known.heads + next.head, p = at(score, "p", i);
      const name = `L${next.layer}H${next.head}`;
      const sets = known.sets.filter((set) => set.heads.includes(name)).map((set) => set.label);
      tip.textContent = [
        `${name} ${shown(at(score, "value", i))} ${between(score, i)}`,
        `n = ${score.n}` + (Number.isNaN(p) ? "" : `, adjusted p ${chance(p)}`), ...sets,
      ].join("\n");
      tip.hidden = false;
      const x = pointer ? pointer.clientX : left + width, y = pointer ? pointer.clientY : top + height;
      tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - tip.offsetWidth - 4))}px`;
      tip.style.top = `${Math.max(4, Math.min(y + 14, innerHeight - tip.offsetHeight - 4))}px`;
    };
    const under = (event) => {
      for (const [index, path] of frames.entries()) {
        const frame = path.getBoundingClientRect();
        const layer = Math.floor(((event.clientX - frame.left) / frame.width) * known.layers);
        const head = Math.floor(((event.clientY - frame.top) / frame.height) * known.heads);
        if (layer >= 0 && head >= 0 && layer < known.layers && head < known.heads) return { panel: index, layer, head };
      }
      return null;
    };
    art.addEventListener("pointermove", (event) => {
      const next = under(event);
      if (next) mark(next, event); else hide();
    });
    art.addEventListener("pointerleave", hide);
    art.addEventListener("blur", hide);
    art.addEventListener("click", (event) => {
      const next = under(event);
      if (next) { show(next); hide(); }
    });
    art.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (step) {
        event.preventDefault();
        const from = cursor ?? { panel: 0, layer: -Math.abs(step[0]), head: -Math.abs(step[1]) };
        const clip = (value, size) => Math.max(0, Math.min(size - 1, value));
        mark({ panel: from.panel, layer: clip(from.layer + step[0], known.layers), head: clip(from.head + step[1], known.heads) });
      } else if (event.key === "Enter" && cursor) {
        show(cursor);
      }
    });
  }

  /* A link into folded content opens it; a link to a head opens its panel. */
  const reveal = () => {
    let name = "";
    try { name = decodeURIComponent(location.hash.slice(1)); } catch { return; }
    if (open(name)) return;
    for (let node = byId(name); node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  };
  addEventListener("hashchange", reveal);
  reveal();
})();
