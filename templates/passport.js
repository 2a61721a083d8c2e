/* The passport of one head: labels with their sources, the evidence ladder, salient tokens, and every score of the run
   as a dot with its interval and line. */
import { button, byId, classed, drawn, make, shown } from "./base.js";
import { at, between, bytes, chance, floats, grid, isEstimate, known, nameOf, parse, rank, scores, setsOf, why } from "./scores.js";
import { clipped, examples, sized } from "./examples.js";
import { hide, outline } from "./maps.js";
import { hidden } from "./search.js";
const passport = byId("head");
let opened = -1, openedFrom = null;
const returnTo = (node) => { openedFrom = node; };  /* where the focus goes when the passport closes */

const SIGNS = { passed: "\u2713", failed: "\u2715" };
const scrolled = (table, label) => {
  const box = classed(make("div", "", table), "scroll");
  box.tabIndex = 0;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", label);
  return box;
};
const nameOfSet = (set) => {
  const name = make("th", "", make("b", set.label), classed(make("span", set.of || set.source), "quiet"));
  if (!set.verified) name.append(classed(make("span", "unconfirmed list"), "quiet"));
  name.scope = "row";
  return name;
};
const ladder = (sets, label, head) => {
  const top = make("tr", "", make("th", "Label"), ...known.rungs.map((rung) => make("th", rung)));
  for (const th of top.children) th.scope = "col";
  const body = sets.map((set) => make("tr", "", nameOfSet(set), ...set.ladders[set.ladder[head] ?? set.ladder[""]].map(([outcome, whole, detail]) => {
    const mark = SIGNS[outcome] ?? "\u2013";
    const sign = classed(make("span", whole ? `(${mark})` : mark), "sign");
    sign.setAttribute("aria-hidden", "true");
    const words = classed(make("span", whole ? `${outcome} by the set as a whole` : outcome), "hide");
    const cell = classed(make("td", "", sign, words), whole ? "whole" : outcome.replace(" ", "-"));
    cell.title = detail;
    return cell;
  })));
  const table = classed(make("table", "", make("thead", "", top), make("tbody", "", ...body)), "ladder");
  return scrolled(table, label);
};
const ruleLine = (set) => {
  const line = make("li", "", make("b", set.label), ` ${set.kind}, ${set.source}`);
  if (set.rule) line.append(classed(make("span", set.rule), "quiet"));
  return line;
};
const folded = (title, ...children) => make("details", "", make("summary", title), ...children);
const labels = (sets, head) => {
  if (!sets.length) return [make("h3", "Labels"), make("p", "Not in any head set of this report.")];
  const first = sets.filter((set) => set.kind !== "computed" || set.judged);
  const others = sets.filter((set) => !first.includes(set));
  first.sort((a, b) => (a.kind === "computed") - (b.kind === "computed"));
  const parts = [make("h3", "Labels and their evidence")];
  if (first.length) {
    const signs = "\u2713 this head passed, \u2715 it failed, \u2013 not run; in brackets: the outcome of the set as a whole, which says nothing of this head alone.";
    parts.push(ladder(first, "Labels and their evidence", head), classed(make("p", signs), "note"));
    parts.push(folded("Rules of these labels", classed(make("ul", "", ...first.map(ruleLine)), "labels")));
  }
  if (others.length) parts.push(folded(`${others.length} ${others.length > 1 ? "sets" : "set"} by score alone`, classed(make("ul", "", ...others.map(ruleLine)), "labels")));
  return parts;
};

/* The one score that leads this head, and its ties. */
const leader = (i) => {
  const [far, ...places] = (known.leads ?? {})[nameOf(i)] ?? [];
  const note = (words) => classed(make("p", words), "note");
  if (!places.length) return [note("No leading label: this head is not beyond the null and above the median head in any score.")];
  const said = (score) => `${shown(at(score, "value", i))} ${between(score, i)}`.trim();
  const [first, ...ties] = places.map((place) => scores[place]);
  const line = classed(make("p", "Leading label: ", make("b", first.label), `, ${said(first)}, n = ${first.n}`), "leader");
  if (ties.length) line.append(`; tied with ${ties.map((score) => `${score.label} (${said(score)})`).join(", ")}`);
  const how = `${shown(far, 1)} standard deviations over heads beyond the null's line (or the median head, where that is higher): farther than in any other score with a null. 5 % of that is a tie.`;
  return [line, note(how)];
};

