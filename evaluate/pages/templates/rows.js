// The list of all rows: one kind or task, a part of a file name, the worst first; a click shows more of them.
const list = document.getElementById("all-rows");
const cases = JSON.parse(document.getElementById("cases").textContent);
const page = 100;
let shown = page;

function chosen() {
  const [wanted, text, order] = ["which", "find", "by"].map(id => document.getElementById(id).value);
  const words = text.trim().toLowerCase().split(/\s+/);
  const found = cases.filter(row => [row.kind, row.task].includes(wanted) &&
    words.every(word => row.image.toLowerCase().includes(word)));
  // A row without a score stands before the worst.
  const key = row => row.good ?? -Infinity;
  if (order) found.sort((a, b) => (order === "best" ? -1 : 1) * (key(a) - key(b) || 0));
  return found;
}

function cell(row, text, note) {
  const made = row.insertCell();
  made.textContent = text;
  if (note) made.append(Object.assign(document.createElement("small"), {textContent: note}));
}

function listRows() {
  const found = chosen();
  list.replaceChildren();
  for (const entry of found.slice(0, shown)) {
    const row = list.insertRow();
    cell(row, entry.task);
    cell(row, entry.score, entry.detail);
    const place = Math.max(entry.image.lastIndexOf("/"), entry.image.lastIndexOf("\\")) + 1;
    cell(row, entry.image.slice(place), entry.image.slice(0, place));
    cell(row, entry.row);
    cell(row, entry.group === entry.image ? "" : entry.group);
  }
  document.getElementById("found").value = Math.min(shown, found.length) + " of " + found.length + " rows";
  document.getElementById("more").hidden = shown >= found.length;
}

function save() {
  const columns = ["row", "image", "task", "kind", "group", "metric", "value", "detail"];
  const quoted = value => '"' + String(value ?? "").replaceAll('"', '""') + '"';
  const lines = [columns, ...chosen().map(row => columns.map(column => row[column]))];
  const text = lines.map(cells => cells.map(quoted).join(",") + "\r\n").join("");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff" + text], {type: "text/csv"}));
  link.download = "rows.csv";
  link.click();
  URL.revokeObjectURL(link.href);
}

for (const id of ["which", "by"]) {
  document.getElementById(id).addEventListener("change", () => { shown = page; listRows(); });
}
document.getElementById("find").addEventListener("input", () => { shown = page; listRows(); });
document.getElementById("more").addEventListener("click", () => { shown += page; listRows(); });
document.getElementById("save").addEventListener("click", save);
listRows();
