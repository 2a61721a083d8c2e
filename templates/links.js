/* A link into folded content opens it; a link to a head opens its passport. */
import { byId } from "./base.js";
import { parse } from "./scores.js";
import { opened, visit } from "./passport.js";
import { filter } from "./search.js";
const reveal = () => {
  let name = "";
  try { name = decodeURIComponent(location.hash.slice(1)); } catch { return; }
  const head = parse(name);
  if (head >= 0) { if (head !== opened) visit(head); return; }
  for (let node = byId(name); node; node = node.parentElement) {
    if (node.tagName === "DETAILS") node.open = true;
    if (node.dataset.suite && node.hidden) filter.querySelector(`[data-suite="${node.dataset.suite}"]`)?.click();
  }
};
addEventListener("hashchange", reveal);
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href^='#L']");
  if (link && parse(link.hash.slice(1)) >= 0) {
    event.preventDefault();
    visit(parse(link.hash.slice(1)), link);
    byId("head-name").focus({ preventScroll: true });
  }
});
reveal();
