// Which layers are on, as it stands in the address; and where the run has searched, and what it left out.
import { draw } from "./map.js";
import { swatch } from "./panel.js";
import { address, ask, byId, element, figure, settings, tried } from "./server.js";
import { keep, remember } from "./state.js";

const SWITCHES = ["nuclei", "tissue", "labelled", "regions", "searched", "left-out"];
const usual = {};

// Once every switch has its work, because the address may turn it.
export function openLayers(facts) {
  for (const id of ["searched", "left-out"]) {
    byId(`${id}-row`).hidden = !facts.hasSlide;
    byId(id).addEventListener("input", () => tried(() => showAreas(id, byId(id).checked)));
  }
  for (const id of SWITCHES) {
    usual[id] = byId(id).checked;
    byId(id).addEventListener("input", remember);
  }
  byId("opacity").addEventListener("input", remember);
  keep({ save, restore });
}

function save() {
  const turned = SWITCHES.filter((id) => byId(id).checked !== usual[id]);
  const asked = {};
  if (turned.length) asked.layers = turned.join(",");
  if (byId("opacity").value !== "100") asked.o = byId("opacity").value;
  return asked;
}

function restore(asked) {
  const turned = (asked.get("layers") ?? "").split(",");
  for (const id of SWITCHES) {
    const wanted = turned.includes(id) ? !usual[id] : usual[id];
    if (byId(id).checked !== wanted) byId(id).click();
  }
  byId("opacity").value = asked.get("o") ?? 100;
  byId("opacity").dispatchEvent(new Event("input"));
}

const SOURCES = { searched: "tissue", "left-out": "left-out" };
const PICTURES = { searched: "tissue", "left-out": "leftout" };
async function showAreas(id, on) {
  const [height, width] = settings.shape;
  const there = { url: [address(PICTURES[id])], x: [0], y: [0], w: [width], h: [height] };
  draw(SOURCES[id], on ? there : { url: [], x: [], y: [], w: [], h: [] });
  byId(`${id}-legend`).replaceChildren();
  if (!on) return;
  byId(`${id}-legend`).textContent = "Looking for tissue …";
  const areas = await tried(() => ask("areas"));
  byId(`${id}-legend`).replaceChildren(...(areas ? LEGENDS[id](areas) : []));
}

const LEGENDS = {
  searched: ({ mm2 }) => [element("span", `${figure(mm2)} mm²`)],
  "left-out": ({ leftOut }) => (leftOut.length ? leftOut.map(entry) : [element("span", "Nothing but glass and blank areas")]),
};

function entry({ label, color }) {
  const line = element("div", null, "class");
  line.append(swatch(color), element("span", label, "name"));
  return line;
}
