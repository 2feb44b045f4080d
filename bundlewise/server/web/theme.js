// Sets the chosen theme before anything is painted; without a choice the system's holds.
(() => {
  let kept = null;
  try { kept = localStorage.getItem("bundlewise-theme"); } catch { /* a browser that keeps nothing */ }
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
})();
