// Why items match: all their similarities, and for a pair the parts without which the score would be lower.
import { ask, similarity } from "/ui/server.js";
import { base, by, make, say, score } from "/ui/dom.js";
import { choose, items, ready, short } from "/ui/items.js";

const MOST = 30;  // items in the table of similarities
let about, rows = [], turn = 0;

export function start(found) {
  about = found;
  by("explaining").addEventListener("submit", (event) => { event.preventDefault(); explain(); });
}

// A row of the index as the other side, from the button of a neighbour.
export function explainRow(item, row) {
  if (!rows.some((each) => each.key === row.key)) rows.push(row);
  draw();
  by("whole").value = `item ${item.id}`;
  by("other").value = `row ${rows.findIndex((each) => each.key === row.key)}`;
  if (about.explains.includes(item.modality)) explain();
  else say("parts-said", `Items of ${item.modality} can't be taken apart.`);
}

export function draw() {
  const all = ready();
  say("matrix-said", all.length > 1
    ? `Cosine similarities${all.some((item) => item.vector.rows > 1) ? ", of many vectors the mean of the best ones" : ""}; choose a pair to see its parts.`
    : "Add two items to compare them.");
  by("matrix").replaceChildren(...all.length > 1 ? [table(all.slice(0, MOST))] : []);
  const cut = all.filter((item) => about.explains.includes(item.modality));
  fill(by("whole"), cut.map((item) => [`item ${item.id}`, short(item.name)]));
  fill(by("other"), [...all.map((item) => [`item ${item.id}`, short(item.name)]),
    ...rows.map((row, place) => [`row ${place}`, `${short(base(row.key))} (index)`])]);
  if (by("other").value === by("whole").value && by("other").options.length > 1)
    by("other").value = [...by("other").options].find((option) => option.value !== by("whole").value).value;
  by("explaining").hidden = !cut.length;
  if (!cut.length) { by("parts").replaceChildren(); say("parts-said", `Items of ${about.explains.join(", ") || "no modality"} can be taken apart.`); }
}

function fill(select, options) {
  const kept = select.value;
  select.replaceChildren(...options.map(([value, words]) => make("option", { value }, words)));
  if (options.some(([value]) => value === kept)) select.value = kept;
}

function table(all) {
  const head = make("tr", {}, make("td"), ...all.map((item, place) => make("th", { scope: "col", title: item.name }, String(place + 1))));
  const lines = all.map((first, place) => make("tr", {},
    make("th", { scope: "row" }, make("b", {}, String(place + 1)), " ", short(first.name)),
    ...all.map((second) => cell(first, second))));
  return make("table", { class: "heat" }, make("caption", { class: "hidden" }, "Similarity of each item with each"), make("thead", {}, head), make("tbody", {}, ...lines));
}

function cell(first, second) {
  if (first === second) return make("td", { class: "same" }, "·");
  const value = similarity(first.vector, second.vector);
  const button = make("button", { "aria-label": `${score(value)}: parts of ${short(first.name)} that match ${short(second.name)}` }, score(value).replace("0.", "."));
  button.addEventListener("click", () => {
    by("whole").value = `item ${first.id}`;
    by("other").value = `item ${second.id}`;
    if (by("whole").value) explain();
    else say("parts-said", `Items of ${first.modality} can't be taken apart.`);
  });
  const found = make("td", {}, button);
  found.style.setProperty("--weight", `${100 * Math.min(Math.max(value, 0), 1)}%`);
  return found;
}

function other() {
  const [kind, place] = by("other").value.split(" ");
  if (kind === "row") return { name: base(rows[place].key), target: { key: rows[place].key } };
  const item = items.find((each) => each.id === Number(place));
  return item && { name: item.name, target: item.key ? { key: item.key } : { vector: item.vector.sent, modality: item.modality } };
}

async function explain() {
  const item = items.find((each) => `item ${each.id}` === by("whole").value), second = other(), own = ++turn;
  if (!item || !second) { say("parts-said", "Choose two items."); return; }
  say("parts-said", `Taking ${short(item.name)} apart …`);
  by("parts").replaceChildren();
  try {
    const whole = item.key ? { key: item.key } : { modality: item.modality, item: item.content };
    const found = await ask("parts", { ...whole, target: second.target });
    if (own !== turn) return;
    say("parts-said", `${short(item.name)} and ${short(second.name)}: ${score(found.score)}. A part's number is what the score loses without it.`);
    by("parts").replaceChildren(paint(item, found), list(found));
  } catch (error) {
    if (own === turn) say("parts-said", error.message);
  }
}

function paint(item, found) {
  const most = Math.max(...found.drops.map(Math.abs), 1e-6);
  const pieces = found.names.map((name, place) => {
    const piece = make("span", { class: found.drops[place] < 0 ? "part against" : "part", title: `${name}: ${signed(found.drops[place])}` });
    piece.style.setProperty("--weight", `${Math.round(75 * Math.abs(found.drops[place]) / most)}%`);
    return piece;
  });
  if (found.kind === "words") {
    pieces.forEach((piece, place) => { piece.textContent = found.names[place]; });
    return make("p", { class: "cut words" }, ...pieces.flatMap((piece) => [piece, " "]));
  }
  const grid = make("div", { class: `over ${found.kind}`, "aria-hidden": "true" }, ...pieces);
  grid.style.gridTemplate = `repeat(${found.shape[0]}, 1fr) / repeat(${found.shape[1]}, 1fr)`;
  if (found.kind === "sound") {
    const player = item.url || item.preview?.sound;
    return make("div", { class: "cut" }, player ? make("audio", { controls: true, src: player, "aria-label": item.name }) : null, grid);
  }
  const picture = make("img", { src: item.url || item.preview?.picture || "", alt: item.name });
  return make("div", { class: "cut" }, make("div", { class: "under" }, picture, grid));
}

const signed = (value) => value === null ? "nothing is left to encode" : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;

// The parts that count most, as words for those who can't see colours.
function list(found) {
  const order = found.names.map((_, place) => place).sort((a, b) => found.drops[b] - found.drops[a]);
  const line = (place) => make("li", {}, make("span", {}, found.names[place]), " ", make("span", { class: "number" }, signed(found.drops[place])));
  const against = order.filter((place) => found.drops[place] < 0).slice(-3).reverse();
  return make("div", { class: "sides" },
    make("div", {}, make("h4", {}, "Parts that count most"), make("ol", {}, ...order.filter((place) => found.drops[place] > 0).slice(0, 5).map(line))),
    against.length ? make("div", {}, make("h4", {}, "Parts that speak against it"), make("ol", {}, ...against.map(line))) : null);
}
