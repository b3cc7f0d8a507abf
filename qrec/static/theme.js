// Sets the theme before anything is painted.  A classic script: modules run too late.
try {
  const theme = localStorage.getItem("qrec.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // no storage: the system's theme
}
