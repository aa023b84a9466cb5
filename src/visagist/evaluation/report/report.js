// Values under the pointer, the signed picture as a file, and nothing hidden on paper. The page reads without all this.
"use strict";
const steps = JSON.parse(document.getElementById("steps").textContent);

function nearest(values, wanted) {
  let best = 0;
  for (let i = 1; i < values.length; i++) {
    if (Math.abs(values[i] - wanted) < Math.abs(values[best] - wanted)) best = i;
  }
  return best;
}

for (const svg of document.querySelectorAll("svg.curve")) {
  const [start, end] = svg.dataset.time.split(" ").map(Number);
  const [low, high] = svg.dataset.value.split(" ").map(Number);
  const [left, top, right, bottom, most] = svg.dataset.box.split(" ").map(Number);
  const lines = [...svg.querySelectorAll("path.line")].map((path) => {
    const label = svg.querySelector(`text.name.${path.classList[1]}`);
    const points = path.getAttribute("d").split(/[ML]/).slice(1);
    return { label, name: label.textContent, points: points.map((p) => p.replace("h0", "").split(" ").map(Number)) };
  });
  const [cursor, place] = ["path", "text"].map((kind) => document.createElementNS(svg.namespaceURI, kind));
  cursor.setAttribute("class", "cursor");
  place.setAttribute("class", "at");
  place.setAttribute("y", top - 5);
  svg.append(cursor, place);
  svg.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse()).x;
    const scale = (right - left) / Math.max(end - start, 1e-9);
    const step = nearest(steps.times, start + (Math.min(right, Math.max(left, at)) - left) / scale);
    const x = left + (steps.times[step] - start) * scale;
    cursor.setAttribute("d", `M${x.toFixed(1)} ${top}V${bottom}`);
    place.setAttribute("x", x);
    place.style.textAnchor = x > (left + right) / 2 ? "end" : "start";
    place.textContent = `frame ${steps.frames[step]}, ${steps.times[step].toFixed(2)} s`;
    for (const { label, name, points } of lines) {
      const [near, y] = points[nearest(points.map((p) => p[0]), x)];
      const value = low + ((bottom - y) / (bottom - top)) * (high - low);
      const beyond = y > bottom + most - 1 ? "< " : y < top - most + 1 ? "> " : "";
      label.textContent = `${name.replace(/ [↑↓]$/, "")} ${Math.abs(near - x) > 1 ? "–" : beyond + value.toPrecision(3)}`;
    }
  });
  svg.addEventListener("pointerleave", () => {
    cursor.removeAttribute("d");
    place.textContent = "";
    for (const { label, name } of lines) label.textContent = name;
  });
}

const save = document.getElementById("save");
if (save) {
  save.querySelector("a").href = document.getElementById("sheet").getAttribute("href");
  save.hidden = false;
}

addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
