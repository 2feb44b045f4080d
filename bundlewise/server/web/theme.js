// Sets the chosen theme before the page is painted; without a choice the system's theme is used.
(() => {
  let kept = null;
  try { kept = localStorage.getItem("bundlewise-theme"); } catch { /* the browser stores nothing */ }
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
})();
