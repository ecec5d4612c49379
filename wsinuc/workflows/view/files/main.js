// The page from its parts, in the order in which they need each other; and the keys.
import { openCompare, toggleOther } from "./compare.js";
import { openConnection } from "./connection.js";
import { openFrame } from "./frame.js";
import { openHistogram } from "./histogram.js";
import { openLayers } from "./layers.js";
import { bounds, fit, go, mouse, onMove, opacityOf, openMap, pan, tilesAreThere, toScreen, where, zoom } from "./map.js";
import { mapQuery, openMapLayer } from "./maplayer.js";
import { openNucleus, select, selectAt, selection } from "./nucleus.js";
import { openPanel, toggleNuclei } from "./panel.js";
import { openRuler, removeRuler, toggleRuler } from "./ruler.js";
import { address, ask, byId, later, say, settings, showProblems, tried } from "./server.js";
import { openSketch } from "./sketch.js";
import { onStyle, openState, query, recall } from "./state.js";
import { leave, openWindows, refreshWindows, shownOutlines, tapMiddle, windowKeys } from "./windows.js";
import { giveByKey, ignore, labels, next, openTeaching, refreshLabels, toggleLasso, undo, unlabel } from "./teach.js";
import { openTheme } from "./theme.js";

const KEYS = {
  x: ignore, u: undo, n: next, l: toggleLasso, h: toggleNuclei, f: fit, o: () => go({ ...where(), down: 1 }),
  "+": () => zoom(0.7), "=": () => zoom(0.7), "-": () => zoom(1 / 0.7), "?": () => byId("keys").showModal(),
  ArrowLeft: () => pan(-0.15, 0), ArrowRight: () => pan(0.15, 0), ArrowUp: () => pan(0, -0.15), ArrowDown: () => pan(0, 0.15),
  Delete: unlabel, t: toggleRuler, c: toggleOther, Escape: () => leave() || removeRuler() || select(null), ...windowKeys,
  Enter: (event) => tapMiddle(event) || tried(() => selectAt(where().x, where().y)),
};

function openKeys() {
  document.addEventListener("keydown", (event) => {
    const isField = event.target.matches("input:not([type=checkbox], [type=range]), select, textarea");
    if (isField || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    // A button that has the focus is pressed by Enter, and a slider moved by arrows.
    if (event.target.matches("button, a, summary, input") && /^(Enter| |Arrow.*)$/.test(event.key)) return;
    const work = /^[1-9]$/.test(event.key) ? () => giveByKey(Number(event.key)) : KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!work) return;
    event.preventDefault();
    work(event);
  });
  byId("help").addEventListener("click", KEYS["?"]);
}

// Address and name of the picture follow what is seen.
function openPicture({ name, mpp }) {
  const refresh = later(() => {
    const { x0, y0 } = bounds();
    const { x, y, down, w, h } = where();
    const map = opacityOf("map") > 0 ? { ...mapQuery(), ma: opacityOf("map") } : {};
    const place = { x0, y0, down: down / 2, w: Math.round(2 * w), h: Math.round(2 * h) };
    byId("picture").href = address("picture", { ...map, ...query(), ...place, nuclei: opacityOf("nuclei") });
    const [right, lower] = [x, y].map((value) => Math.round(value * (mpp ?? 1)));
    byId("picture").download = `${name}_x${right}_y${lower}_${mpp ? "um" : "px"}.png`;
  }, 100);
  onMove(refresh);
  onStyle(refresh);
  for (const event of ["input", "change"]) byId("settings-panel").addEventListener(event, refresh);
  refresh();
}

async function open() {
  openTheme();
  await openMap();
  const facts = await ask("facts");
  byId("count").textContent = facts.nuclei ? `${facts.nuclei.toLocaleString("en")} nuclei` : "";
  if (!recall()) fit();
  openSketch();
  openFrame(facts);
  openNucleus(facts);
  openTeaching(facts);
  await openWindows(facts);
  await openPanel(facts);
  openMapLayer(facts);
  openLayers(facts);
  openHistogram(facts);
  openCompare(facts);
  openRuler(facts);
  openPicture(facts);
  openKeys();
  openState();
  openConnection(facts);
  onMove(later(() => tried(showProblems), 1500));
  window.addEventListener("focus", refreshLabels);
  window.addEventListener("focus", refreshWindows);
  await showProblems();
  document.body.dataset.ready = "yes";
}

// For tests, and for whoever wants to script the page.
window.wsinucView = { bounds, go, where, mouse, tilesAreThere, toScreen, selected: () => selection()?.id ?? null, labels, outlines: shownOutlines, key: settings.key };

open().catch((error) => say(`The page cannot be shown: ${error.message}`));
