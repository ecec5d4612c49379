"""The table of odd inputs: what comes in through which door, and what must come of it; `inputs` prints it."""
