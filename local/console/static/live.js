// Looks every two seconds, while somebody sees the page, for what has changed since.
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
        // Whoever stands on a link with the keyboard stays there.
        if (at) live.querySelector(`a[href="${CSS.escape(at)}"]`)?.focus();
        notice.textContent = `Live. Last change ${new Date().toLocaleTimeString()}.`;
        shown = text;
      }
    }
  } catch {
    notice.textContent = "The local stack does not answer. What is shown may be old.";
    shown = null;
  }
  setTimeout(look, 2000);
}
look();
