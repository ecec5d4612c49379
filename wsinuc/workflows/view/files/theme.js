// Light or dark: as the system has it, until somebody presses the button.
const NAME = "wsinuc-theme";

const use = (theme) => (document.documentElement.dataset.theme = theme);

export function useTheme() {
  const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  use(remembered() ?? (isDark ? "dark" : "light"));
}

export function openTheme() {
  useTheme();
  document.getElementById("theme").addEventListener("click", () => {
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    remember(theme);
    use(theme);
  });
}

// Browsers keep storage from a page in a frame of another one, as in a notebook.
function remembered() {
  try {
    return localStorage.getItem(NAME);
  } catch {
    return null;
  }
}

function remember(theme) {
  try {
    localStorage.setItem(NAME, theme);
  } catch {
    // Then it lasts as long as the page does.
  }
}
