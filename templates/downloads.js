/* Files of a figure, made here from what the page holds: a page sent alone still gives SVG, PNG, CSV and Vega-Lite. */
import { all, byId, drawn, make } from "./base.js";
import { at, byKey, bytes, exact, grid, known, nameOf, note } from "./scores.js";
const packed = JSON.parse(byId("specs").textContent);
let held = null;
const unpacked = async () => {
  held ??= new Response(new Blob([bytes(packed.packed)]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
  return held;
};
const FONT = "Liberation Sans, Arial, Helvetica, sans-serif";
const save = (name, content, type) => {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const link = make("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
};
const plain = (x) => (x == null || Number.isNaN(x) ? null : Number(x.toPrecision(6)));

/* The ranks of a figure's data: by value, equal values share the better one. */
const ranks = (score) => {
  const values = [...exact(score)], found = new Map();
  values.filter((value) => !Number.isNaN(value)).sort((a, b) => b - a).forEach((value, i) => found.has(value) || found.set(value, i + 1));
  return values.map((value) => found.get(value) ?? null);
};
const rows = (score, sets, weights) => {
  const places = ranks(score);
  return [...grid(score, "value").keys()].map((i) => ({
    key: score.key, layer: Math.floor(i / known.heads), head: i % known.heads, name: nameOf(i),
    value: plain(at(score, "value", i)), low: plain(at(score, "low", i)), high: plain(at(score, "high", i)), n: score.n,
    p: plain(at(score, "p", i)), line: plain(score.line), rank: places[i], sets: sets[nameOf(i)] ?? "",
    weight: weights[nameOf(i)] ?? "", note: note(score, i),
  }));
};

/* A specification made whole: shared parts put back, rows of score maps filled in. */
const whole = (value, parts) => {
  if (Array.isArray(value)) return value.map((item) => whole(item, parts));
  if (value === null || typeof value !== "object") return value;
  if ("@" in value) return whole(parts[value["@"]], parts);
  const entries = Object.entries(value).map(([name, item]) => [name, whole(item, parts)]);
  const made = Object.fromEntries(entries);
  if (!("@rows" in made)) return made;
  return rows(byKey.get(made["@rows"]), made.sets, made.weight).filter((row) => row.value !== null)
    .map((row) => Object.fromEntries(made.fields.map((field) => [field, row[field]])));
};
const specOf = async (id) => {
  const { parts, figures } = await unpacked();
  return whole(figures[id], parts);
};
const mapsOf = async (id) => {
  const { parts, figures } = await unpacked(), found = [];
  const look = (value) => {
    if (value === null || typeof value !== "object") return;
    if ("@rows" in value) { found.push({ score: byKey.get(value["@rows"]), sets: whole(value.sets, parts), weight: whole(value.weight, parts) }); return; }
    if ("@" in value) look(parts[value["@"]]); else Object.values(value).forEach(look);
  };
  look(figures[id]);
  return found;
};

const quoted = (cell) => {
  let text = cell == null ? "" : String(cell);
  if (/^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text))) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};
const table = (lines) => lines.map((line) => line.map(quoted).join(",")).join("\n") + "\n";
const csvOf = async (plate) => {
  if (packed.maps.includes(plate.dataset.figure)) {
    const maps = await mapsOf(plate.dataset.figure);
    const list = maps.flatMap(({ score, sets, weight }) => rows(score, sets, weight));
    return table([Object.keys(list[0]), ...list.map(Object.values)]);
  }
  const twin = plate.querySelector(".twin table");
  if (!twin || twin.dataset.cut !== undefined) return null;
  return table(all("tr", twin).map((tr) => [...tr.children].map((cell) => cell.textContent.replaceAll("\u2212", "-").replace(/^\u2013$/, ""))));
};

const svgOf = (plate) => {
  const copy = plate.querySelector(".art svg").cloneNode(true);
  for (const node of all(".cell, .picked", copy)) node.remove();
  for (const node of all("[data-panels]", copy)) node.removeAttribute("data-panels");
  const [, , width, height] = copy.getAttribute("viewBox").split(" ");
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  for (const [name, value] of Object.entries({ width, height, color: "#000000", "font-family": FONT })) copy.setAttribute(name, value);
  copy.prepend(drawn("desc", {}, plate.querySelector("figcaption p").textContent));
  return new XMLSerializer().serializeToString(copy);
};
const pngOf = async (plate) => {
  const text = svgOf(plate), [, , width, height] = plate.querySelector(".art svg").getAttribute("viewBox").split(" ").map(Number);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = make("canvas"), dense = 300 / 72;
  canvas.width = Math.round(width * dense);
  canvas.height = Math.round(height * dense);
  const paint = canvas.getContext("2d");
  paint.fillStyle = "#ffffff";
  paint.fillRect(0, 0, canvas.width, canvas.height);
  paint.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => { canvas.toBlob(done, "image/png"); });
};

const MAKERS = {
  svg: ["SVG", "svg", (plate) => svgOf(plate), "image/svg+xml"],
  png: ["PNG", "png", (plate) => pngOf(plate), "image/png"],
  csv: ["CSV", "csv", (plate) => csvOf(plate), "text/csv"],
  json: ["Vega-Lite", "vl.json", async (plate) => JSON.stringify(await specOf(plate.dataset.figure), null, 1), "application/json"],
};
for (const plate of all(".plate")) {
  const id = plate.dataset.figure, line = plate.querySelector(".files");
  const can = { svg: true, png: true, csv: packed.maps.includes(id) || (plate.querySelector(".twin table")?.dataset.cut === undefined), json: packed.held.includes(id) };
  for (const [kind, [words, ending, create, type]] of Object.entries(MAKERS)) {
    if (!can[kind]) continue;
    let link = line.querySelector(`[data-kind="${kind}"]`);
    if (!link) {
      link = make("a", words);
      link.href = `#${plate.id}`;
      link.dataset.kind = kind;
      line.append(" ", link);
    }
    link.addEventListener("click", async (event) => {
      event.preventDefault();
      save(`${id}.${ending}`, await create(plate), type);
    });
  }
}
