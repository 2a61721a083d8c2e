/* One slider through the training steps: moving it on one filmstrip moves it on all. */
import { all, button, byId, classed, drawn, make, shown } from "./base.js";
const slides = JSON.parse(byId("slides").textContent);
const movers = [];
let moment = Infinity;  /* the step last chosen */

const colourOf = ({ low, high, colours }, value) => {
  const share = Math.min(1, Math.max(0, (value - low) / (high - low)));
  return colours[Math.min(colours.length - 1, Math.floor(share * colours.length))];
};
const nearest = (steps, step) => steps.reduce((best, s, i) => (Math.abs(s - step) < Math.abs(steps[best] - step) ? i : best), 0);

const build = (plate, data) => {
  const [layers, heads] = data.shape, box = classed(make("div"), "slide");
  const svg = drawn("svg", { viewBox: `-1.1 -0.1 ${heads + 1.2} ${layers + 1.2}`, role: "img" });
  const cells = drawn("g", { class: "cells" }), dots = drawn("g", {}), squares = [];
  for (let i = 0; i < layers * heads; i += 1) {
    const square = drawn("rect", { x: i % heads, y: Math.floor(i / heads), width: 1.02, height: 1.02 });
    square.append(drawn("title", {}));
    squares.push(square);
    cells.append(square);
  }
  svg.append(cells, dots);
  const every = (count) => Math.max(1, Math.ceil(count / 12));
  for (let l = 0; l < layers; l += every(layers)) svg.append(text(-0.2, l + 0.72, l, "end"));
  for (let h = 0; h < heads; h += every(heads)) svg.append(text(h + 0.5, layers + 0.75, h, "middle"));
  const range = make("input"), now = classed(make("p"), "now"), line = classed(make("div"), "line");
  Object.assign(range, { type: "range", min: 0, max: data.steps.length - 1, step: 1, value: data.steps.length - 1 });
  range.setAttribute("aria-label", `Training step of ${data.label}`);
  const play = button("Play", () => run(play, data));
  line.append(play, range);
  const controls = classed(make("div"), "controls");
  controls.append(line, now);
  box.append(svg, controls);
  plate.querySelector("figcaption").before(box);
  const move = (at) => {
    const values = data.values[at], over = new Set(data.above[at]);
    let best = -1;
    values.forEach((value, i) => {
      squares[i].setAttribute("fill", value === null ? "#d4d4d4" : colourOf(data, value));
      squares[i].firstChild.textContent = `L${Math.floor(i / heads)}H${i % heads} ${value === null ? "not computed" : value}`;
      if (value !== null && (best < 0 || Math.abs(value) > Math.abs(values[best]))) best = i;
    });
    dots.replaceChildren(...[...over].map((i) => drawn("circle", { class: "over", cx: (i % heads) + 0.5, cy: Math.floor(i / heads) + 0.5, r: 0.14 })));
    const step = data.steps[at].toLocaleString("en");
    const top = best < 0 ? "no head has a value" : `best head L${Math.floor(best / heads)}H${best % heads} at ${shown(values[best])}`;
    now.replaceChildren(make("b", `Step ${step}`), `: ${top}; ${over.size} of ${values.length} heads above the line. Layers downwards, heads across.`);
    range.value = at;
    range.setAttribute("aria-valuetext", `step ${step}, ${top}`);
    svg.setAttribute("aria-label", `${data.label} at step ${step}`);
  };
  const to = (step) => move(nearest(data.steps, step));
  range.addEventListener("input", () => go(data.steps[range.value]));
  movers.push(to);
  to(moment === Infinity ? data.steps.at(-1) : moment);
};
const text = (x, y, words, anchor) => {
  const node = drawn("text", { x, y, "text-anchor": anchor, class: "axis" });
  node.textContent = words;
  return node;
};
const go = (step) => { moment = step; for (const to of movers) to(step); };

/* Play: one step after another, from the first one. */
let playing = 0;
const run = (play, data) => {
  if (playing) { clearInterval(playing); playing = 0; play.textContent = "Play"; return; }
  let at = 0;
  play.textContent = "Stop";
  go(data.steps[0]);
  playing = setInterval(() => {
    at += 1;
    if (at >= data.steps.length) { clearInterval(playing); playing = 0; play.textContent = "Play"; return; }
    go(data.steps[at]);
  }, 700);
};
for (const plate of all(".plate")) {
  const data = slides[plate.dataset.figure];
  if (data) build(plate, data);
}
