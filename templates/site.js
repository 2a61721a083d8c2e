/* The gallery: every word typed must be found; numbers and dates are ordered from the largest. */
import { byId } from "./base.js";
const list = byId("runs");
if (list) {
  const cards = [...list.children];
  const search = byId("search"), sort = byId("sort");
  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const card of cards) card.hidden = !words.every((word) => card.dataset.words.includes(word));
    const seen = cards.filter((card) => !card.hidden).length;
    const all = cards.length, runs = `${all} ${all === 1 ? "run" : "runs"}`;
    byId("count").textContent = seen === all ? runs : `${seen} of ${runs}`;
    byId("none").hidden = seen > 0;
  };
  const arrange = () => {
    const by = sort.value, name = (card) => card.dataset.name;
    const compare = (a, b) => {
      if (by === "date") return b.dataset.date.localeCompare(a.dataset.date);
      if (by === "place") return Number(a.dataset.place) - Number(b.dataset.place);
      return by === "name" ? 0 : Number(b.dataset[by]) - Number(a.dataset[by]);
    };
    list.append(...cards.sort((a, b) => compare(a, b) || name(a).localeCompare(name(b))));
  };
  search.addEventListener("input", show);
  sort.addEventListener("change", arrange);
  byId("tools").hidden = false;
  show();
}

/* A permalink of an older figure: the same run and figure with another hash. */
const data = byId("places");
if (data) {
  const { root: base, places } = JSON.parse(data.textContent);
  const match = /([^/]+)\/at\/(.+)-[0-9a-f]{16}\.\w+$/.exec(decodeURIComponent(location.pathname));
  const now = match && Object.hasOwn(places, `${match[1]}/${match[2]}`) ? places[`${match[1]}/${match[2]}`] : "";
  if (now) {
    byId("now").href = base + now;
    byId("moved").hidden = false;
  }
}
