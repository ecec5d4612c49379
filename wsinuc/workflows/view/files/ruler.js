// A distance on the slide, from one point to another; it stays until Esc, and in the address.
import { onMove } from "./map.js";
import { byId, length, svgElement } from "./server.js";
import { beginSketch, endSketch, isSketching, onMap } from "./sketch.js";
import { keep, remember } from "./state.js";

const LABEL_PX = 14;
// The ends (x, y) in level-0 pixels; none where nothing is measured.
let ends = [];
let mpp = null;

export function openRuler(facts) {
  ({ mpp } = facts);
  byId("measure").addEventListener("click", toggleRuler);
  onMove(() => show(ends));
  keep({ save, restore });
}

export function toggleRuler() {
  const button = byId("measure");
  if (button.getAttribute("aria-pressed") === "true") {
    endSketch();
    return;
  }
  const finish = (points) => {
    show(points);
    remember();
  };
  const ended = () => {
    button.setAttribute("aria-pressed", "false");
    show([]);
  };
  beginSketch("ruler", finish, { drawing: show, ended });
  button.setAttribute("aria-pressed", "true");
}

// Whether there was a ruler to take away.
export function removeRuler() {
  if (!ends.length || isSketching()) return false;
  show([]);
  remember();
  return true;
}

function show(points) {
  ends = points;
  byId("ruler").replaceChildren(...(points.length === 2 ? drawn(points) : []));
}

function drawn(points) {
  const [[x0, y0], [x1, y1]] = points.map(onMap);
  const line = { x1: x0, y1: y0, x2: x1, y2: y1 };
  const dots = [[x0, y0], [x1, y1]].map(([cx, cy]) => svgElement("circle", { cx, cy, r: 3.5 }));
  const label = svgElement("text", { x: (x0 + x1) / 2, y: (y0 + y1) / 2 - LABEL_PX });
  label.textContent = distance(points);
  return [svgElement("line", { ...line, class: "halo" }), svgElement("line", line), ...dots, label];
}

function distance([[x0, y0], [x1, y1]]) {
  const pixels = Math.hypot(x1 - x0, y1 - y0);
  return mpp ? length(pixels * mpp) : `${Math.round(pixels).toLocaleString("en")} px`;
}

function save() {
  return ends.length === 2 ? { ruler: ends.flat().map((value) => value.toFixed(1)).join(",") } : {};
}

function restore(asked) {
  const values = (asked.get("ruler") ?? "").split(",").map(Number);
  const isRuler = values.length === 4 && values.every(Number.isFinite);
  show(isRuler ? [values.slice(0, 2), values.slice(2)] : []);
}
