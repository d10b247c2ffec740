// The theme's sidebar is no landmark, though its logo stands outside of the menu; its fold-out entries have a triangle and no words.
addEventListener("DOMContentLoaded", () => {
  const sidebar = document.querySelector(".bd-sidebar-primary");
  sidebar?.setAttribute("role", "region");
  sidebar?.setAttribute("aria-label", "Contents and search");
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

// Lines that are wrapped, on a narrow screen all and on a wide one those of outputs and of code that is no cell's, hang under
// their beginning: each becomes a block.
addEventListener("DOMContentLoaded", () => {
  const narrow = matchMedia("(max-width: 600px)").matches;
  for (const pre of document.querySelectorAll(narrow ? ".bd-article pre" : ".bd-article pre:not(.cell_input pre)")) {
    pre.innerHTML = pre.innerHTML.replace(/\n$/, "").split("\n").map(line => `<span class="vl-line">${line}\n</span>`).join("");
  }
});

// On a narrow screen a column of sentences would be one word wide: it gets room, and its table scrolls.
addEventListener("DOMContentLoaded", () => {
  for (const cell of document.querySelectorAll(".bd-article table:not(.vl-symbols) :is(td, th)")) {
    if (cell.textContent.trim().length > 40) cell.classList.add("vl-sentence");
  }
});

// Previous and next page with the arrow keys, where no control is being used.
addEventListener("keydown", event => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || event.target !== document.body) return;
  const way = { ArrowLeft: ".left-prev", ArrowRight: ".right-next" }[event.key];
  document.querySelector(`.prev-next-area a${way}`)?.click();
});

// A quiet mark in the sidebar on chapters whose end was reached.  It stays in this browser.
addEventListener("load", () => {
  const key = "vil-read", here = location.pathname.split("/").slice(-2).join("/");
  let read;
  try { read = new Set(JSON.parse(localStorage.getItem(key) ?? "[]")); } catch { return; }
  const mark = () => {
    for (const link of document.querySelectorAll(".bd-links a.reference.internal")) {
      if (!read.has(new URL(link.href).pathname.split("/").slice(-2).join("/"))) continue;
      link.classList.add("vl-read");
      link.title = "You have reached the end of this page";
    }
  };
  mark();
  const end = document.querySelector(".prev-next-area");
  if (!end || !/\/part\d/.test(location.pathname)) return;
  new IntersectionObserver((seen, observer) => {
    if (!seen.some(entry => entry.isIntersecting)) return;
    observer.disconnect();
    try { localStorage.setItem(key, JSON.stringify([...read.add(here)])); } catch { return; }
    mark();
  }).observe(end);
});

// On paper hints and answers are open, and a slider is three stills: its first, middle and last state.
addEventListener("beforeprint", () => {
  for (const hidden of document.querySelectorAll(".bd-article details")) hidden.open = true;
  for (const figure of document.querySelectorAll(".vl-explore:not(:has(.vl-stills))")) {
    const data = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
    const first = figure.querySelector("img"), last = data.frames.length - 1, stills = document.createElement("div");
    stills.className = "vl-stills";
    for (const n of new Set([0, last >> 1, last])) {
      const one = document.createElement("figure"), image = new Image(), words = document.createElement("figcaption");
      image.src = data.frames[n] ?? figure.dataset.first ?? first.src;
      image.alt = words.textContent = data.alts[n];
      one.append(image, words);
      stills.append(one);
    }
    first.after(stills);
  }
});