/* Where the head is among the first three: the best place of each task, six at most. */
const leads = (i) => {
  const seen = new Set();
  const best = scores.filter((score) => !hidden.has(score.key.split("/")[0]))
    .map((score) => ({ score, place: rank(score, i), task: score.key.replace(/\/.*\//, "/") }))
    .filter(({ score, place }) => place <= 3 && !(at(score, "p", i) > 0.05))
    .sort((a, b) => a.place - b.place)
    .filter(({ task }) => !seen.has(task) && seen.add(task)).slice(0, 6);
  if (!best.length) return [classed(make("p", "Not among the first three heads of any score."), "quiet")];
  const line = ({ score, place }) => make("li", "", make("b", ["1st", "2nd", "3rd"][place - 1]), ` in ${score.label}, ${shown(at(score, "value", i))}`);
  return [classed(make("ul", "", ...best.map(line)), "leads")];
};

/* Text snippets: one line per place in the order of the head's sharpness. */
const opened_text = (list) => {
  list.at ??= {
    text: sized(list.text_bits, list.text), query: sized(list.query_bits, list.query), key: sized(list.key_bits, list.key),
    weight: sized(8, list.weight), sink: sized(8, list.sink),
  };
  return list.at;
};
const snippet = (list, i, place) => {
  const { text, query, key, weight, sink } = opened_text(list), n = i * list.places.length + place;
  const window = Math.floor(query[n] / list.length) * list.length, here = query[n] % list.length;
  const weights = new Map();
  for (let k = 0; k < list.keys; k += 1) if (key[n * list.keys + k] < list.length) weights.set(key[n * list.keys + k], weight[n * list.keys + k] / 255);
  const from = Math.max(0, Math.min(here - 10, ...weights.keys())), to = Math.min(list.length, here + 4);
  const line = classed(make("p", from ? "\u2026" : ""), "snippet");
  for (let position = from; position < to; position += 1) {
    const node = make(weights.has(position) ? "mark" : "span", clipped(list.words[text[window + position]]).replaceAll("\\n", "\u23ce"));
    if (weights.has(position)) { node.style.setProperty("--w", weights.get(position)); node.title = `weight ${shown(weights.get(position), 2)}`; }
    if (position === here) { node.classList.add("here"); line.append(node, classed(make("span", " (the query)"), "hide")); }
    else { if (position > here) node.className = "after"; line.append(node); }
  }
  const attended = [...weights].map(([position, w]) => `${clipped(list.words[text[window + position]].trim())} ${shown(w, 2)}`).join(", ");
  line.append(classed(make("span", `. Attends to: ${attended || "nothing but the first position"}`), "hide"));
  const rest = `${shown(Math.max(0, ...weights.values()), 2)}, first position ${shown(sink[n] / 255, 2)}`;
  return make("li", "", classed(make("span", list.places[place], make("span", rest)), "place"), line);
};
const texts = (i) => {
  const list = known.snippets;
  if (!list) return [];
  const from = list.source ? ` Text: ${list.source}.` : "";
  const note = `This head's positions in natural text, by sharpness of attention: 100% is its sharpest, 50% its median. Boxed: the attending token. Shaded: the tokens it attends to, without the first position.${from}`;
  return [make("h3", "In text"), classed(make("p", note), "note"), classed(make("ol", "", ...list.places.map((_, place) => snippet(list, i, place))), "texts")];
};

/* Salient tokens: indices into the words, per head and place: the token, then what it raises and lowers. */
const operations = (i) => {
  const list = known.salient;
  if (!list) return [];
  list.index ??= list.bits === 16 ? new Uint16Array(bytes(list.cells).buffer) : new Uint32Array(bytes(list.cells).buffer);
  list.sizes ??= floats("e", list.sigma);
  const wide = 1 + 2 * list.outputs, none = 2 ** list.bits - 1, found = [];
  for (let place = 0; place < list.places; place += 1) {
    const start = (i * list.places + place) * wide, row = Array.from(list.index.slice(start, start + wide));
    if (row[0] === none) continue;
    const words = (part) => part.filter((w) => w !== none).map((w) => list.words[w]);
    const [raised, lowered] = [row.slice(1, 1 + list.outputs), row.slice(1 + list.outputs)].map(words);
    found.push({ token: list.words[row[0]], sigma: list.sizes[i * list.places + place], raised, lowered });
  }
  return found;
};
const token = (text) => make("code", clipped(text).replaceAll(" ", "\u2423").replaceAll("\n", "\u23ce"));
const tokens = (list) => list.flatMap((text) => [token(text), " "]);
const salient = (i) => {
  const found = operations(i);
  if (!found.length) return [];
  const top = make("tr", "", ...["Token", "Size", "Raises", "Lowers"].map((word) => make("th", word)));
  for (const th of top.children) th.scope = "col";
  const body = found.map(({ token: text, sigma, raised, lowered }) => make("tr", "", make("td", "", token(text)),
    classed(make("td", shown(sigma, 2)), "n"), make("td", "", ...tokens(raised)), make("td", "", ...tokens(lowered))));
  const table = classed(make("table", "", make("thead", "", top), make("tbody", "", ...body)), "rows");
  const note = "Tokens whose vectors this head changes most in norm, from the weights, and the outputs it raises and lowers most for them.";
  return [make("h3", "Salient tokens"), classed(make("p", note), "note"), scrolled(table, "Salient tokens")];
};

/* Every score as a dot on the range of all heads. */
const reach = (score) => {
  if (score.reach) return score.reach;
  const seen = [...grid(score, "value"), ...(score.low ? grid(score, "low") : []), ...(score.high ? grid(score, "high") : [])];
  const finite = [...seen.filter((x) => !Number.isNaN(x)), score.line ?? 0, 0];
  let low = Math.min(...finite), high = Math.max(...finite);
  if (score.signed) { high = Math.max(-low, high); low = -high; }
  if (score.range[0] === 0 && score.range[1] === 1) { low = 0; high = 1; }
  score.reach = high > low ? [low, high] : [low, low + 1];
  return score.reach;
};
const dots = (score, i) => {
  const wide = 130, high = 16, pad = 4, [least, most] = reach(score);
  const x = (value) => (pad + ((value - least) / (most - least)) * (wide - 2 * pad)).toFixed(1);
  const rule = (a, b, name) => drawn("line", { x1: x(a), x2: x(b), y1: high / 2, y2: high / 2, class: name });
  const tick = (value, name, size) => drawn("line", { x1: x(value), x2: x(value), y1: high / 2 - size, y2: high / 2 + size, class: name });
  const art = drawn("svg", { viewBox: `0 0 ${wide} ${high}`, width: wide, height: high, class: "dots", "aria-hidden": "true" });
  const values = grid(score, "value"), others = [...values].filter((v) => !Number.isNaN(v)).sort((a, b) => a - b);
  art.append(rule(least, most, "axis"));
  if (others.length > 300) art.append(rule(others[Math.floor(0.05 * others.length)], others[Math.floor(0.95 * others.length)], "band"));
  else art.append(drawn("path", { d: others.map((v) => `M${x(v)} ${high / 2 - 3}v6`).join(""), class: "others" }));
  if (score.signed) art.append(tick(0, "zero", 5));
  if (score.line != null) for (const sign of score.signed ? [-1, 1] : [1]) art.append(tick(sign * score.line, "line", 7));
  const low = at(score, "low", i), up = at(score, "high", i);
  if (!Number.isNaN(low) && !Number.isNaN(up)) art.append(rule(low, up, "interval"));
  if (!Number.isNaN(values[i])) art.append(drawn("circle", { cx: x(values[i]), cy: high / 2, r: 3.6, class: "dot" }));
  return art;
};
const scoreRow = (score, i, short) => {
  const name = make("th", short ? score.short : score.label);
  name.scope = "row";
  const value = at(score, "value", i), gap = Number.isNaN(value);
  const words = gap ? `not computed: ${why(score, i) || "no reason was recorded"}` : `${shown(value)} ${isEstimate(score, i) ? score.how : between(score, i)}`;
  const place = rank(score, i);
  const cells = [words, gap ? "" : chance(at(score, "p", i)) || "\u2013", gap ? "" : Number.isNaN(place) ? "\u2013" : String(place)];
  return make("tr", "", name, make("td", "", gap ? "" : dots(score, i)),
    ...cells.map((cell, c) => classed(make("td", cell), gap && !c ? "n gap" : "n")));
};
const measureTable = (title, list, i, open, short = false) => {
  const top = make("tr", "", ...["Score", "All heads, this one", "Value, 95 % interval", "Adj. p", "Rank"].map((word, c) =>
    classed(make("th", word), c > 1 ? "n" : "")));
  for (const th of top.children) th.scope = "col";
  const table = classed(make("table", "", make("thead", "", top), make("tbody", "", ...list.map((score) => scoreRow(score, i, short)))), "rows");
  const part = make("details", "", make("summary", title), scrolled(table, title));
  part.open = open;
  return part;
};
const scoreParts = (i) => known.suites.filter(([suite]) => !hidden.has(suite)).flatMap(([suite, title]) => {
  const own = scores.filter((score) => score.key.startsWith(`${suite}/`));
  if (!own.length) return [];
  const measures = [...new Set(own.map((score) => score.key.split("/")[1]))];
  const single = measures.filter((m) => own.filter((score) => score.key.split("/")[1] === m).length === 1);
  const parts = single.length ? [measureTable(title, own.filter((s) => single.includes(s.key.split("/")[1])), i, true)] : [];
  for (const measure of measures.filter((m) => !single.includes(m))) {
    const list = own.filter((score) => score.key.split("/")[1] === measure);
    list.sort((a, b) => (rank(a, i) || Infinity) - (rank(b, i) || Infinity));
    parts.push(measureTable(`${title}: ${known.measures[`${suite}/${measure}`] ?? measure}`, list, i, measure === measures[0], true));
  }
  return parts;
});

/* Heads of the site's other runs that are most like this one, by their fingerprints. */
const alike = (i) => {
  const list = known.alike;
  if (!list) return [];
  const title = make("h3", "Most like it elsewhere");
  const found = list.heads[nameOf(i)] ?? [];
  const searched = `${list.runs} other ${list.runs === 1 ? "run" : "runs"} of this site`;
  if (!found.length) return [title, classed(make("p", `None: no head of ${searched} is nearer than its null.`), "quiet")];
  const line = ([run, head, distance, share, draws, twin, measures]) => {
    const link = make("a", `${head} of ${list.names[run] ?? run}`);
    link.href = `../${run}/index.html#${head}`;
    const beside = twin == null ? "" : `, random twin ${shown(twin, 3)}`;
    return make("li", "", link, ` distance ${shown(distance, 2)}; as near by chance: ${shown(share, 3)} of ${draws} null searches${beside}; ${measures} scores in common`);
  };
  const note = `Looked for in ${searched}. Distance: 1 \u2212 cosine of all scores, on the scale of their nulls. Similar scores are no proof of the same mechanism.`;
  return [title, classed(make("p", note), "note"), classed(make("ul", "", ...found.map(line)), "labels")];
};

const close = () => {
  if (passport.hidden) return;
  passport.hidden = true;
  opened = -1;
  outline(-1);
  if (passport.contains(document.activeElement) || document.activeElement === document.body) openedFrom?.focus();
  if (parse(location.hash.slice(1)) >= 0) history.replaceState(null, "", location.pathname + location.search);
};
const draw = (i) => {
  const title = make("h2", nameOf(i));
  title.id = "head-name";
  title.tabIndex = -1;
  const places = `Layer ${Math.floor(i / known.heads)} of ${known.layers}, head ${i % known.heads} of ${known.heads}, counted from 0. Arrow keys go to its neighbours.`;
  const top = classed(make("div", "", title, button("Close", close)), "top");
  const note = "Dot and bar: this head with its 95 % interval. Strokes: all other heads. Long stroke: family-wise line.";
  passport.replaceChildren(top, classed(make("p", places), "quiet"), ...leader(i), ...leads(i),
    ...labels(setsOf(nameOf(i)), nameOf(i)), ...examples(i), ...texts(i), ...salient(i), ...alike(i),
    make("h3", "Scores"), classed(make("p", note), "note"), ...scoreParts(i));
};
/* Open the passport of head `i`; `from` gets the focus back; `quiet` keeps the page where it is while walking. */
const visit = (i, from = null, quiet = false) => {
  if (from) returnTo(from);
  opened = i;
  const inside = passport.contains(document.activeElement);
  draw(i);
  passport.hidden = false;
  passport.scrollTop = 0;
  outline(i);
  history.replaceState(null, "", `#${nameOf(i)}`);
  if (inside && !quiet) byId("head-name").focus();
};
passport.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!step || document.activeElement !== byId("head-name")) return;
  event.preventDefault();
  const clip = (value, size) => Math.max(0, Math.min(size - 1, value));
  const layer = clip(Math.floor(opened / known.heads) + step[0], known.layers);
  visit(layer * known.heads + clip((opened % known.heads) + step[1], known.heads));
  byId("head-name").focus();
});
addEventListener("keydown", (event) => { if (event.key === "Escape") { hide(); close(); } });

export { draw, opened, passport, returnTo, visit };
