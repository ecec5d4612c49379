// Labels: keys and lasso give nuclei a class, every edit is on the disk before it is shown; and what is learned of them.
import { draw, lassoIsOn, mouse, onEvent, setLasso } from "./map.js";
import { offerLearned, showLegend, swatch } from "./panel.js";
import { ask, byId, element, fill, say, send, showProblems, tried } from "./server.js";
import { change, query, renew } from "./state.js";
import { select, selection, show } from "./nucleus.js";
import { openApply } from "./apply.js";
import { nameByKey, refreshWindows, remove } from "./windows.js";

const IGNORE = "Ignore*";
let classes = [];
let added = [];
let given = 0;
let lassoed = null;
let facts;

export function openTeaching(known) {
  facts = known;
  byId("teach").hidden = facts.nuclei === 0 || facts.labels.length === 0;
  take(facts);
  onEvent("selectiongeometry", (event) => {
    if (!event.final || event.geometry.type !== "poly") return;
    lassoed = [...event.geometry.x].map((x, number) => [x, -event.geometry.y[number]]);
    say("Press the key of a class for the nuclei within, or X for no nuclei.");
  });
  byId("lasso").addEventListener("click", toggleLasso);
  byId("undo").addEventListener("click", undo);
  byId("next").addEventListener("click", next);
  byId("learn").addEventListener("click", learn);
  if (!byId("teach").hidden) openApply();
  byId("new-class").addEventListener("submit", (event) => {
    event.preventDefault();
    addClass(byId("new-name").value.trim());
  });
}

export const labels = () => given;

// Labels may have been changed in another window.
export const refreshLabels = () => tried(async () => take(await ask("labels")));

function take(answer) {
  given = answer.labels.reduce((sum, each) => sum + each.labels, 0);
  classes = answer.labels.filter((each) => each.name !== IGNORE);
  added = added.filter((name) => !classes.some((each) => each.name === name));
  const ignored = answer.labels.find((each) => each.name === IGNORE);
  const lines = [...classes, ...added.map((name) => ({ name, shown: name, color: "transparent", labels: 0 }))];
  const rows = lines.map((each, number) => ({ ...each, key: String(number + 1) }));
  if (ignored) rows.push({ ...ignored, shown: "No nucleus", key: "X" });
  fill(byId("classes"), rows, classRow);
  draw("labels", answer.outlines);
  byId("learn").disabled = lines.filter((each) => each.labels > 0).length < 2;
}

function classRow(each) {
  const button = element("button", null, "class");
  button.title = "Give it to the selected nucleus";
  button.append(swatch(each.color), element("span", each.shown, "name"), element("span", each.labels, "figure"));
  if (each.key.length === 1) button.append(element("kbd", each.key));
  button.addEventListener("click", () => give(each.name, { selected: true }));
  return button;
}

function addClass(name) {
  if (!name) return;
  if (![...classes.map((each) => each.name), ...added].includes(name)) added.push(name);
  byId("new-name").value = "";
  refreshLabels();
}

export function giveByKey(number) {
  const name = [...classes.map((each) => each.name), ...added][number - 1];
  if (name === undefined) say(`There is no class ${number} yet: add one.`);
  else if (lassoed || !nameByKey(name)) give(name);
}

// In a training window the outline itself goes.
export const ignore = () => lassoed || !remove() ? give(IGNORE) : undefined;
export const unlabel = () => lassoed || !remove() ? give(null) : undefined;

// What was drawn around; else the nucleus under the mouse; else the selected one.
function target({ selected }) {
  if (lassoed) return { polygon: lassoed };
  const at = mouse();
  if (at && !selected) return { at: [at.x, at.y] };
  return selection() ? { ids: [selection().id] } : null;
}

async function give(name, from = {}) {
  const about = target(from);
  if (!about) {
    say("Move the mouse over a nucleus, or select one.");
    return;
  }
  await tried(async () => {
    const answer = await send("label", { ...about, class: name });
    take(answer);
    if (lassoed) stopLasso();
    if (answer.changed === 0) say("There is no nucleus here.");
    else if (answer.changed > 1) say(`${answer.changed.toLocaleString("en")} nuclei`);
    if (answer.changed === 1 && selection()?.id === answer.id) select({ ...selection(), label: name });
  });
}

async function undo() {
  await tried(async () => {
    const before = JSON.stringify(classes);
    const answer = await send("undo", {});
    take(answer);
    const many = before !== JSON.stringify(classes) ? `: ${answer.changed.toLocaleString("en")}` : "";
    say(answer.changed ? `Taken back${many}` : "There is nothing to take back.");
    await refreshWindows();
  });
}

async function next() {
  const slow = setTimeout(() => say("Looking for nuclei that are worth knowing …"), 400);
  await tried(async () => {
    const found = await ask("doubtful", query()).finally(() => clearTimeout(slow));
    if (found) show(found, facts);
    else say("There is no nucleus left to look at.");
  });
}

async function learn() {
  byId("learn").disabled = true;
  byId("score").textContent = "Learning …";
  const learned = await tried(() => send("learn", {}));
  byId("learn").disabled = false;
  byId("score").textContent = learned ? scoreText(learned) : "";
  byId("apply").hidden = !learned;
  if (!learned) return;
  offerLearned();
  change({ by: "learned", hide: [] });
  renew();
  await tried(showLegend);
  await tried(showProblems);
}

function scoreText({ score, labels, apart, chance }) {
  if (score === null || Number.isNaN(score)) return `${labels} labels, too few to measure`;
  const guessed = chance === null ? "" : `, by chance ${chance.toFixed(2)}`;
  return `Balanced accuracy ${score.toFixed(2)}${guessed}; ${labels} labels, held out by ${apart}`;
}

export function toggleLasso() {
  if (lassoIsOn()) stopLasso();
  else {
    setLasso(true);
    byId("lasso").setAttribute("aria-pressed", "true");
  }
}

function stopLasso() {
  lassoed = null;
  setLasso(false);
  byId("lasso").setAttribute("aria-pressed", "false");
}

export { next, undo };
