/* Examples per head: events in text by decile of the head's output norm. Their block is read when a head is first opened;
   the fuller list of a head is made when it is unfolded. */
import { byId, classed, make, shown } from "./base.js";
import { bytes, floats } from "./scores.js";
let exampleRead = null;
const sized = (bits, text) => {
  const buffer = bytes(text).buffer;
  return bits === 8 ? new Uint8Array(buffer) : bits === 16 ? new Uint16Array(buffer) : new Uint32Array(buffer);
};
const exampleData = () => {
  if (exampleRead !== null) return exampleRead;
  const block = byId("examples-data");
  const read = block ? JSON.parse(block.textContent) : false;
  exampleRead = read;
  if (!read) return read;
  read.none = {};
  for (const [name, bits] of Object.entries(read.bits)) {
    read[name] = sized(bits, read[name]);
    read.none[name] = 2 ** bits - 1;
  }
  for (const name of ["mass", "weight", "sink"]) read[name] = sized(8, read[name]);
  for (const name of ["norm", "dla", "share"]) read[name] = floats("e", read[name]);
  return read;
};
const AT_ONCE = ["largest", "d10", "d7", "d4", "d1"];  /* shown at once, one each */
const TOKENS_BEFORE = 40;
const clipped = (word) => (word.length > 40 ? `${word.slice(0, 40)}\u2026` : word);
const exampleWord = (list, index) => clipped(list.words[index] ?? "").replaceAll("\\n", "\u23ce");
const placeName = (place) => (place.startsWith("d") ? `decile ${place.slice(1)}` : place);
const writtenTokens = (list, name, n) => {
  const found = Array.from(list[name].slice(n * list.outputs, (n + 1) * list.outputs)).filter((w) => w !== list.none[name]);
  return found.flatMap((w) => [make("code", exampleWord(list, w).replaceAll(" ", "\u2423")), " "]);
};
const eventLine = (list, n) => {
  const first = list.start[list.window[n]], last = list.start[list.window[n] + 1] - 1, here = list.query[n];
  const weights = new Map();
  for (let k = n * list.keys; k < (n + 1) * list.keys; k += 1) {
    if (list.key[k] !== list.none.key) weights.set(list.key[k], [list.mass[k] / 255, list.weight[k] / 255]);
  }
  const of = (position) => weights.get(position)[list.weighted ? 1 : 0];
  const near = [...weights.keys()].filter((position) => position >= here - 2 * TOKENS_BEFORE);
  const from = Math.max(0, Math.min(here - TOKENS_BEFORE, ...near));
  const node = classed(make("p", from ? "\u2026" : ""), "snippet");
  for (let position = from; position <= here; position += 1) {
    const part = make(weights.has(position) ? "mark" : "span", exampleWord(list, list.text[first + position]));
    if (weights.has(position)) {
      part.style.setProperty("--w", of(position));
      part.title = `attention ${shown(weights.get(position)[0], 2)}`;
    }
    if (position === here) part.classList.add("here");
    node.append(part);
  }
  node.append(classed(make("span", " (the query)"), "hide"));
  if (list.text[last] !== list.none.text || here + 1 < last - first) node.append(classed(make("span", exampleWord(list, list.text[first + here + 1])), "after"));
  const far = [...weights.keys()].filter((position) => position < from).map((position) => `${exampleWord(list, list.text[first + position]).trim()} ${shown(of(position), 2)}`);
  const keys = [...weights.keys()].map((position) => `${exampleWord(list, list.text[first + position]).trim()} ${shown(weights.get(position)[0], 2)}`);
  node.append(classed(make("span", `. Attends to: ${keys.join(", ") || "nothing but the first position"}`), "hide"));
  if (far.length) node.append(classed(make("span", ` \u2190 farther back: ${far.join(", ")}`), "quiet"));
  return node;
};
const eventItem = (list, n) => {
  const numbers = `norm ${shown(list.norm[n], 2)}, first position ${shown(list.sink[n] / 255, 2)}`;
  const place = classed(make("span", placeName(list.places[n % list.places.length]), make("span", numbers)), "place");
  const wrote = classed(make("p", "", make("b", "+ "), ...writtenTokens(list, "raised", n), make("b", "\u2212 "), ...writtenTokens(list, "lowered", n)), "wrote");
  wrote.title = "Tokens that this output raises and lowers most by itself, through the frozen final norm";
  const rest = [["next token", list.dla[n], 2], ["explained by the top key", list.share[n], 2]].filter(([, value]) => !Number.isNaN(value));
  if (rest.length) wrote.append(classed(make("span", rest.map(([name, value, digits]) => `${name} ${shown(value, digits)}`).join(", ")), "quiet"));
  return make("li", "", place, make("div", "", eventLine(list, n), wrote));
};
/* The nodes for head `i`; none where the run has no examples. */
const examples = (i) => {
  const list = exampleData();
  if (!list) return [];
  const count = list.places.length, every = [...list.places.keys()].map((place) => i * count + place).filter((n) => list.window[n] !== list.none.window);
  if (!every.length) return [];
  const seen = new Set(), first = every.filter((n) => AT_ONCE.includes(list.places[n % count]) && !seen.has(list.places[n % count]) && seen.add(list.places[n % count]));
  const note = "Events of this head in text, drawn by hash from deciles of its output norm: decile 10 is where it writes most. Boxed: the query. Shaded: what it reads, by attention times the size of the value; position 0 is not shaded. + and \u2212: tokens that its output raises and lowers by itself; what early heads write is mostly read by later layers.";
  const parts = [make("h3", "In text"), classed(make("p", note), "note"), classed(make("ol", "", ...first.map((n) => eventItem(list, n))), "texts")];
  const others = every.filter((n) => !first.includes(n));
  if (others.length) {
    const more = make("details", "", make("summary", `${others.length} more examples`));
    more.addEventListener("toggle", () => {
      if (more.open && more.children.length === 1) more.append(classed(make("ol", "", ...others.map((n) => eventItem(list, n))), "texts"));
    });
    parts.push(more);
  }
  return parts;
};

export { clipped, examples, sized };
