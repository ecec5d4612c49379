// Drawing by hand over the slide: a rectangle, a line, a ruler or an outline; with the mouse, or by keys from corner to
// corner.
import { fromScreen, onMove, toScreen, where, zoom } from "./map.js";
import { byId, say, svgElement } from "./server.js";

const STEP_PX = 2;
const KINDS = {
  box: { least: 2, most: 2, hint: "Drag a rectangle. By keys: move the slide with the arrows, Enter sets a corner." },
  ruler: { least: 2, most: 2, hint: "Draw from one point to the other. By keys: move the slide with the arrows, Enter sets a point." },
  line: { least: 2, most: 5000, hint: "Draw a line across. By keys: arrows, Enter sets a point, Enter twice ends." },
  ring: { least: 3, most: 5000, hint: "Draw around it. By keys: arrows, Enter sets a point, Enter twice ends." },
};
// What is being drawn: {kind, points (x, y) of the slide, done, byKeys}.
let sketch = null;

export const isSketching = () => sketch !== null;

// Calls drawing with the points so far, done with them all when they are drawn; ended when it is over, either way.
export function beginSketch(kind, done, { drawing, ended } = {}) {
  endSketch();
  sketch = { kind, done, drawing, ended, points: [], byKeys: false };
  byId("sketch").classList.add("on");
  say(KINDS[kind].hint);
  redraw();
}

export function endSketch() {
  const { ended } = sketch ?? {};
  sketch = null;
  byId("sketch").classList.remove("on");
  redraw();
  ended?.();
}

export function openSketch() {
  const layer = byId("sketch");
  layer.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    layer.setPointerCapture(event.pointerId);
    Object.assign(sketch, { points: [fromScreen(event.clientX, event.clientY)], byKeys: false });
  });
  layer.addEventListener("pointermove", (event) => {
    if (sketch?.points.length && !sketch.byKeys) extend(event);
  });
  layer.addEventListener("pointerup", () => {
    if (sketch?.points.length && !sketch.byKeys) finish();
  });
  layer.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15);
  });
  onMove(redraw);
}

function extend(event) {
  const at = fromScreen(event.clientX, event.clientY);
  if (KINDS[sketch.kind].most === 2) sketch.points = [sketch.points[0], at];
  else if (distance(sketch.points.at(-1), at) >= STEP_PX * where().down && sketch.points.length < KINDS[sketch.kind].most) sketch.points.push(at);
  redraw();
}

// A corner in the middle of what is seen; the same one twice ends a line.
export function sketchByKey() {
  const { x, y, down } = where();
  if (!sketch.byKeys) Object.assign(sketch, { points: [], byKeys: true });
  const last = sketch.points.at(-1);
  const again = last && distance(last, [x, y]) < down;
  if (!again) sketch.points.push([x, y]);
  const { least, most } = KINDS[sketch.kind];
  if (sketch.points.length >= (again ? least : most)) finish();
  else redraw();
}

function finish() {
  const { points, kind, done } = sketch;
  endSketch();
  if (points.length >= KINDS[kind].least) done(points);
}

const distance = ([x, y], [otherX, otherY]) => Math.hypot(x - otherX, y - otherY);

function redraw() {
  const layer = byId("sketch");
  if (!sketch) {
    layer.replaceChildren();
    return;
  }
  const { x, y } = where();
  // By keys the next point is the middle.
  const points = sketch.byKeys ? [...sketch.points, [x, y]] : sketch.points;
  sketch.drawing?.(points);
  const parts = sketch.drawing ? [] : [path(sketch.kind, points.map(onMap))];
  if (sketch.byKeys || !points.length) parts.push(cross(onMap([x, y])));
  layer.replaceChildren(...parts);
}

// Where a point of the slide lies on a layer over it.
export function onMap([x, y]) {
  const [left, top] = toScreen(x, y);
  const box = byId("map").getBoundingClientRect();
  return [left - box.left, top - box.top];
}

function path(kind, points) {
  const corners = kind === "box" && points.length === 2 ? rectangle(points) : points;
  const closed = kind !== "line" && corners.length > 2 ? "Z" : "";
  const d = corners.length ? `M${corners.map((corner) => corner.join(" ")).join("L")}${closed}` : "";
  return svgElement("path", { class: kind, d });
}

function rectangle([[x0, y0], [x1, y1]]) {
  return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
}

function cross([x, y]) {
  return svgElement("path", { class: "cross", d: `M${x - 9} ${y}H${x + 9}M${x} ${y - 9}V${y + 9}` });
}
