/* The pages are complete without scripts. These add: a theme switch, search and order, and where a figure went. */
const byId = (id) => document.getElementById(id);
const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");
const stored = () => { try { return localStorage.getItem("reportgen-theme"); } catch { return null; } };
const store = (theme) => { try { localStorage.setItem("reportgen-theme", theme); } catch { /* private mode: forgotten */ } };
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
const themeButton = byId("theme");
const relabel = () => { themeButton.textContent = isDark() ? "Light" : "Dark"; };
if (stored() === "light" || stored() === "dark") root.dataset.theme = stored();
themeButton.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  store(root.dataset.theme);
  relabel();
});
system.addEventListener("change", relabel);
themeButton.hidden = false;
relabel();

/* The gallery: every word typed must be found; numbers and dates are ordered from the largest. */
const list = byId("runs");
if (list) {
  const cards = [...list.children];
  const search = byId("search"), sort = byId("sort");
  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const card of cards) card.hidden = !words.every((word) => card.dataset.words.includes(word));
    const seen = cards.filter((card) => !card.hidden).length;
    byId("count").textContent = seen === cards.length ? `${seen} runs` : `${seen} of ${cards.length} runs`;
    byId("none").hidden = seen > 0;
  };
  const arrange = () => {
    const by = sort.value, name = (card) => card.dataset.name;
    const compare = (a, b) => {
      if (by === "date") return b.dataset.date.localeCompare(a.dataset.date);
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
