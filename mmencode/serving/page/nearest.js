// The rows of the index that are nearest to the chosen item.
import { ask } from "/ui/server.js";
import { bar, by, caption, make, media, say, score } from "/ui/dom.js";
import { addRow, selected, short } from "/ui/items.js";

let about, explain, turn = 0, drawn = "";

export function start(found, whenExplained) {
  [about, explain] = [found, whenExplained];
  by("asking").hidden = !about.index;
  for (const [modality, count] of Object.entries(about.index?.rows ?? {}))
    by("among").append(make("option", { value: modality }, `${modality} (${count})`));
  for (const id of ["among", "count"]) by(id).addEventListener("change", () => draw());
  by("asking").addEventListener("submit", (event) => event.preventDefault());
}

export async function draw() {
  const item = selected();
  if (!about.index) { say("nearest-said", "No index is open: start the server with --index to search one."); return; }
  if (!item) { drawn = ""; by("rows").replaceChildren(); say("nearest-said", "Add an item, and the rows nearest to it appear here."); return; }
  const state = [item.id, by("among").value, by("count").value].join();
  if (state === drawn) return;
  drawn = state;
  const own = ++turn;
  by("rows").setAttribute("aria-busy", "true");
  try {
    const among = by("among").value ? [by("among").value] : [];
    const query = item.key ? { key: item.key } : { vector: item.vector.sent, modality: item.modality };
    const found = await ask("neighbours", { ...query, k: Number(by("count").value), among });
    if (own !== turn) return;
    by("rows").replaceChildren(...found.rows.map(entry));
    say("nearest-said", `The ${found.rows.length} nearest of ${found.searched} rows to “${short(item.name)}”. Numbers are ${found.meaning}.`);
    showPreviews(found.rows, own);
  } catch (error) {
    if (own === turn) { drawn = ""; by("rows").replaceChildren(); say("nearest-said", error.message); }
  } finally {
    if (own === turn) by("rows").removeAttribute("aria-busy");
  }
}

async function showPreviews(rows, own) {
  const keys = rows.map((row) => row.key);
  const found = await ask("previews", { keys }).catch((error) => ({ previews: keys.map(() => ({ fault: error.message })) }));
  if (own !== turn) return;
  [...by("rows").children].forEach((line, place) =>
    line.querySelector("figure").firstChild.replaceWith(media(found.previews[place], rows[place].key)));
}

function entry(row, place) {
  const why = make("button", {}, "Why?"), search = make("button", {}, "Search");
  why.setAttribute("aria-label", `Why ${row.key} matches`);
  search.setAttribute("aria-label", `Search by ${row.key}`);
  why.addEventListener("click", () => explain(row));
  search.addEventListener("click", () => addRow(row.key, row.modality));
  const facts = Object.entries(row.metadata).filter(([, value]) => value !== null)
    .flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, typeof value === "object" ? JSON.stringify(value) : String(value))]);
  const words = row.modality === "text" ? null : caption(row.key);
  return make("li", {}, make("article", {},
    make("p", { class: "rank" }, make("b", {}, String(place + 1)), make("span", {}, row.modality), make("span", { class: "number" }, score(row.score)), bar(row.score)),
    make("figure", {}, make("p", { class: "fault" }, "…"), words),
    facts.length ? make("dl", {}, ...facts) : null,
    make("p", { class: "buttons" }, about.explains.length ? why : null, search)));
}
