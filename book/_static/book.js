// What scrolls must be reachable with the keyboard: the theme sees to code, this to equations, tables and drawings.
(() => {
  const wide = "div.math, .pst-scrollable-table-container, .vl-drawing > div";
  const update = () => {
    for (const box of document.querySelectorAll(wide)) {
      const scrolls = box.scrollWidth > box.clientWidth + 1;
      if (scrolls) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  addEventListener("load", () => {
    update();
    window.MathJax?.startup?.promise?.then(update); // equations get their width when they are typeset
  });
  addEventListener("resize", update);
})();
