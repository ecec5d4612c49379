// Training windows: areas in which every outline is to be right; outlines are selected, split, merged, drawn, deleted,
// and what cannot be made right is ignored.
import { bounds, draw, mouse, onMove, show as showGlyph, where } from "./map.js";
import { claimTaps, select } from "./nucleus.js";
import { ask, byId, copy, fill, say, send, tried } from "./server.js";
import { change, renew, style } from "./state.js";
import { ignoredRow, namedAreas, windowRow } from "./windowlist.js";
import { beginSketch, endSketch, isSketching, sketchByKey } from "./sketch.js";

const OUTLINES_PX = 8;
const PLAIN = "#d3d7db";
let windows = [];
let outlines = [];
let ignored = [];
let command = "";
let selected = new Set();
let isByKeys = false;
let facts;

export async function openWindows(known) {
  facts = known;
  byId("windows").hidden = facts.nuclei === 0 || facts.labels.length === 0;
  if (byId("windows").hidden) return;
  claimTaps(tap);
  for (const [name, work] of Object.entries(TOOLS)) byId(`window-${name}`).addEventListener("click", work);
  byId("window-train").addEventListener("click", () => copy(command, "Copied the command that learns from these windows: paste it into a terminal."));
  byId("windows-shown").checked = style.windows;
  byId("windows-shown").addEventListener("input", () => {
    change({ windows: byId("windows-shown").checked });
    showOutlines();
  });
  onMove(showOutlines);
  await refreshWindows();
  byId("windows").open = windows.length > 0;
  byId("windows").addEventListener("toggle", reveal);
}

// They may have been changed in another window.
export async function refreshWindows() {
  if (!byId("windows").hidden) await tried(async () => take(await ask("windows")));
}

// On a small screen the tools would lie below the edge.
function reveal() {
  if (byId("windows").open) byId("windows").scrollIntoView({ block: "nearest" });
}

const ids = (list) => list.map((each) => each.id).join();

function take(answer) {
  const changed = ids(windows) !== ids(answer.windows);
  ({ windows, outlines, ignored, command } = answer);
  selected = new Set([...selected, ...(answer.new ?? [])].filter((id) => outlines.some((each) => each.id === id)));
  byId("window-name").placeholder = answer.freeName;
  fill(byId("window-list"), windows, (each) => windowRow(each, edit));
  fill(byId("ignored-list"), namedAreas(ignored), (each) => ignoredRow(each, edit));
  byId("window-tools").hidden = byId("window-file").hidden = windows.length === 0;
  byId("window-saved").textContent = answer.file;
  draw("windows", flat(windows));
  draw("ignored", flat(ignored));
  showOutlines();
  // Nuclei of the result are not drawn where a window is.
  if (changed) {
    renew();
    if (answer.new) reveal();
  }
}

function flat(list) {
  const rings = list.flatMap((each) => each.rings);
  return { xs: rings.map((ring) => ring.map(([x]) => x)), ys: rings.map((ring) => ring.map(([, y]) => -y)) };
}

function areShown() {
  return byId("windows-shown").checked && facts.diameter / where().down >= OUTLINES_PX;
}

function showOutlines() {
  const list = areShown() ? outlines.filter(isInSight) : [];
  draw("window-outlines", { ...flat(list), colors: list.flatMap((each) => each.rings.map(() => each.color || PLAIN)) });
  const chosen = flat(list.filter((each) => selected.has(each.id)));
  draw("window-selected", chosen);
  for (const name of ["windows", "ignored"]) showGlyph(name, byId("windows-shown").checked);
  const count = selected.size;
  byId("window-count").textContent = count
    ? `${count} selected: 1 to 9 give a class, X deletes.`
    : "Click outlines to select them, with Shift several.";
  byId("window-merge").disabled = count < 2;
  byId("window-delete").disabled = count < 1;
}

function isInSight({ rings }) {
  const { x0, x1, y0, y1 } = bounds();
  return rings.some((ring) => {
    const xs = ring.map(([x]) => x);
    const ys = ring.map(([, y]) => y);
    return Math.min(...xs) < x1 && Math.max(...xs) > x0 && Math.min(...ys) < y1 && Math.max(...ys) > y0;
  });
}

