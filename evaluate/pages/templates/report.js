// Sortable tables: a header's button sorts the body's rows by data-sort, else by the cell's text.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const header = button.closest("th");
    const body = header.closest("table").tBodies[0];
    const column = header.cellIndex;
    const key = row => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
    const rows = [...body.rows];
    const numeric = rows.every(row => key(row) === "" || !Number.isNaN(Number(key(row))));
    // The first click puts the largest number, or the first name, on top.
    const down = header.ariaSort ? header.ariaSort === "ascending" : numeric;
    rows.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return (down ? -1 : 1) * (numeric ? x - y : x.localeCompare(y, undefined, {numeric: true}));
    });
    body.append(...rows);
    for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
    header.ariaSort = down ? "descending" : "ascending";
  });
}

// Enlarged pictures: arrow keys show the next or previous one, O hides or shows the overlay, Escape closes.
const viewer = document.getElementById("viewer");
if (viewer) {
  const cases = [...document.querySelectorAll("figure button")];
  const picture = viewer.querySelector("img");
  const toggle = viewer.querySelector("[data-do=toggle]");
  let shown = 0;
  let plain = false;

  function show(index) {
    shown = (index + cases.length) % cases.length;
    const {plain: without, caption} = cases[shown].dataset;
    const thumbnail = cases[shown].querySelector("img");
    toggle.hidden = !without;
    toggle.textContent = plain ? "Show overlay (O)" : "Hide overlay (O)";
    picture.src = plain && without ? without : thumbnail.src;
    picture.alt = thumbnail.alt;
    picture.style.setProperty("--aspect", thumbnail.getAttribute("width") / thumbnail.getAttribute("height"));
    viewer.querySelector("p").textContent = caption;
    if (!viewer.open) viewer.showModal();
  }
  const actions = {
    back: () => show(shown - 1),
    next: () => show(shown + 1),
    toggle: () => { plain = !plain; show(shown); },
    close: () => viewer.close(),
  };
  cases.forEach((button, index) => button.addEventListener("click", () => { plain = false; show(index); }));
  viewer.addEventListener("click", event => {
    if (event.target === viewer) viewer.close();
    actions[event.target.dataset.do]?.();
  });
  viewer.addEventListener("close", () => cases[shown].focus());
  document.addEventListener("keydown", event => {
    const name = {ArrowLeft: "back", ArrowRight: "next", o: "toggle", O: "toggle"}[event.key];
    if (viewer.open && name) actions[name]();
  });
}
