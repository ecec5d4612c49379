// The slide itself: Bokeh's plot, its tiles, where one looks, and what is drawn over it.
import { later, settings } from "./server.js";

let plot;
const tiles = {};
const watchers = [];
const [height, width] = settings.shape;
// Where the mouse is on the plot, in pixels of the screen; null where it is elsewhere.
let pointer = null;

const named = (name) => plot.document.get_model_by_name(name);
const viewOf = (model) => Bokeh.index.find_one(model);

// Resolves when the first tiles were asked for, from when on ranges are ours.
export async function openMap() {
  const drawn = () => new Promise((done) => requestAnimationFrame(done));
  while (!window.Bokeh || !Bokeh.documents.length || !Bokeh.documents[0].get_model_by_name("slide")) await drawn();
  plot = Bokeh.documents[0].get_model_by_name("slide");
  for (const name of Object.keys(layers)) tiles[name] = named(`${name}-tiles`);
  for (const each of Object.values(tiles)) chooseNearestZoom(each.tile_source);
  while (!viewOf(tiles.slide)?.map_initialized) await drawn();
  for (const each of Object.values(tiles)) fetchOnlyWhatIsSeen(viewOf(each));
  fetchOnlyWhenOn("map");
  const told = later(() => watchers.forEach((watcher) => watcher()), 40);
  for (const range of [plot.x_range, plot.y_range]) range.change.connect(told);
  plot.on_event("mousemove", ({ sx, sy }) => (pointer = { sx, sy }));
  plot.on_event("mouseleave", () => (pointer = null));
  new ResizeObserver(told).observe(document.getElementById("map"));
}

// Bokeh takes the next coarser zoom and enlarges it; the nearest one is sharper.
function chooseNearestZoom(source) {
  source.get_level_by_extent = (extent, h, w) => {
    const wanted = Math.max((extent[2] - extent[0]) / w, (extent[3] - extent[1]) / h) / Math.min(2, devicePixelRatio);
    const zoom = Math.round(Math.log2(source.initial_resolution / wanted));
    return Math.max(source.min_zoom, Math.min(source.max_zoom, zoom));
  };
}

// Bokeh would fetch the next finer tiles as well, which the first ones have to wait for.
function fetchOnlyWhatIsSeen(view) {
  view._prefetch_tiles = () => {};
  clearTimeout(view.prefetch_timer);
}

// Bokeh fetches tiles of layers that are off, too; most pages never show a map, which has no address so far.
function fetchOnlyWhenOn(name) {
  const view = viewOf(tiles[name]);
  const paint = view._paint.bind(view);
  view._paint = (context) => {
    if (layers[name].visible) paint(context);
  };
  // What was wanted without an address is wanted no more.
  clearTimeout(view.render_timer);
  tiles[name].tile_source.url = `tiles/${name}/${settings.key}/{Z}/{X}/{Y}{STYLE}`;
}

export const onMove = (watcher) => watchers.push(watcher);
export const onEvent = (name, work) => plot.on_event(name, work);

// The point of level-0 pixels under the mouse, also after the slide has moved below it; null where it is elsewhere.
export function mouse() {
  if (!pointer) return null;
  const [x, y] = fromPlot(pointer.sx, pointer.sy);
  return { x, y };
}

function size() {
  const { width: w, height: h } = viewOf(plot).frame.bbox;
  return { w, h };
}

// Where on the page a point of level-0 pixels is shown.
export function toScreen(x, y) {
  const { x0, y0 } = bounds();
  const { down } = where();
  const box = document.getElementById("map").getBoundingClientRect();
  const frame = viewOf(plot).frame.bbox;
  return [box.left + frame.left + (x - x0) / down, box.top + frame.top + (y - y0) / down];
}

// The point (x, y) of level-0 pixels that is shown at a place on the page.
export function fromScreen(left, top) {
  const box = document.getElementById("map").getBoundingClientRect();
  return fromPlot(left - box.left, top - box.top);
}

function fromPlot(left, top) {
  const { x0, y0 } = bounds();
  const { down } = where();
  const frame = viewOf(plot).frame.bbox;
  return [x0 + (left - frame.left) * down, y0 + (top - frame.top) * down];
}

