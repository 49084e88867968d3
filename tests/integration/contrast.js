// Returns the words of a page that stand out too little from their background: words with a contrast below 4.5, by the
// formula of WCAG 2.2 (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio).
const part = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
const colour = (text) => text.match(/[\d.]+/g).map(Number);

function ground(element) {
  for (let each = element; each; each = each.parentElement) {
    const found = colour(getComputedStyle(each).backgroundColor);
    if (found.length === 3 || found[3] > 0) return found;
  }
  return [255, 255, 255];
}

const faint = [];
for (const element of document.body.querySelectorAll("*")) {
  const words = Array.from(element.childNodes).filter((node) => node.nodeType === 3 && node.data.trim());
  if (!words.length || !element.checkVisibility()) continue;
  const both = [light(colour(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => b - a);
  if ((both[0] + 0.05) / (both[1] + 0.05) < 4.5) faint.push(words[0].data.trim());
}
return faint;