async function edit(what, content, told) {
  await tried(async () => {
    const answer = await send(`window-${what}`, content);
    if (what !== "name") selected = new Set();
    take(answer);
    if (told) say(typeof told === "string" ? told : told(answer));
  });
}

function holds({ rings }, x, y) {
  return rings.some((ring) => isInside(ring, x, y));
}

function isInside(ring, x, y) {
  let inside = false;
  ring.forEach(([x1, y1], number) => {
    const [x0, y0] = ring.at(number - 1);
    if (y0 > y !== y1 > y && x < x0 + ((y - y0) / (y1 - y0)) * (x1 - x0)) inside = !inside;
  });
  return inside;
}

const outlineAt = (x, y) => outlines.findLast((each) => holds(each, x, y));
const isInWindow = (x, y) => areShown() && windows.some((each) => holds(each, x, y));

// A click selects an outline of a window, with Shift one more; elsewhere it is left to the nuclei of the result.
function tap(x, y, more) {
  const outline = areShown() ? outlineAt(x, y) : undefined;
  if (!outline && !isInWindow(x, y)) {
    if (selected.size) unselect();
    return false;
  }
  select(null);
  isByKeys = false;
  if (!more) selected = new Set(outline ? [outline.id] : []);
  else if (outline) selected.has(outline.id) ? selected.delete(outline.id) : selected.add(outline.id);
  showOutlines();
  return true;
}

// For tests, and for whoever wants to script the page.
export const shownOutlines = () => outlines.map((each) => ({ id: each.id, class: each.class, isSelected: selected.has(each.id) }));

function unselect() {
  selected = new Set();
  showOutlines();
}

// What a key is about: the selected outlines, else the one under the mouse. Over the rest of the slide it is not for a
// window, so that no outline goes that nobody looks at.
function target() {
  const at = mouse();
  const isElsewhere = at && !isInWindow(at.x, at.y);
  if (selected.size && (isByKeys || !isElsewhere)) return [...selected];
  if (!at || isElsewhere) return null;
  const outline = outlineAt(at.x, at.y);
  return outline ? [outline.id] : [];
}

// Whether the key was meant for a window.
export function remove() {
  const about = target();
  if (about?.length) edit("delete", { ids: about }, about.length > 1 ? `${about.length} outlines deleted` : undefined);
  else if (about) say("There is no outline here.");
  return about !== null;
}

export function nameByKey(name) {
  const about = target();
  if (about?.length) edit("name", { ids: about, class: name });
  else if (about) say("There is no outline here.");
  return about !== null;
}

export function tapMiddle(event) {
  if (isSketching()) sketchByKey();
  else if (!tap(where().x, where().y, event.shiftKey)) return false;
  isByKeys = true;
  return true;
}

// Whether there was something to leave.
export function leave() {
  if (isSketching()) endSketch();
  else if (selected.size) unselect();
  else return false;
  return true;
}

function tool(name, kind, done) {
  const button = byId(`window-${name}`);
  return () => {
    if (button.getAttribute("aria-pressed") === "true") {
      endSketch();
      return;
    }
    if (name !== "add" && !windows.length) {
      say("Draw a training window first.");
      return;
    }
    byId("windows").open = true;
    beginSketch(kind, done, { ended: () => button.setAttribute("aria-pressed", "false") });
    button.setAttribute("aria-pressed", "true");
  };
}

const TOOLS = {
  add: tool("add", "box", (line) => {
    const name = byId("window-name").value.trim();
    byId("window-name").value = "";
    edit("add", { line, name }, "Look at every outline in the window, and mend those that are wrong.");
  }),
  split: tool("split", "line", (line) => edit("split", { line })),
  draw: tool("draw", "ring", (line) => edit("draw", { line }, facts.classes.length > 1 ? "Press the key of its class." : undefined)),
  ignore: tool("ignore", "ring", (line) => edit("ignore", { line }, "What lies in this area counts in no training.")),
  merge: () => edit("merge", { ids: [...selected] }),
  delete: () => edit("delete", { ids: [...selected] }),
};

export const windowKeys = { r: TOOLS.add, s: TOOLS.split, d: TOOLS.draw, m: TOOLS.merge, i: TOOLS.ignore };
