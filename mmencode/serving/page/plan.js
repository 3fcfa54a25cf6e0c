// A map of the index, drawn by the script that the pages of `mmencode map` have.
import { ask } from "/ui/server.js";
import { by, make, say } from "/ui/dom.js";
import { addRow } from "/ui/items.js";

const FAR = 12;
let about, drawn = false, content = null, marked = -1;
const previews = new Map();

export function start(found) {
  about = found;
  by("mapping").hidden = !about.index;
  by("mapping").addEventListener("submit", (event) => event.preventDefault());
  by("centred").addEventListener("change", () => { drawn = false; draw(); });
}

export async function draw() {
  if (drawn) return;
  if (!about.index) { say("map-said", "No index is open: start the server with --index to see its map."); return; }
  drawn = true;
  say("map-said", "Laying the index out …");
  try {
    content = await ask("map", { centred: by("centred").checked });
  } catch (error) {
    drawn = false;
    say("map-said", error.message);
    return;
  }
  say("map-said", `${content.about} Click a point to search by it.`);
  const parts = by("map-parts").content.cloneNode(true);
  by("drawn").replaceChildren(parts, make("script", { id: "data", type: "application/json" }, JSON.stringify(content.points)));
  by("by").append(...content.points.groupings.map((each) => make("option", {}, each.name)));
  by("canvas").setAttribute("aria-label", `${content.points.keys.length} points; arrows move, plus and minus zoom, 0 shows all, Enter names the point in the middle and then searches by it`);
  by("far").append(...content.points.outliers.slice(0, FAR).map((row) => {
    const button = make("button", { class: "quiet" }, make("bdi", {}, content.points.keys[row]));
    button.dataset.row = row;
    return make("li", {}, button);
  }));
  if (!content.points.outliers.length) by("far").replaceWith(make("p", { class: "hint" }, "No row is."));
  by("canvas").addEventListener("mark", (event) => showPicture(event.detail));
  by("canvas").addEventListener("choose", (event) => addRow(content.points.keys[event.detail], content.modalities[event.detail]));
  by("drawn").append(make("script", { src: "/ui/map.js" }));
}

// The picture of the point under the pointer, fetched once it has rested there.
function showPicture(row) {
  marked = row;
  if (row < 0) return;
  const picture = by("picture"), name = content.points.keys[row];
  const show = (uri) => { if (marked === row && uri) { picture.src = uri; picture.hidden = false; } };
  if (previews.has(name)) { show(previews.get(name)); return; }
  setTimeout(async () => {
    if (marked !== row) return;
    const found = await ask("previews", { keys: [name] }).catch(() => ({ previews: [{}] }));
    previews.set(name, found.previews[0].picture);
    show(found.previews[0].picture);
  }, 120);
}
