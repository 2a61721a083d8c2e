/* Of a run's page, first: scores of every head, unpacked when first needed, row by layer. Kinds: "f" float32, "e" float16, "d" a table of
   float32 and a byte per cell into it. */
import { byId, shown } from "./base.js";
const known = JSON.parse(byId("passport-data").textContent);
const half = (bits) => {
  const sign = bits & 0x8000 ? -1 : 1, power = (bits >> 10) & 31, part = bits & 1023;
  if (power === 31) return part ? NaN : sign * Infinity;
  return power ? sign * 2 ** (power - 15) * (1 + part / 1024) : sign * 2 ** -14 * (part / 1024);
};
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const floats = (kind, text) => {
  const view = new DataView(bytes(text).buffer), size = kind === "e" ? 2 : 4;
  return Float32Array.from({ length: view.byteLength / size }, (_, i) =>
    size === 2 ? half(view.getUint16(2 * i, true)) : view.getFloat32(4 * i, true));
};
const unpack = ([kind, first, second]) => {
  if (kind !== "d") return floats(kind, first);
  const table = floats("f", first);
  return Float32Array.from(bytes(second), (i) => table[i]);
};
const grid = (score, name) => {
  if (typeof score[name]?.[0] === "string") score[name] = unpack(score[name]);
  return score[name];
};
const at = (score, name, i) => (score[name] ? grid(score, name)[i] : NaN);
const scores = known.scores ?? [];
const byKey = new Map(scores.map((score) => [score.key, score]));
const nameOf = (i) => `L${Math.floor(i / known.heads)}H${i % known.heads}`;
const why = (score, i) => score.why?.[nameOf(i)] ?? score.why?.["*"] ?? "";
const isEstimate = (score, i) => at(score, "estimated", i) === 1;
const note = (score, i) => (isEstimate(score, i) ? score.how : Number.isNaN(at(score, "value", i)) ? why(score, i) : "");
/* Values without estimates: what ranks count. */
const exact = (score) => (score.exact ??= score.estimated ? grid(score, "value").map((v, i) => (isEstimate(score, i) ? NaN : v)) : grid(score, "value"));
const setsOf = (name) => (known.sets ?? []).filter((set) => set.heads.includes(name));

/* The place of every head: by value, by size where values are signed; equal values share the better place, estimates
   have none. */
const rank = (score, i) => {
  const size = score.signed ? Math.abs : (value) => value;
  const values = exact(score), own = size(values[i]);
  if (Number.isNaN(own)) return NaN;
  return 1 + values.reduce((above, value) => above + (size(value) > own ? 1 : 0), 0);
};

const between = (score, i) => {
  const low = at(score, "low", i), high = at(score, "high", i);
  return Number.isNaN(low) || Number.isNaN(high) ? "" : `[${shown(low)}, ${shown(high)}]`;
};
const chance = (p) => (Number.isNaN(p) ? "" : p < 0.001 ? "<0.001" : p.toFixed(3));
const parse = (name) => {
  const found = /^L(\d+)H(\d+)$/i.exec(name.trim());
  if (!found || !known.scores) return -1;
  const layer = Number(found[1]), head = Number(found[2]);
  return layer < known.layers && head < known.heads ? layer * known.heads + head : -1;
};

export { at, between, byKey, bytes, chance, exact, floats, grid, isEstimate, known, nameOf, note, parse, rank, scores, setsOf, why };
