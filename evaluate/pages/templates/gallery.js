// The tools above the pictures: one task, a part of a file name, the worst first. "/" goes to the search field.
const [task, search, order, count] = ["task", "search", "order", "count"].map(id => document.getElementById(id));
const figures = [...document.querySelectorAll("figure")];
const places = new Map(figures.map((figure, index) => [figure, index]));

function filter() {
  const words = search.value.trim().toLowerCase().split(/\s+/);
  for (const figure of figures) {
    const name = figure.dataset.name.toLowerCase();
    const wanted = !task.value || figure.closest("article").dataset.task === task.value;
    figure.hidden = !wanted || !words.every(word => name.includes(word));
  }
  for (const box of document.querySelectorAll("article, section")) box.hidden = !box.querySelector("figure:not([hidden])");
  const shown = figures.filter(figure => !figure.hidden).length;
  count.value = shown === figures.length ? "" : shown + " of " + figures.length + " pictures";
}

function sort() {
  const worst = order?.value === "worst";
  // Pictures without a score stand last.
  const key = figure => worst ? Number(figure.dataset.good || Infinity) : places.get(figure);
  for (const cards of document.querySelectorAll(".cards")) {
    cards.append(...[...cards.children].sort((a, b) => key(a) - key(b) || places.get(a) - places.get(b)));
  }
}

task.addEventListener("change", filter);
search.addEventListener("input", filter);
order?.addEventListener("change", sort);
document.addEventListener("keydown", event => {
  if (event.key === "/" && !viewer.open && !event.target.matches("input, select")) {
    event.preventDefault();
    search.focus();
  }
});
