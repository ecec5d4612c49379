// Whether the server answers. The page says it while it does not, and goes on by itself when it does again.
import { retryTiles } from "./map.js";
import { ask, byId, onAnswer, showProblems } from "./server.js";
import { renew } from "./state.js";

const POLL_MS = 5000;
let isUnfinished;

export function openConnection(facts) {
  isUnfinished = facts.unfinished;
  onAnswer(showState);
  // A page that nobody looks at asks nothing, so that a laptop may sleep.
  setInterval(() => document.visibilityState === "visible" && poll(), POLL_MS);
}

async function poll() {
  try {
    const answer = await ask("problems");
    showProblems(answer.problems);
    // What was being made is there now.
    if (isUnfinished && !answer.unfinished) location.reload();
  } catch {
    // Shown already, or said by what the person does next.
  }
}

function showState(answers) {
  const wasAway = !byId("offline").hidden;
  byId("offline").hidden = answers;
  if (!answers || !wasAway) return;
  retryTiles();
  renew();
}
