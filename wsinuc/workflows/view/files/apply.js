// "Apply": the learned classes as a result beside the one that is looked at, written by the server in the background.
import { offerOther } from "./compare.js";
import { ask, byId, copy, element, say, send, tried } from "./server.js";

const POLL_MS = 700;
let polling = null;

export function openApply() {
  byId("apply").addEventListener("click", () => start(false));
  byId("replace").addEventListener("close", () => {
    if (byId("replace").returnValue === "yes") start(true);
    byId("replace").returnValue = "";
  });
  // The page may have been loaded again while it was written.
  tried(async () => {
    const report = await ask("apply");
    if (report.state === "writing") show(report);
  });
}

async function start(replace) {
  byId("apply").disabled = true;
  const report = await tried(() => send("apply", { replace }));
  byId("apply").disabled = false;
  if (report) show(report);
}

function show(report) {
  const writing = report.state === "writing";
  byId("apply").disabled = writing;
  if (report.state === "there") {
    byId("replace-place").textContent = report.place;
    byId("replace").showModal();
    return;
  }
  byId("applied").replaceChildren(...(LINES[report.state]?.(report) ?? []));
  byId("applied").scrollIntoView({ block: "nearest" });
  clearTimeout(polling);
  if (writing) polling = setTimeout(poll, POLL_MS);
}

async function poll() {
  const report = await tried(() => ask("apply"));
  if (!report) {
    byId("apply").disabled = false;
    byId("applied").replaceChildren("The server no longer answers, so it is not known whether the result was written.");
    return;
  }
  show(report);
  if (report.state !== "done") return;
  offerOther({ key: report.key, name: report.name });
  say("The result with these classes is written.");
}

const LINES = {
  writing: ({ stage }) => [element("progress"), ` Writing ${stage} …`],
  failed: ({ stage }) => [`Nothing was written: ${stage}`],
  done: ({ place, command, key, counts }) => {
    const link = element("a", "Open it");
    link.href = `view?r=${encodeURIComponent(key)}`;
    link.target = "_blank";
    link.rel = "noopener";
    const button = element("button", "Copy command");
    button.addEventListener("click", () => copy(command, "Copied the command that opens it: paste it into a terminal."));
    const row = element("div", null, "row");
    row.append(link, button);
    const classes = Object.entries(counts).map(([name, count]) => `${name} ${count.toLocaleString("en")}`).join(", ");
    return [element("div", `Written to ${place}`, "path"), element("div", classes), row];
  },
};
