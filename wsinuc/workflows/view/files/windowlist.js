// The list of training windows and ignored areas: go there, rename, remove.
import { go, where } from "./map.js";
import { element } from "./server.js";

// Calls edit with what is to be done: (what, content, told).
export function windowRow(each, edit) {
  const row = element("div", null, "row", "window");
  const rename = small("✎", "Give this window another name", `Rename ${each.name}`);
  rename.addEventListener("click", () => {
    const field = nameField(each, edit, () => row.replaceChildren(...parts));
    row.replaceChildren(field.form);
    // At once: a key pressed before the field has the focus would be a command to the page.
    field.select();
  });
  const remove = small("×", "Remove this window with its outlines", `Remove ${each.name}`);
  remove.addEventListener("click", () => edit("remove", { id: each.id }, `${each.name} was removed. U takes it back.`));
  const parts = [placeButton(each, `${each.nuclei.toLocaleString("en")} nuclei`), rename, remove];
  row.append(...parts);
  return row;
}

export const namedAreas = (list) => list.map((each, number) => ({ ...each, name: `Ignored area ${number + 1}` }));

export function ignoredRow(each, edit) {
  const row = element("div", null, "row", "window");
  const remove = small("×", "Let this area count again", `Remove ${each.name}`);
  remove.addEventListener("click", () => edit("count", { id: each.id }, `${each.name} counts again. U takes it back.`));
  row.append(placeButton(each, ""), remove);
  return row;
}

function placeButton(each, figures) {
  const button = element("button", null, "class");
  button.title = "Go there";
  button.append(element("span", each.name, "name"), element("span", figures, "figure"));
  button.addEventListener("click", () => goTo(each));
  return button;
}

function small(sign, title, label) {
  const button = element("button", sign, "remove");
  button.title = title;
  button.setAttribute("aria-label", label);
  return button;
}

// Enter takes the name over; Esc, or going elsewhere, leaves it as it is.
function nameField(each, edit, leaveIt) {
  const form = element("form", null, "row");
  const field = element("input");
  Object.assign(field, { value: each.name, maxLength: 100 });
  field.setAttribute("aria-label", `Name of ${each.name}`);
  field.addEventListener("keydown", (event) => event.key === "Escape" && field.blur());
  field.addEventListener("blur", leaveIt);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.value.trim() === each.name) field.blur();
    else edit("rename", { id: each.id, name: field.value });
  });
  form.append(field);
  return field;
}

function goTo({ rings }) {
  const xs = rings.flat().map(([x]) => x);
  const ys = rings.flat().map(([, y]) => y);
  const { w, h } = where();
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  go({ x: (x0 + x1) / 2, y: (y0 + y1) / 2, down: Math.max((x1 - x0) / w, (y1 - y0) / h) * 1.1 });
}
