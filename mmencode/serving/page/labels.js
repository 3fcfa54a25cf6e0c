// Scores of labels that are typed in, for all items at once, as a table.
import { ask } from "/ui/server.js";
import { bar, by, make, say, score } from "/ui/dom.js";
import { ready, short } from "/ui/items.js";

let names = [], turn = 0;

export function start() {
  by("labelling").addEventListener("submit", (event) => {
    event.preventDefault();
    names = [...new Set(by("names").value.split(/[,\n]/).map((name) => name.trim()).filter(Boolean))];
    draw();
  });
}

export async function draw() {
  const items = ready(), own = ++turn;
  if (!names.length || !items.length) {
    by("scores").replaceChildren();
    say("labels-said", items.length ? "Type some labels, such as cat, dog, car." : "Add an item, type some labels, and see how well each fits.");
    return;
  }
  try {
    const found = await ask("labels", { labels: names, items: items.map((item) => ({ modality: item.modality, vector: item.vector.sent })) });
    if (own !== turn) return;
    by("scores").replaceChildren(...items.map((item, place) => card(item, found.items[place])));
    const chances = found.items.some((each) => each.labels.some((label) => label.probability !== null));
    say("labels-said", `Scores are ${found.meaning}, to be compared within one item${chances ? "; percentages are the space's own probabilities" : ""}.`);
  } catch (error) {
    if (own === turn) { by("scores").replaceChildren(); say("labels-said", error.message); }
  }
}

function card(item, found) {
  const best = Math.max(...found.labels.map((each) => each.probability ?? each.score));
  const rows = found.labels.map((each) => {
    const value = each.probability ?? each.score;
    const line = make("tr", { class: value === best ? "best" : "" }, make("th", { scope: "row" }, each.label),
      make("td", {}, bar(value)), make("td", { class: "number" }, score(each.score)));
    if (each.probability !== null) line.append(make("td", { class: "number" }, `${(100 * each.probability).toFixed(1)} %`));
    return line;
  });
  const heads = ["label", "", "score", ...(found.labels.some((each) => each.probability !== null) ? ["probability"] : [])];
  const head = make("thead", {}, make("tr", {}, ...heads.map((word) => word ? make("th", { scope: "col" }, word) : make("td"))));
  return make("article", {}, make("table", {}, make("caption", {}, item.url && item.modality === "image" ? make("img", { src: item.url, alt: "" }) : null,
    make("span", {}, make("bdi", {}, short(item.name)))), head, make("tbody", {}, ...rows)));
}
