// Where one looks and how: kept in the address behind #, so that a link brings somebody else to the same place.
import { go, onMove, where } from "./map.js";
import { byId, copy, later } from "./server.js";

export const style = { by: "class", hide: [], p: 0, of: "", lo: "", hi: "", fill: false, windows: true };
const listeners = [];
let version = 0;

export const onStyle = (listener) => listeners.push(listener);

export function change(part) {
  Object.assign(style, part);
  listeners.forEach((listener) => listener());
  remember();
}

// Tiles are fetched anew although the style is the same.
export function renew() {
  version = Date.now();
  change({});
}

export function query() {
  const asked = { by: style.by };
  if (style.hide.length) asked.hide = style.hide.join(",");
  if (style.p > 0) asked.p = style.p;
  if (style.of && (style.lo !== "" || style.hi !== "")) {
    asked.of = style.of;
    if (style.lo !== "") asked.lo = style.lo;
    if (style.hi !== "") asked.hi = style.hi;
  }
  if (style.fill) asked.fill = 1;
  if (!style.windows) asked.windows = 0;
  return asked;
}

export function tileQuery() {
  return "?" + new URLSearchParams(version ? { ...query(), v: version } : query());
}

const remember = later(() => history.replaceState(null, "", `#${hash()}`), 300);

function hash() {
  const { x, y, down } = where();
  const place = { x: x.toFixed(1), y: y.toFixed(1), d: Number(down.toPrecision(4)) };
  return new URLSearchParams({ ...place, ...query() }).toString();
}

// Applies the address; false where it names no place.
export function recall() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const read = (name, usual) => asked.get(name) ?? usual;
  const isPlace = ["x", "y", "d"].every((name) => asked.has(name) && Number.isFinite(Number(asked.get(name))));
  if (isPlace) go({ x: Number(asked.get("x")), y: Number(asked.get("y")), down: Number(asked.get("d")) });
  Object.assign(style, {
    by: read("by", "class"), hide: read("hide", "").split(",").filter(Boolean).map(Number), p: Number(read("p", 0)) || 0,
    of: read("of", ""), lo: read("lo", ""), hi: read("hi", ""), fill: read("fill", "") === "1", windows: read("windows", "1") === "1",
  });
  return isPlace;
}

export function openState() {
  onMove(remember);
  byId("link").addEventListener("click", () => {
    copy(`${location.href.split("#")[0]}#${hash()}`, "Copied. Who has this address can look, and label.");
  });
  window.addEventListener("hashchange", () => {
    recall();
    listeners.forEach((listener) => listener());
  });
}
