// Enlarged pictures: arrow keys show the next or previous visible one, O hides or shows the overlay, Escape closes.
const viewer = document.getElementById("viewer");
const every = [...document.querySelectorAll("figure button")];
let opened = every[0];
let plain = false;

// Shows each picture without its overlay, or with it. The first switch keeps the drawn picture.
function setPlain(wanted) {
  plain = wanted;
  for (const button of every) {
    if (!button.dataset.plain) continue;
    const image = button.querySelector("img");
    button.dataset.drawn ??= image.src;
    image.src = plain ? button.dataset.plain : button.dataset.drawn;
  }
  for (const toggle of document.querySelectorAll("[data-do=toggle]")) {
    toggle.textContent = plain ? "Show overlay (O)" : "Hide overlay (O)";
    toggle.setAttribute("aria-pressed", plain);
  }
}

function show(button) {
  opened = button;
  const [thumbnail, picture] = [button.querySelector("img"), viewer.querySelector("img")];
  picture.src = thumbnail.src;
  picture.alt = thumbnail.alt;
  picture.style.setProperty("--aspect", thumbnail.getAttribute("width") / thumbnail.getAttribute("height"));
  viewer.querySelector("p").textContent = button.dataset.caption;
  viewer.querySelector(".bars")?.remove();
  const bars = button.parentElement.querySelector(".bars");
  if (bars) viewer.querySelector("p").before(bars.cloneNode(true));
  viewer.querySelector("[data-do=toggle]").hidden = !button.dataset.plain;
  if (!viewer.open) viewer.showModal();
}

function step(by) {
  const visible = [...document.querySelectorAll("figure button")].filter(button => button.checkVisibility());
  show(visible[(visible.indexOf(opened) + by + visible.length) % visible.length]);
}

const actions = {
  back: () => step(-1),
  next: () => step(1),
  toggle: () => { setPlain(!plain); if (viewer.open) show(opened); },
  close: () => viewer.close(),
};
for (const button of every) button.addEventListener("click", () => show(button));
document.addEventListener("click", event => {
  if (event.target === viewer) viewer.close();
  actions[event.target.dataset?.do]?.();
});
viewer.addEventListener("close", () => opened.focus());
document.addEventListener("keydown", event => {
  if (event.target.matches("input, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  const name = {ArrowLeft: "back", ArrowRight: "next", o: "toggle", O: "toggle"}[event.key];
  if (name && (viewer.open || name === "toggle")) actions[name]();
});