// Whether every tile of what is in sight has come.
export function tilesAreThere() {
  const { w, h } = size();
  const extent = [plot.x_range.start, plot.y_range.start, plot.x_range.end, plot.y_range.end];
  const on = Object.keys(layers).filter((name) => name !== "map" || layers.map.visible);
  return on.every((name) => {
    const source = tiles[name].tile_source;
    const wanted = source.get_tiles_by_extent(extent, source.get_level_by_extent(extent, h, w), 0);
    return wanted.every(([x, y, z]) => source.tiles.get(source.tile_xyz_to_key(x, y, z))?.loaded);
  });
}

// The middle in level-0 pixels, and how many of them are one pixel of the screen.
export function where() {
  const { x_range, y_range } = plot;
  const { w, h } = size();
  return {
    x: (x_range.start + x_range.end) / 2, y: -(y_range.start + y_range.end) / 2,
    down: (x_range.end - x_range.start) / w, w, h,
  };
}

export function bounds() {
  const { x_range, y_range } = plot;
  return { x0: x_range.start, x1: x_range.end, y0: -y_range.end, y1: -y_range.start };
}

export function go({ x, y, down }) {
  const { w, h } = size();
  const now = where();
  const scale = Math.max(1 / 24, down ?? now.down);
  plot.x_range.setv({ start: x - (w * scale) / 2, end: x + (w * scale) / 2 });
  plot.y_range.setv({ start: -y - (h * scale) / 2, end: -y + (h * scale) / 2 });
}

export function fit() {
  const { w, h } = size();
  go({ x: width / 2, y: height / 2, down: Math.max(width / w, height / h) * 1.04 });
}

export function zoom(factor) {
  const now = where();
  go({ x: now.x, y: now.y, down: now.down * factor });
}

export function pan(right, lower) {
  const now = where();
  go({ x: now.x + right * now.w * now.down, y: now.y + lower * now.h * now.down, down: now.down });
}

// Asks again for tiles that have not come, such as while the server was away.
export function retryTiles() {
  for (const { tile_source: source } of Object.values(tiles)) {
    for (const [key, tile] of source.tiles) if (!tile.loaded) source.tiles.delete(key);
    source.change.emit();
  }
}

// New tiles are fetched before the old ones go, so that nothing flickers.
const styles = {};
export async function restyle(style, name = "nuclei", url = tiles[name].tile_source.url) {
  const wanted = { style, url };
  styles[name] = wanted;
  const source = tiles[name].tile_source;
  const { w, h } = size();
  const extent = [plot.x_range.start, plot.y_range.start, plot.x_range.end, plot.y_range.end];
  const inSight = source.get_tiles_by_extent(extent, source.get_level_by_extent(extent, h, w), 0);
  await Promise.all(inSight.map(([x, y, z]) => loaded(source, x, y, z, wanted)));
  // A later style may have overtaken this one.
  if (styles[name] === wanted) source.setv({ url, extra_url_vars: { STYLE: style } });
}

function loaded(source, x, y, z, { style, url }) {
  const [, row] = source.tms_to_wmts(x, y, z);
  const image = new Image();
  image.src = url.replace("{STYLE}", style).replace("{X}", x).replace("{Y}", row).replace("{Z}", z);
  return image.decode().catch(() => {});
}

// Nuclei of a result of this slide, by its key.
export const showNucleiOf = (key, style) => restyle(style, "nuclei", `tiles/nuclei/${key}/{Z}/{X}/{Y}{STYLE}`);

// Bokeh paints tiles that are not visible all the same, so they are made transparent.
const layers = {
  slide: { visible: true, alpha: 1 }, map: { visible: false, alpha: 0.6 }, nuclei: { visible: true, alpha: 1 },
};
export function layer(name, part) {
  Object.assign(layers[name], part);
  tiles[name].alpha = layers[name].visible ? layers[name].alpha : 0;
}

// How opaque a layer is; 0 where it is off.
export const opacityOf = (name) => (layers[name].visible ? layers[name].alpha : 0);

export function draw(name, data) {
  plot.renderers.find((each) => each.data_source?.name === name).data_source.data = data;
}

export function show(name, visible) {
  plot.renderers.find((each) => each.data_source?.name === name).visible = visible;
}

export const lassoIsOn = () => plot.toolbar.tools.find((tool) => tool.name === "lasso").active;
export function setLasso(on) {
  for (const tool of plot.toolbar.tools) {
    if (tool.name === "lasso") tool.active = on;
    if (tool.name === "pan") tool.active = !on;
  }
}
