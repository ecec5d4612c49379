// What lies around the slide: scale bar, magnification, coordinates, overview with the field's frame.
import { address, byId, figure, length, settings } from "./server.js";
import { bounds, fit, go, mouse, onMove, where } from "./map.js";

const [height, width] = settings.shape;
const STEPS = [1, 2, 5];
// An objective of 10× shows about 1 µm per pixel, and so on.
const UM_PER_PIXEL_10X = 1;

export function openFrame(facts) {
  const refresh = () => {
    drawBar(facts.mpp);
    drawField();
    showPlace(facts.mpp);
  };
  onMove(refresh);
  const image = byId("overview").querySelector("img");
  image.addEventListener("load", drawField);
  if (facts.hasSlide) image.src = address("overview");
  else byId("overview").hidden = true;
  byId("overview").addEventListener("click", (event) => {
    const box = image.getBoundingClientRect();
    go({ x: ((event.clientX - box.left) / box.width) * width, y: ((event.clientY - box.top) / box.height) * height });
  });
  byId("map").addEventListener("mousemove", () => showPlace(facts.mpp));
  byId("fit").addEventListener("click", fit);
  byId("one").addEventListener("click", () => go({ ...where(), down: 1 }));
  refresh();
}

function drawBar(mpp) {
  const bar = byId("bar");
  bar.hidden = !mpp;
  if (!mpp) return;
  const perPixel = where().down * mpp;
  // The longest round length of at most 160 px.
  const power = 10 ** Math.floor(Math.log10(160 * perPixel));
  const um = power * STEPS.filter((step) => step * power <= 160 * perPixel).pop();
  byId("bar-line").style.width = `${um / perPixel}px`;
  byId("bar-label").textContent = length(um);
  byId("magnification").textContent = `${figure(Number(((10 * UM_PER_PIXEL_10X) / perPixel).toPrecision(2)))}×`;
}

function drawField() {
  const image = byId("overview").querySelector("img");
  const frame = byId("overview").querySelector("i");
  const { x0, x1, y0, y1 } = bounds();
  const clipped = (value, most) => Math.min(1, Math.max(0, value / most));
  const left = clipped(x0, width) * image.clientWidth;
  const top = clipped(y0, height) * image.clientHeight;
  frame.style.left = `${left}px`;
  frame.style.top = `${top}px`;
  frame.style.width = `${clipped(x1, width) * image.clientWidth - left}px`;
  frame.style.height = `${clipped(y1, height) * image.clientHeight - top}px`;
}

function showPlace(mpp) {
  const at = mouse();
  const place = byId("place");
  if (!at) return;
  const pixels = `x ${Math.floor(at.x).toLocaleString("en")}  y ${Math.floor(at.y).toLocaleString("en")} px`;
  const um = mpp ? `${Math.round(at.x * mpp).toLocaleString("en")}, ${Math.round(at.y * mpp).toLocaleString("en")} µm · ` : "";
  const scale = mpp ? ` · ${figure(where().down * mpp)} µm per pixel` : "";
  place.textContent = `${um}${pixels}${scale}`;
}
