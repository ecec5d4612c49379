// Another result of the same slide: what differs, and its nuclei in place of those of this one.
import { showNucleiOf } from "./map.js";
import { option, swatch } from "./panel.js";
import { ask, byId, element, say, settings, tried } from "./server.js";
import { change, keep, onStyle, otherTileQuery, placeHash, style, tileQuery } from "./state.js";

const MOST_CHANGES = 8;
let others = [];
let described = "";

export function openCompare(facts) {
  offer(facts.others);
  byId("compare").addEventListener("toggle", showFacts);
  byId("other").addEventListener("input", () => {
    showThis();
    filter();
    showFacts();
  });
  byId("differing").addEventListener("input", filter);
  byId("other-shown").addEventListener("click", toggleOther);
  byId("other-open").addEventListener("click", () => {
    byId("other-open").href = `view?r=${encodeURIComponent(byId("other").value)}#${placeHash()}`;
  });
  // What is changed in the panel is about this result.
  onStyle(showThis);
  keep({ save: () => ({}), restore });
}

// One that was written while this page is open; it may have been there in another version.
export function offerOther(other) {
  offer([other, ...others.filter((each) => each.key !== other.key)]);
  byId("other").value = other.key;
  described = "";
  showFacts();
}

function offer(list) {
  others = list;
  byId("compare").hidden = others.length === 0;
  byId("other").replaceChildren(...others.map(({ key, name }) => option(key, name)));
}

function filter() {
  change({ vs: byId("differing").checked ? byId("other").value : "" });
}

function restore() {
  const isThere = others.some((each) => each.key === style.vs);
  if (isThere) byId("other").value = style.vs;
  else style.vs = "";
  byId("differing").checked = isThere;
  if (isThere) byId("compare").open = true;
}

async function showFacts() {
  const other = byId("other").value;
  if (!byId("compare").open || described === other) return;
  described = other;
  byId("compare-facts").replaceChildren(element("span", "Comparing …", "quiet"));
  const compared = await tried(() => ask("compare", { with: other }));
  // Another one may have been chosen in the meantime.
  if (described !== other) return;
  if (!compared) described = "";
  byId("compare-facts").replaceChildren(...(compared ? lines(compared) : []));
}

function lines({ both, onlyHere, onlyThere, changed, changes, classes }) {
  const totals = { "In both": both, "Only in this one": onlyHere, "Only in the other": onlyThere, "In both, of another class": changed };
  const rows = Object.entries(totals).map(([name, count]) => line(name, count));
  for (const { from, to, nuclei } of changes.slice(0, MOST_CHANGES)) {
    const row = line(`${from} → ${to}`, nuclei);
    row.prepend(swatch(classes.find((each) => each.name === to).color));
    rows.push(row);
  }
  return rows;
}

function line(name, count) {
  const made = element("div", null, "class");
  made.append(element("span", name, "name"), element("span", count.toLocaleString("en"), "figure"));
  return made;
}

const isOther = () => byId("other-shown").getAttribute("aria-pressed") === "true";

export function toggleOther() {
  if (byId("compare").hidden) say("There is no other result of this slide here.");
  else if (isOther()) showThis();
  else showOther();
}

function showOther() {
  byId("other-shown").setAttribute("aria-pressed", "true");
  say(`Nuclei of ${byId("other").selectedOptions[0].textContent}`);
  showNucleiOf(byId("other").value, otherTileQuery());
}

function showThis() {
  if (!isOther()) return;
  byId("other-shown").setAttribute("aria-pressed", "false");
  say("Nuclei of this result");
  showNucleiOf(settings.key, tileQuery());
}
