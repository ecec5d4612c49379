// Questions to the server. Addresses are relative to the page, whose own address has the token.
export const settings = JSON.parse(document.getElementById("settings").textContent);

export const byId = (id) => document.getElementById(id);

// A row for each item, made anew only where an item is: what somebody stands on with the keyboard stays where it is.
export function fill(list, items, row) {
  const shown = JSON.stringify(items);
  if (list.dataset.shown !== shown) list.replaceChildren(...items.map((item) => row(item)));
  list.dataset.shown = shown;
}

export function element(name, text, ...classes) {
  const made = document.createElement(name);
  // As text, whatever a name holds.
  if (text !== undefined && text !== null) made.textContent = text;
  made.classList.add(...classes);
  return made;
}

export function svgElement(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

let fading;
export function say(text) {
  const toast = byId("toast");
  toast.textContent = text;
  toast.classList.add("on");
  clearTimeout(fading);
  fading = setTimeout(() => toast.classList.remove("on"), 3200);
}

// To the clipboard; where the browser keeps that from pages without encryption, to be copied by hand.
export async function copy(text, told) {
  try {
    await navigator.clipboard.writeText(text);
    say(told);
  } catch {
    window.prompt("Copy this:", text);
  }
}

export function address(what, query = {}) {
  const text = new URLSearchParams(query).toString();
  return `${what}/${settings.key}${text ? "?" + text : ""}`;
}

// Hears after each question whether there was an answer.
let heard = () => {};
export const onAnswer = (work) => (heard = work);

export const ask = (what, query) => answer(address(what, query));

export const send = (what, content) => answer(address(what), { method: "POST", body: JSON.stringify(content) });

async function answer(place, request) {
  let response;
  try {
    response = await fetch(place, request);
  } catch (error) {
    heard(false);
    throw error;
  }
  heard(true);
  const content = await response.json();
  if (!response.ok) throw new Error(content.error || "The server does not answer.");
  return content;
}

// Runs what may fail, and says it where it does.
export async function tried(work) {
  try {
    return await work();
  } catch (error) {
    // That the server is away stands over the slide.
    if (!(error instanceof TypeError)) say(error.message);
    return undefined;
  }
}

export async function showProblems(known) {
  const { problems } = known ? { problems: known } : await ask("problems");
  const box = byId("problems");
  box.replaceChildren(...problems.map((problem) => element("p", problem)));
  box.hidden = problems.length === 0;
}

// The last of several calls, once there is quiet.
export function later(work, milliseconds) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), milliseconds);
  };
}

// A length as people read it, from µm.
export const length = (um) => (um >= 1000 ? `${figure(um / 1000)} mm` : `${figure(um)} µm`);

// A number as people read it: three digits that count.
export function figure(value) {
  if (value === null || value === undefined) return "–";
  if (value !== 0 && Math.abs(value) < 0.001) return value.toExponential(1);
  return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
}
