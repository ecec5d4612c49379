// Where one looks and how: kept in the address behind #, so that a link brings somebody else to the same place.
// The address takes it up after a moment, because browsers refuse many changes in a short time. What a page that goes
// has not written yet waits in the tab for a reload, or for the way back.
import { go, onMove, where } from "./map.js";
import { byId, copy, later } from "./server.js";

export const style = { by: "class", hide: [], p: 0, of: "", lo: "", hi: "", fill: false, windows: true, vs: "" };
const listeners = [];
let version = 0;
let isOpen = false;
const LEFT = `wsinuc ${location.pathname}${location.search}`;

// Browsers keep storage from a page in a frame of another one, as in a notebook: then the address has to do.
function stored(work) {
  try {
    return work(sessionStorage);
  } catch {
    return null;
  }
}

const left = stored((tab) => tab.getItem(LEFT));
stored((tab) => tab.removeItem(LEFT));
// An address that somebody has followed says itself what it shows.
if (left && performance.getEntriesByType("navigation")[0]?.type !== "navigate") write(left);

// What others keep in the address: each has `save`, the values that are not the usual ones, and `restore`.
const kept = [];
let asked = new URLSearchParams(location.hash.slice(1));
export function keep(part) {
  kept.push(part);
  part.restore(asked);
}

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
  if (style.vs) asked.vs = style.vs;
  if (style.fill) asked.fill = 1;
  if (!style.windows) asked.windows = 0;
  return asked;
}

// Part of an address that tells tiles from those before `renew`.
export const renewed = () => (version ? { v: version } : {});

export function tileQuery() {
  return "?" + new URLSearchParams({ ...query(), ...renewed() });
}

const remembered = later(() => write(hash()), 300);

// Once every part of the page has taken up what the address says of it.
export const remember = () => isOpen && remembered();

function write(text) {
  history.replaceState(null, "", `#${text}`);
}

// Of the nuclei of another result: which of its classes are hidden, nobody has said.
export function otherTileQuery() {
  const { hide, vs, by, ...asked } = query();
  return "?" + new URLSearchParams({ ...asked, by: by === "learned" ? "class" : by, windows: 0, ...renewed() });
}

function place() {
  const { x, y, down } = where();
  return { x: x.toFixed(1), y: y.toFixed(1), d: Number(down.toPrecision(4)) };
}

export const placeHash = () => new URLSearchParams(place()).toString();

function hash() {
  return new URLSearchParams({ ...place(), ...query(), ...Object.assign({}, ...kept.map((part) => part.save())) }).toString();
}

// Applies the address; false where it names no place.
export function recall() {
  asked = new URLSearchParams(location.hash.slice(1));
  const read = (name, usual) => asked.get(name) ?? usual;
  const isPlace = ["x", "y", "d"].every((name) => asked.has(name) && Number.isFinite(Number(asked.get(name))));
  if (isPlace) go({ x: Number(asked.get("x")), y: Number(asked.get("y")), down: Number(asked.get("d")) });
  Object.assign(style, {
    by: read("by", "class"), hide: read("hide", "").split(",").filter(Boolean).map(Number), p: Number(read("p", 0)) || 0,
    of: read("of", ""), lo: read("lo", ""), hi: read("hi", ""), fill: read("fill", "") === "1", windows: read("windows", "1") === "1",
    vs: read("vs", ""),
  });
  for (const part of kept) part.restore(asked);
  return isPlace;
}

export function openState() {
  isOpen = true;
  onMove(remember);
  window.addEventListener("pagehide", () => stored((tab) => tab.setItem(LEFT, hash())));
  byId("link").addEventListener("click", () => {
    copy(`${location.href.split("#")[0]}#${hash()}`, "Copied. Who has this address can look, and label.");
  });
  window.addEventListener("hashchange", () => {
    recall();
    listeners.forEach((listener) => listener());
  });
}
