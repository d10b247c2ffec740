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

// What scrolls must be reachable with the keyboard, and nothing else: MathJax makes a stop of every equation (two hundred on some
// pages), the theme sees to code as the page was loaded.  What was folded has a width only once it is open.
(() => {
  const kinds = { "article mjx-container": "Equation", ".pst-scrollable-table-container": "Table", ".vl-drawing > div": "Drawing" };
  const wider = box => box.scrollWidth > box.clientWidth + 1;
  const update = () => { // all that is measured first: between changes, each measure would lay out the whole page again
    const boxes = Object.entries(kinds).flatMap(([selector, name]) => [...document.querySelectorAll(selector)]
      .map(box => [box, name, wider(box) && getComputedStyle(box).overflowX !== "visible"]));
    const listings = [...document.querySelectorAll("article details pre")].map(pre => [pre, wider(pre)]);
    for (const [box, name, scrolls] of boxes) {
      box.classList.toggle("vl-scrolls", scrolls);
      box.tabIndex = scrolls ? 0 : -1;
      if (scrolls) {
        box.setAttribute("role", "group");
        box.setAttribute("aria-label", `${name}, scrolls sideways`);
      } else if (box.getAttribute("role") === "group") {
        box.removeAttribute("role");
        box.removeAttribute("aria-label");
      }
    }
    for (const [pre, scrolls] of listings) pre.tabIndex = scrolls ? 0 : -1;
  };
  addEventListener("load", async () => {
    update();
    await window.MathJax?.startup?.promise;
    update(); // sets the equations, whose letters are fetched only now
    await document.fonts.ready;
    update();
  });
  document.fonts.addEventListener("loadingdone", update);
  addEventListener("resize", update);
  addEventListener("toggle", update, true);
})();

// The theme's buttons and what they open say their names and states, and the focus that the theme drops comes back to them.
addEventListener("DOMContentLoaded", () => {
  const wide = matchMedia("(min-width: 992px)"), root = document.documentElement;
  for (const [side, name] of [["primary", "Contents of the book"], ["secondary", "Contents of this page"]]) {
    const button = document.querySelector(`.${side}-toggle`), sidebar = document.getElementById(`pst-${side}-sidebar`);
    const drawer = document.getElementById(`pst-${side}-sidebar-modal`);
    if (!button || !sidebar || !drawer) continue;
    for (const box of [button, drawer]) box.setAttribute("aria-label", name);
    button.setAttribute(button.hasAttribute("data-bs-original-title") ? "data-bs-original-title" : "title", name);
    const close = document.createElement("button");
    Object.assign(close, { type: "button", className: "btn vl-close", textContent: "Close", onclick: () => drawer.close() });
    sidebar.prepend(close);
    const beside = () => side === "primary" && wide.matches;  // the sidebar beside the page, or the drawer over it
    const say = () => button.setAttribute("aria-expanded", beside() ? !sidebar.classList.contains("pst-sidebar-hidden") : drawer.open);
    const watch = new MutationObserver(say);
    watch.observe(sidebar, { attributeFilter: ["class"] });
    watch.observe(drawer, { attributeFilter: ["open"] });
    wide.addEventListener("change", say);
    say();
  }
  document.getElementById("pst-search-dialog")?.setAttribute("aria-label", "Search");
  const mode = () => {
    for (const button of document.querySelectorAll(".theme-switch-button"))
      button.setAttribute("aria-label", `Colour mode: ${root.dataset.mode}`);
  };
  new MutationObserver(mode).observe(root, { attributeFilter: ["data-mode"] });
  mode();

  let opener = null;
  addEventListener("click", event => {
    const button = event.target.closest(".theme-switch-button, .search-button__button, .primary-toggle, .secondary-toggle");
    if (!button || event.detail) return; // by mouse: its tooltip would stay
    opener = button;
    setTimeout(() => { if (document.activeElement === document.body) button.focus(); });
  }, true);
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("close", () => {
      if (document.activeElement === document.body || dialog.contains(document.activeElement)) opener?.focus();
      opener = null;
    });
  }
  addEventListener("keydown", event => { // the theme and Sphinx leave Escape to nobody where Tab has gone round the dialog's end
    if (event.key === "Escape" && document.activeElement === document.body) document.querySelector("dialog[open]")?.close();
  });
});

// For a screen reader: folded code is called what one reads there, a slider is told with its picture, a search with its outcome.
addEventListener("DOMContentLoaded", () => {
  for (const fold of document.querySelectorAll("details.hide > summary")) fold.removeAttribute("aria-label");
  for (const figure of document.querySelectorAll(".vl-explore")) {
    const picture = figure.querySelector("img");
    picture.id ||= `${figure.id}-picture`;
    for (const slider of figure.querySelectorAll("input")) slider.setAttribute("aria-describedby", picture.id);
  }
  const found = document.getElementById("search-results");
  if (found) {
    const status = () => found.querySelector(".search-summary")?.setAttribute("role", "status");
    new MutationObserver(status).observe(found, { childList: true });
    status();
  }
});

// What gets the focus comes out from under the bar at the top, which the browser takes for a part of the page.
addEventListener("focusin", event => requestAnimationFrame(() => {
  const bar = document.querySelector(".bd-header-article")?.getBoundingClientRect(), box = event.target.getBoundingClientRect();
  if (bar && event.target.matches("article :focus-visible") && box.bottom > 0 && box.top < bar.bottom && box.height < innerHeight / 2)
    scrollBy(0, box.top - bar.bottom - 8);
}));

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

// Previous and next page with the arrow keys, where no control is being used and nothing is open over the page.
addEventListener("keydown", event => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || event.target !== document.body) return;
  if (document.querySelector("dialog[open]")) return;
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
