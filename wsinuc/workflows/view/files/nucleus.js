// One nucleus: its outline, picture, class and measurements.
import { draw, go, onEvent, where } from "./map.js";
import { title } from "./panel.js";
import { address, ask, byId, element, figure, say, tried } from "./server.js";
import { keep, remember } from "./state.js";

const SEEN_PX = 26;
let selected = null;
// What may take a click for itself, before a nucleus is looked for: (x, y, more) -> whether it has.
let claims = () => false;

export const claimTaps = (claim) => (claims = claim);

export const selection = () => selected;

export function openNucleus(facts) {
  // Of two clicks that follow each other quickly the second is no tap.
  for (const event of ["tap", "doubletap"]) onEvent(event, ({ x, y, modifiers }) => tap(x, -y, modifiers?.shift));
  byId("nucleus-close").addEventListener("click", () => select(null));
  byId("search").addEventListener("submit", (event) => {
    event.preventDefault();
    tried(() => search(byId("search-id").value.trim(), facts));
  });
  keep({ save: () => (selected ? { n: selected.id } : {}), restore: (asked) => tried(() => restore(asked.get("n"))) });
}

async function restore(id) {
  if (id !== (selected ? String(selected.id) : null)) select(id && /^\d{1,10}$/.test(id) ? await ask("nucleus", { id }) : null);
}

function tap(x, y, more) {
  if (!claims(x, y, Boolean(more))) tried(() => selectAt(x, y));
}

export async function selectAt(x, y) {
  select(await ask("at", { x, y }));
}

async function search(text, facts) {
  if (!/^\d{1,10}$/.test(text)) {
    say("A nucleus is searched for by its ID, a number.");
    return;
  }
  const found = await ask("nucleus", { id: text });
  if (!found) say(`There is no nucleus ${text}.`);
  else show(found, facts);
}

// Goes to a nucleus, near enough to see it, and selects it.
export function show(nucleus, facts) {
  const close = facts.diameter / SEEN_PX;
  go({ x: nucleus.x, y: nucleus.y, down: Math.min(where().down, close) });
  select(nucleus);
}

export function select(nucleus) {
  selected = nucleus;
  byId("nucleus").hidden = !nucleus;
  const rings = nucleus ? [nucleus.outline] : [];
  const data = { xs: rings.map((ring) => ring.map(([x]) => x)), ys: rings.map((ring) => ring.map(([, y]) => -y)) };
  draw("selected", data);
  draw("selected-line", data);
  if (nucleus) describe(nucleus);
  remember();
}

function describe(nucleus) {
  byId("nucleus-id").textContent = nucleus.id.toLocaleString("en").replaceAll(",", " ");
  const picture = element("img");
  picture.alt = `Nucleus ${nucleus.id}`;
  picture.src = address("crop", { id: nucleus.id });
  const about = element("div");
  about.append(element("div", nucleus.class));
  if (nucleus.label) about.append(element("div", `Label: ${nucleus.label}`));
  about.append(element("div", `${Math.round(nucleus.xUm)}, ${Math.round(nucleus.yUm)} µm`, "quiet"));
  const list = element("dl");
  const several = nucleus.probabilities.length > 1 ? nucleus.probabilities : [];
  for (const each of several) list.append(element("dt", `Probability of ${each.name}`), element("dd", figure(each.value)));
  for (const each of nucleus.measurements) list.append(element("dt", title(each)), element("dd", figure(each.value)));
  byId("nucleus-body").replaceChildren(picture, about, list);
}
