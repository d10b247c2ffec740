// The theme's fold-out entries in the sidebar have a triangle and no words.
addEventListener("DOMContentLoaded", () => {
  for (const fold of document.querySelectorAll(".bd-sidebar summary")) {
    const page = fold.closest("li")?.querySelector("a")?.textContent.trim();
    fold.setAttribute("aria-label", `Pages under ${page ?? "this entry"}`);
  }
});

// What scrolls must be reachable with the keyboard: the theme sees to code, MathJax to equations, this to tables and drawings.
(() => {
  const wide = ".pst-scrollable-table-container, .vl-drawing > div";
  const update = () => {
    for (const box of document.querySelectorAll(wide)) {
      const scrolls = box.scrollWidth > box.clientWidth + 1;
      if (scrolls) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  addEventListener("load", update);
  addEventListener("resize", update);
})();
