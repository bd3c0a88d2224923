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
