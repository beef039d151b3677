// theme.ts runs before anything is painted: it sets the theme that the visitor
// chose, so that a dark page does not flash white. Without a choice the system's
// applies, by CSS alone.
try {
  const chosen = localStorage.getItem('theme')
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen
} catch {
  // Storage may be forbidden; then the system's theme it is.
}
