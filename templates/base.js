/* Every page is complete without scripts. This part stands first on all of them: making elements, numbers, the theme
   switch, buttons that copy LaTeX and BibTeX. */
const byId = (id) => document.getElementById(id);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const make = (tag, words, ...children) => {
  const node = document.createElement(tag);
  if (words) node.textContent = words;
  node.append(...children);
  return node;
};
const classed = (node, name) => { node.className = name; return node; };
const button = (words, action) => {
  const node = make("button", words);
  node.type = "button";
  node.addEventListener("click", action);
  return node;
};
const drawn = (tag, attributes, ...children) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};

/* A number as the figures write it. */
const shown = (x, digits = 3) => {
  if (Number.isNaN(x) || x == null) return "\u2013";
  const small = x !== 0 && Math.abs(x) < 0.5 * 10 ** -digits;
  return (small ? x.toExponential(1) : x.toFixed(digits)).replaceAll("-", "\u2212");
};

/* Light or dark: the system's choice until the reader makes one. */
const root = document.documentElement;
const themeButton = byId("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const stored = () => { try { return localStorage.getItem("reportgen-theme"); } catch { return null; } };
const store = (theme) => { try { localStorage.setItem("reportgen-theme", theme); } catch { /* private mode: forgotten */ } };
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
const relabel = () => { themeButton.textContent = isDark() ? "Light" : "Dark"; };
const saved = stored();
if (saved === "light" || saved === "dark") root.dataset.theme = saved;
themeButton.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  store(root.dataset.theme);
  relabel();
});
system.addEventListener("change", relabel);
themeButton.hidden = false;
relabel();

/* Copy buttons for LaTeX and BibTeX. */
for (const pre of all("details.tex pre")) {
  const copy = button("Copy", async () => {
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

export { all, button, byId, classed, drawn, make, shown };
