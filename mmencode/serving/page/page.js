// The page: its tabs, and who is told when the items change.
import { ask, KeyNeeded, useKey } from "/ui/server.js";
import { by, make, say } from "/ui/dom.js";
import * as items from "/ui/items.js";
import * as labels from "/ui/labels.js";
import * as nearest from "/ui/nearest.js";
import * as plan from "/ui/plan.js";
import * as record from "/ui/record.js";
import * as why from "/ui/why.js";

const PANELS = { nearest, labels, why, map: plan };
const tabs = [...document.querySelectorAll("[role=tab]")];
let open = "nearest";

function show(name, focused = false) {
  open = name;
  for (const tab of tabs) {
    const own = tab.getAttribute("aria-controls") === name;
    tab.setAttribute("aria-selected", String(own));
    tab.tabIndex = own ? 0 : -1;
    by(tab.getAttribute("aria-controls")).hidden = !own;
    if (own && focused) tab.focus();
  }
  PANELS[name].draw();
}

tabs.forEach((tab, place) => {
  tab.addEventListener("click", () => show(tab.getAttribute("aria-controls")));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const next = event.key === "Home" ? 0 : event.key === "End" ? tabs.length - 1 : step && (place + step + tabs.length) % tabs.length;
    if (next === undefined) return;
    event.preventDefault();
    show(tabs[next].getAttribute("aria-controls"), true);
  });
});

const NOUNS = { image: "pictures", audio: "sounds", video: "videos", text: "texts" };

function describe(about) {
  const rows = Object.entries(about.index?.rows ?? {}).map(([modality, count]) => `${count} ${modality}`).join(", ");
  say("about", about.index ? `${about.index.name}: ${rows || "no rows"}. Drop something in, and see what is near.` : `The space ${about.name}. Drop something in, and compare.`);
  say("space", about.space);
  document.title = `${about.index?.name ?? about.name} · mmencode`;
  const order = Object.keys(NOUNS), names = about.modalities.map((one) => one.name);
  const nouns = [...order.filter((name) => names.includes(name)), ...names.filter((name) => !order.includes(name))].map((name) => NOUNS[name] ?? name);
  say("takes", nouns.length > 1 ? `${nouns.slice(0, -1).join(", ")} and ${nouns.at(-1)}` : nouns[0]);
  const written = about.modalities.filter((one) => one.written);
  by("kind").replaceChildren(...written.map((one) => make("option", {}, one.name)));
  by("as").hidden = written.length < 2;
  by("files").accept = about.modalities.flatMap((one) => one.endings).join(",");
}

async function begin() {
  let about;
  try {
    about = await ask("about");
  } catch (error) {
    by("unlock").hidden = !(error instanceof KeyNeeded);
    say("about", error.message);
    return;
  }
  by("unlock").hidden = true;
  describe(about);
  items.start(about, () => PANELS[open].draw());
  if (about.modalities.some((one) => one.name === "audio")) record.start(items.addFiles);
  nearest.start(about, (row) => { show("why", true); why.explainRow(items.selected(), row); });
  labels.start();
  why.start(about);
  plan.start(about);
  show(open);
}

by("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(by("key").value);
  begin();
});
begin();
