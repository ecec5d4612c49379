// The distribution of a measurement among the nuclei in sight, linked both ways: a range drawn on it hides the others.
import { bounds, onMove } from "./map.js";
import { option, showSeen, title } from "./panel.js";
import { ask, byId, figure, later, svgElement, tried } from "./server.js";
import { change, onStyle, query, style } from "./state.js";

const WIDTH = 240;
const HEIGHT = 84;
let shown = null;

export function openHistogram(facts) {
  const column = byId("column");
  column.replaceChildren(...facts.columns.map((each) => option(each.name, title(each))));
  column.value = style.of || (facts.columns.some((each) => each.name === "area_um2") ? "area_um2" : "probability");
  const refresh = later(() => tried(fetchCounts), 150);
  column.addEventListener("input", () => {
    clear();
    refresh();
  });
  onMove(refresh);
  onStyle(refresh);
  onStyle(showRange);
  for (const id of ["range-low", "range-high"]) byId(id).addEventListener("change", fromInputs);
  byId("range-clear").addEventListener("click", clear);
  openBrush();
  showRange();
  refresh();
}

const clear = () => change({ of: "", lo: "", hi: "" });

function fromInputs() {
  change({ of: byId("column").value, lo: byId("range-low").value, hi: byId("range-high").value });
}

function showRange() {
  if (style.of) byId("column").value = style.of;
  byId("range-low").value = style.lo;
  byId("range-high").value = style.hi;
  if (shown) drawBins();
}

async function fetchCounts() {
  // Its own range is left out, so that one sees what it cuts off.
  const { of, lo, hi, ...others } = query();
  shown = await ask("histogram", { ...others, ...bounds(), column: byId("column").value });
  byId("low").textContent = figure(shown.low);
  byId("high").textContent = `${figure(shown.high)} ${shown.unit}`;
  byId("seen").textContent = `${shown.nuclei.toLocaleString("en")} in sight`;
  showSeen(shown.classes);
  drawBins();
}

function drawBins() {
  const { counts, low, high } = shown;
  const most = Math.max(1, ...counts);
  const step = WIDTH / counts.length;
  const from = style.lo === "" ? -Infinity : Number(style.lo);
  const to = style.hi === "" ? Infinity : Number(style.hi);
  const bins = counts.map((count, number) => {
    const middle = low + ((number + 0.5) / counts.length) * (high - low);
    const tall = (count / most) * (HEIGHT - 4);
    const bin = svgElement("rect", { x: number * step + 0.5, y: HEIGHT - 1 - tall, width: step - 1, height: tall });
    bin.classList.add("bin");
    if (style.of && middle >= from && middle <= to) bin.classList.add("in");
    return bin;
  });
  byId("histogram").replaceChildren(...bins);
}

function openBrush() {
  const picture = byId("histogram");
  let begun = null;
  const value = (event) => {
    const box = picture.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    return shown.low + share * (shown.high - shown.low);
  };
  picture.addEventListener("pointerdown", (event) => {
    if (!shown) return;
    begun = value(event);
    picture.setPointerCapture(event.pointerId);
  });
  picture.addEventListener("pointerup", (event) => {
    if (begun === null) return;
    const [lo, hi] = [begun, value(event)].sort((a, b) => a - b);
    begun = null;
    // A click without a way takes the range off.
    if (hi - lo < (shown.high - shown.low) / 60) clear();
    else change({ of: byId("column").value, lo: String(Number(lo.toPrecision(4))), hi: String(Number(hi.toPrecision(4))) });
  });
}
