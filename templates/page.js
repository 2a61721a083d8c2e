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

  /* A link into folded content opens it. */
  const reveal = () => {
    const target = byId(decodeURIComponent(location.hash.slice(1)));
    for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  };
  addEventListener("hashchange", reveal);
  reveal();
})();
