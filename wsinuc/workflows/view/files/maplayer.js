// A map of the nuclei over the slide: per mm², the share of a class, or a mean, in squares.
import { layer, restyle } from "./map.js";
import { option, title } from "./panel.js";
import { ask, byId, element, later, tried } from "./server.js";
import { keep, onStyle, query, remember, renewed, style } from "./state.js";

const INPUTS = ["map-of", "map-class", "map-um"];
let shown = "";
let classes = [];
let classesOf = null;
let ownClasses = [];

export function openMapLayer(facts) {
  byId("maps").hidden = facts.nuclei === 0;
  const means = facts.columns.filter((each) => !each.name.startsWith("box_"));
  const choices = [["", "None"], ["density", "Nuclei per mm²"], ["share", "Share of a class"]];
  byId("map-of").replaceChildren(
    ...choices.map(([value, text]) => option(value, text)),
    ...means.map((each) => option(each.name, `Mean: ${title(each)}`)),
  );
  ownClasses = facts.classes;
  for (const id of INPUTS) byId(id).addEventListener("change", changed);
  byId("map-opacity").addEventListener("input", () => {
    layer("map", { alpha: opacity() });
    fade();
    remember();
  });
  onStyle(later(() => tried(refresh), 80));
  classes = ownClasses;
  keep({ save, restore });
}

const opacity = () => Number(byId("map-opacity").value) / 100;

function changed() {
  fillClasses();
  tried(refresh);
  remember();
}

// Those of the result, or as they were learned last.
async function takeClasses() {
  const of = style.by === "learned" ? `learned ${renewed().v}` : "class";
  if (of === classesOf) return;
  classesOf = of;
  classes = style.by === "learned" ? (await ask("legend", { by: style.by })).classes : ownClasses;
  fillClasses();
}

// A share is one of some class, the others may be of all nuclei.
function fillClasses() {
  const select = byId("map-class");
  const before = select.value;
  const all = byId("map-of").value === "share" ? [] : [option("", "All nuclei")];
  select.replaceChildren(...all, ...classes.map((each, number) => option(String(number), each.name)));
  select.value = before;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
  byId("map-class-row").hidden = classes.length < 2 && byId("map-of").value !== "share";
}

// What of the page a map depends on: itself, and the filters that say which nuclei count.
export function mapQuery() {
  const { hide, fill, by, ...filters } = query();
  const named = by === "learned" ? { by } : {};
  return { map: byId("map-of").value, um: byId("map-um").value || "50", mc: byId("map-class").value, ...filters, ...named };
}

async function refresh() {
  const isOn = byId("map-of").value !== "";
  byId("map-settings").hidden = !isOn;
  layer("map", { visible: isOn, alpha: opacity() });
  await takeClasses();
  const asked = isOn ? "?" + new URLSearchParams({ ...mapQuery(), ...renewed() }) : "";
  if (asked === shown) return;
  shown = asked;
  if (!isOn) return;
  byId("map-legend").replaceChildren(element("span", "Counting …", "quiet"));
  try {
    byId("map-legend").replaceChildren(...legend(await ask("map", mapQuery())));
    fade();
  } catch (error) {
    byId("map-legend").replaceChildren(element("span", error.message));
    layer("map", { visible: false });
    return;
  }
  await restyle(asked, "map");
}

function legend({ title: text, labels, colors, nuclei }) {
  const strip = element("div", null, "scale");
  strip.append(element("div"));
  strip.firstChild.style.background = `linear-gradient(to right, ${colors.join(", ")})`;
  const ends = element("div", null, "row", "ends");
  ends.append(...labels.map((label) => element("span", label)));
  const heading = element("div", text[0].toUpperCase() + text.slice(1));
  return [heading, strip, ends, element("div", `${nuclei.toLocaleString("en")} nuclei counted`, "quiet", "small")];
}

// The scale has the colours that the map has on glass.
function fade() {
  const colours = document.querySelector("#map-legend .scale div");
  if (colours) colours.style.opacity = opacity();
}

function save() {
  if (!byId("map-of").value) return {};
  const { map, um, mc } = mapQuery();
  return { map, um, ...(mc ? { mc } : {}), ma: byId("map-opacity").value };
}

function restore(asked) {
  byId("map-of").value = asked.get("map") ?? "";
  // An address may name a measurement that this table does not have.
  if (byId("map-of").selectedIndex < 0) byId("map-of").value = "";
  fillClasses();
  if (asked.get("mc")) byId("map-class").value = asked.get("mc");
  byId("map-um").value = asked.get("um") ?? 50;
  byId("map-opacity").value = asked.get("ma") ?? 60;
  if (byId("map-of").value) byId("maps").open = true;
  tried(refresh);
}
