// Sorts the table of slides by the column whose heading is pressed.
import { useTheme } from "./theme.js";

const table = document.getElementById("slides");
const body = table.tBodies[0];

function sortBy(column, heading) {
  const ascending = heading.getAttribute("aria-sort") !== "ascending";
  for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const value = (row) => row.cells[column].dataset.value;
  const isNumber = heading.classList.contains("number");
  const compare = isNumber ? (a, b) => Number(value(a)) - Number(value(b)) : (a, b) => value(a).localeCompare(value(b));
  const rows = [...body.rows].sort(compare);
  body.append(...(ascending ? rows : rows.reverse()));
}

[...table.tHead.rows[0].cells].forEach((heading, column) => {
  heading.querySelector("button").addEventListener("click", () => sortBy(column, heading));
});

useTheme();
