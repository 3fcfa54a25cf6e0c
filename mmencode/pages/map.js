"use strict";
(() => {
  const by = (id) => document.getElementById(id);
  const data = JSON.parse(by("data").textContent);
  const count = data.keys.length;
  const canvas = by("canvas"), context = canvas.getContext("2d"), tip = by("tip");
  const KINDS = ["#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#9c755f", "#d4b233", "#46a9a4", "#ff8fa0", "#7f6bd1"];
  const RAMP = ["#5b3a8c", "#3b6f9e", "#2a9d8f", "#7cbf4b", "#e0c02f"];
  const REST = "#9a9a9a";
  const RADIUS = count < 500 ? 5 : count < 5000 ? 3.5 : 2.5;
  const REACH = 12;

  const names = data.keys.map((key) => key.toLowerCase());
  const visible = new Uint8Array(count);
  const view = { x: 0, y: 0, scale: 1 };  // the place in the middle, and pixels for each unit
  let grouping = data.groupings[0], hidden = new Set(), sprites = [], marked = -1, width = 0, height = 0, waiting = false;

  const colour = (place) => {
    if (grouping.rest && place === grouping.groups.length - 1) return REST;
    return grouping.ordered ? RAMP[place % RAMP.length] : KINDS[place % KINDS.length];
  };
  const across = (row) => width / 2 + (data.x[row] - view.x) * view.scale;
  const down = (row) => height / 2 - (data.y[row] - view.y) * view.scale;

  function sprite(fill) {
    const ratio = devicePixelRatio, side = 2 * RADIUS + 2, drawn = document.createElement("canvas");
    drawn.width = drawn.height = Math.ceil(side * ratio);
    const pen = drawn.getContext("2d");
    pen.scale(ratio, ratio);
    pen.fillStyle = fill;
    pen.beginPath();
    pen.arc(side / 2, side / 2, RADIUS, 0, 2 * Math.PI);
    pen.fill();
    return drawn;
  }

  function draw() {
    waiting = false;
    const side = 2 * RADIUS + 2;
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.globalAlpha = 0.8;
    for (let row = 0; row < count; row++) {
      if (!visible[row]) continue;
      const x = across(row), y = down(row);
      if (x < -side || y < -side || x > width + side || y > height + side) continue;
      context.drawImage(sprites[grouping.members[row]], x - side / 2, y - side / 2, side, side);
    }
    context.globalAlpha = 1;
    if (marked >= 0) ring(marked);
  }

  function ring(row) {
    context.strokeStyle = getComputedStyle(canvas).color;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(across(row), down(row), RADIUS + 3, 0, 2 * Math.PI);
    context.stroke();
  }

  function redraw() {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  }

  function fit() {
    view.x = view.y = 0;
    view.scale = Math.min(width, height, 1e6) * 0.92 / 100000;
    redraw();
  }

  function resize() {
    const first = !width;
    width = canvas.clientWidth;
    height = canvas.clientHeight;
    canvas.width = Math.round(width * devicePixelRatio);
    canvas.height = Math.round(height * devicePixelRatio);
    sprites = grouping.groups.map((_, place) => sprite(colour(place)));
    if (first) fit();
    draw();  // at once, since a new size has emptied the canvas
  }

  function zoom(factor, x = width / 2, y = height / 2) {
    const scale = Math.min(Math.max(view.scale * factor, 1e-4), 100);
    view.x += (x - width / 2) * (1 / view.scale - 1 / scale);
    view.y -= (y - height / 2) * (1 / view.scale - 1 / scale);
    view.scale = scale;
    mark(-1);
  }

  function move(x, y) {
    view.x -= x / view.scale;
    view.y += y / view.scale;
    redraw();
  }

  function nearest(x, y, reach = REACH) {
    let found = -1, best = reach * reach;
    for (let row = 0; row < count; row++) {
      if (!visible[row]) continue;
      const distance = (across(row) - x) ** 2 + (down(row) - y) ** 2;
      if (distance < best) [found, best] = [row, distance];
    }
    return found;
  }

  function mark(row) {
    marked = row;
    tip.hidden = row < 0;
    if (row >= 0) tell(row);
    canvas.dispatchEvent(new CustomEvent("mark", { detail: row }));
    redraw();
  }

  // The first time a point is pressed it is named, the second time chosen, which a page may listen to.
  function press(row) {
    if (row >= 0 && row === marked) canvas.dispatchEvent(new CustomEvent("choose", { detail: row }));
    else mark(row);
  }

  function tell(row) {
    const uri = data.thumbnails[row], picture = by("picture");
    by("name").textContent = data.keys[row];
    by("facts").textContent = data.groupings.map((each) => `${each.name}: ${each.groups[each.members[row]]}`).join("\n")
      + (data.outliers.includes(row) ? "\noutlier" : "");
    picture.hidden = !uri;
    if (uri) picture.src = uri;
    const x = across(row), y = down(row);
    tip.style.left = x < width / 2 ? `${x + 12}px` : "auto";
    tip.style.right = x < width / 2 ? "auto" : `${width - x + 12}px`;
    tip.style.top = y < height / 2 ? `${y + 12}px` : "auto";
    tip.style.bottom = y < height / 2 ? "auto" : `${height - y + 12}px`;
  }

  function filter() {
    const wanted = by("find").value.trim().toLowerCase();
    let left = 0;
    for (let row = 0; row < count; row++) {
      visible[row] = !hidden.has(grouping.members[row]) && names[row].includes(wanted) ? 1 : 0;
      left += visible[row];
    }
    by("shown").textContent = left === count ? `${count} points` : `${left} of ${count} points`;
    mark(-1);
  }

  function group(place) {
    grouping = data.groupings[place];
    hidden = new Set();
    by("legend").replaceChildren(...grouping.groups.map(entry));
    resize();
    filter();
  }

  function entry(name, place) {
    const line = document.createElement("li"), label = document.createElement("label");
    const box = document.createElement("input"), dot = document.createElement("i");
    const word = document.createElement("span"), number = document.createElement("span");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(place); else hidden.add(place);
      filter();
    });
    dot.style.background = colour(place);
    word.textContent = name;
    number.textContent = grouping.counts[place];
    label.append(box, dot, word, number);
    line.append(label);
    return line;
  }

  function show(row) {
    if (!visible[row]) { by("find").value = ""; group(by("by").selectedIndex); }
    view.x = data.x[row];
    view.y = data.y[row];
    mark(row);
  }

  const KEYS = {
    ArrowLeft: () => move(60, 0), ArrowRight: () => move(-60, 0), ArrowUp: () => move(0, 60), ArrowDown: () => move(0, -60),
    "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4), "0": () => { mark(-1); fit(); },
    Enter: () => press(nearest(width / 2, height / 2, Infinity)), Escape: () => mark(-1),
  };

  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons) { mark(-1); move(event.movementX, event.movementY); return; }
    const row = nearest(event.offsetX, event.offsetY);
    if (row !== marked) mark(row);
  });
  canvas.addEventListener("click", (event) => press(nearest(event.offsetX, event.offsetY)));
  canvas.addEventListener("pointerleave", () => mark(-1));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (!(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  by("closer").addEventListener("click", () => zoom(1.4));
  by("farther").addEventListener("click", () => zoom(1 / 1.4));
  by("all").addEventListener("click", KEYS["0"]);
  by("by").addEventListener("change", () => group(by("by").selectedIndex));
  by("find").addEventListener("input", filter);
  for (const button of document.querySelectorAll("[data-row]"))
    button.addEventListener("click", () => show(Number(button.dataset.row)));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  new ResizeObserver(resize).observe(canvas);
  group(0);
})();
