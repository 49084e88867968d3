// Updates the page every two seconds, while the page is visible.
"use strict";
const live = document.getElementById("live");
const notice = document.getElementById("notice");
let shown = null;

async function look() {
  try {
    if (!document.hidden) {
      const answer = await fetch("/live", { signal: AbortSignal.timeout(10000) });
      if (!answer.ok) throw new Error(answer.status);
      const text = await answer.text();
      if (text !== shown) {
        const at = document.activeElement.getAttribute("href");
        live.innerHTML = text;
        // The keyboard's focus stays on its link.
        if (at) live.querySelector(`a[href="${CSS.escape(at)}"]`)?.focus();
        notice.textContent = `Live. Last change ${new Date().toLocaleTimeString()}.`;
        shown = text;
      }
    }
  } catch {
    notice.textContent = "The local stack does not answer. This page may be outdated.";
    shown = null;
  }
  setTimeout(look, 2000);
}
look();
