// Colours, filters and layers: what of the nuclei is shown, and how.
import { draw, layer, restyle, show } from "./map.js";
import { ask, byId, element, figure, later, tried } from "./server.js";
import { change, onStyle, query, style, tileQuery } from "./state.js";

const named = (by) => by === "class" || by === "learned";
const restyled = later(() => restyle(tileQuery()), 60);
let facts;
let seen = [];

export async function openPanel(given) {
  facts = given;
  fillColumns();
  for (const id of ["by", "filled", "least", "opacity", "nuclei", "tissue", "labelled", "regions"]) {
    byId(id).addEventListener("input", () => CHANGES[id](byId(id)));
  }
  onStyle(restyled);
  onStyle(showStyle);
  showStyle();
  await showLegend();
  await restyle(tileQuery());
  await tried(showRegions);
}

const CHANGES = {
  by: async (input) => {
    change({ by: input.value, hide: [] });
    await tried(showLegend);
  },
  filled: (input) => change({ fill: input.checked }),
  least: (input) => change({ p: Number(input.value) / 100 }),
  opacity: (input) => layer("nuclei", { alpha: Number(input.value) / 100 }),
  nuclei: (input) => layer("nuclei", { visible: input.checked }),
  tissue: (input) => layer("slide", { visible: input.checked }),
  labelled: (input) => show("labels", input.checked),
  regions: (input) => show("regions", input.checked),
};

export function toggleNuclei() {
  byId("nuclei").click();
}

function fillColumns() {
  const choices = [["class", "Class"], ...facts.columns.map((column) => [column.name, title(column)])];
  byId("by").replaceChildren(...choices.map(([value, text]) => option(value, text)));
}

export function offerLearned() {
  const by = byId("by");
  if (![...by.options].some((each) => each.value === "learned")) by.options[0].after(option("learned", "Class, as learned"));
}

export const title = (column) => column.label + (column.unit ? ` (${column.unit})` : "");

export function option(value, text) {
  const made = element("option", text);
  made.value = value;
  return made;
}

function showStyle() {
  byId("by").value = style.by;
  byId("filled").checked = style.fill;
  byId("least").value = Math.round(style.p * 100);
  byId("least-value").textContent = style.p.toFixed(2);
}

export async function showLegend() {
  const legend = await ask("legend", query());
  byId("legend").replaceChildren(...(named(style.by) ? legend.classes.map(classButton) : [scale(legend)]));
  showSeen(seen);
}

function classButton(each, number) {
  const button = element("button", null, "class");
  button.setAttribute("aria-pressed", String(!style.hide.includes(number)));
  button.title = "Hide or show";
  const name = element("span", each.name, "name");
  const figures = element("span", null, "figure");
  figures.title = "In sight, of those on the slide";
  figures.append(element("b", null, "seen"), each.nuclei.toLocaleString("en"));
  button.append(swatch(each.color), name, figures);
  button.addEventListener("click", () => {
    const hidden = style.hide.includes(number);
    change({ hide: hidden ? style.hide.filter((other) => other !== number) : [...style.hide, number] });
    button.setAttribute("aria-pressed", String(hidden));
  });
  return button;
}

// How many nuclei of each class are in sight.
export function showSeen(counts) {
  seen = counts;
  document.querySelectorAll("#legend .seen").forEach((each, number) => {
    each.textContent = `${(counts[number] ?? 0).toLocaleString("en")} / `;
  });
}

export function swatch(color) {
  const made = element("span", null, "swatch");
  made.style.background = color;
  return made;
}

function scale(legend) {
  const made = element("div");
  const strip = element("div", null, "scale");
  strip.style.background = `linear-gradient(to right, ${legend.colors.join(", ")})`;
  const ends = element("div", null, "row", "ends");
  ends.append(element("span", figure(legend.low)), element("span", legend.unit, "quiet"), element("span", figure(legend.high)));
  made.append(strip, ends);
  return made;
}

async function showRegions() {
  const regions = await ask("regions");
  byId("regions-row").hidden = byId("regions-table").hidden = regions.length === 0;
  if (!regions.length) return;
  byId("layers").open = true;
  const rings = regions.flatMap((region) => region.rings);
  draw("regions", { xs: rings.map((ring) => ring.map(([x]) => x)), ys: rings.map((ring) => ring.map(([, y]) => -y)) });
  const head = row("th", ["Region", "Nuclei", "per mm²"]);
  const lines = regions.map((region) => {
    const line = row("td", [region.name, region.nuclei.toLocaleString("en"), figure(region.perMm2)]);
    line.title = Object.entries(region.counts).map(([name, count]) => `${name}: ${count.toLocaleString("en")}`).join("\n");
    return line;
  });
  byId("regions-table").replaceChildren(head, ...lines);
}

function row(kind, cells) {
  const made = element("tr");
  made.append(...cells.map((cell) => element(kind, cell)));
  return made;
}
