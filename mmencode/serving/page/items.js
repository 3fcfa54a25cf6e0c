// What was dropped, pasted, chosen, recorded or written, each encoded once and shown as a card.
import { ask, during, readVector } from "/ui/server.js";
import { base, by, make, media, say } from "/ui/dom.js";

export const items = [];
const AT_ONCE = 3;  // files that are read and sent at a time, whatever number is dropped in
const waiting = [];
let about, changed, numbered = 0, chosen = null, encoding = 0;

export const ready = () => items.filter((item) => item.vector);
export const selected = () => chosen;

export function start(found, whenChanged) {
  [about, changed] = [found, whenChanged];
  const drop = by("yours");
  by("choose").addEventListener("click", () => by("files").click());
  by("files").addEventListener("change", () => { addFiles(by("files").files); by("files").value = ""; });
  by("add").addEventListener("click", addWords);
  by("words").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) addWords();
  });
  for (const name of ["dragenter", "dragover"])
    document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    addTransfer(event.dataTransfer);
  });
  document.addEventListener("paste", (event) => {
    const typing = event.target.closest?.("textarea, input");
    if (event.clipboardData.files.length || !typing) { addTransfer(event.clipboardData); event.preventDefault(); }
  });
}

function addTransfer(transfer) {
  if (transfer.files.length) addFiles(transfer.files);
  else if (transfer.getData("text/plain").trim()) add({ modality: wordKind(), text: transfer.getData("text/plain").trim() });
}

function addWords() {
  const words = by("words").value.trim();
  const lines = by("each").checked ? words.split("\n").map((line) => line.trim()).filter(Boolean) : words ? [words] : [];
  if (!lines.length) { say("said", "Write something first."); return; }
  by("words").value = "";
  for (const text of lines) add({ modality: wordKind(), text });
}

const wordKind = () => by("kind").value || "text";

export function addFiles(files) {
  for (const file of files) add({ modality: modalityOf(file), file, name: base(file.name) });
}

export const addRow = (key, modality) => add({ modality, key, name: base(key) });

// The modality that takes files of this ending, or else the one named like the main type.
function modalityOf(file) {
  const name = file.name.toLowerCase(), main = file.type.split("/")[0];
  const fits = about.modalities.filter((one) => one.endings.some((ending) => name.endsWith(ending)));
  return (fits.find((one) => one.name === main) ?? fits[0] ?? about.modalities.find((one) => one.name === main))?.name ?? "";
}

async function add(item) {
  const same = item.key && items.find((each) => each.key === item.key);
  if (same) { choose(same); return; }
  Object.assign(item, { id: ++numbered, name: item.name ?? item.text, url: item.file ? URL.createObjectURL(item.file) : "" });
  items.push(item);
  drawCard(item);
  say("said", `Encoding ${short(item.name)} …`);
  await during(() => inTurn(() => encode(item)));
}

async function inTurn(work) {
  if (encoding >= AT_ONCE) await new Promise((next) => waiting.push(next));
  encoding++;
  try {
    await work();
  } finally {
    encoding--;
    waiting.shift()?.();
  }
}

async function encode(item) {
  if (!items.includes(item)) return;
  try {
    if (!item.modality) throw new Error("This space takes no files of this kind.");
    if (item.file && item.file.size > about.bytes) throw new Error(`It has more than ${Math.floor(about.bytes / 1e6)} MB.`);
    item.content = item.file ? await readFile(item.file) : item.text;
    item.vector = readVector(await ask("embed", item.key ? { key: item.key } : { modality: item.modality, item: item.content }));
    say("said", `${short(item.name)} is encoded.`);
  } catch (error) {
    item.error = error.message;
    say("said", `${short(item.name)} can't be encoded: ${error.message}`);
  }
  if (!items.includes(item)) return;
  drawCard(item);
  if (item.vector) choose(item); else changed();
}

const readFile = (file) => new Promise((done, failed) => {
  const reader = new FileReader();
  reader.onload = () => done(`data:application/octet-stream;base64,${reader.result.split(",")[1] ?? ""}`);
  reader.onerror = () => failed(new Error("The file can't be read."));
  reader.readAsDataURL(file);
});

export const short = (name) => name.length > 60 ? `${name.slice(0, 57)}…` : name;

export function choose(item) {
  chosen = item;
  for (const card of by("items").children) {
    const own = Number(card.dataset.item) === item?.id;
    card.classList.toggle("chosen", own);
    const radio = card.querySelector("input");
    if (radio && own) radio.checked = true;
  }
  changed();
}

function remove(item) {
  items.splice(items.indexOf(item), 1);
  if (item.url) URL.revokeObjectURL(item.url);
  const card = cardOf(item), next = card.nextElementSibling ?? card.previousElementSibling;
  card.remove();
  say("said", `${short(item.name)} is removed.`);
  (next?.querySelector("input:enabled") ?? by("words")).focus();
  if (chosen === item) choose(ready().at(-1) ?? null); else changed();
}

const cardOf = (item) => by("items").querySelector(`[data-item="${item.id}"]`);

function drawCard(item) {
  const radio = make("input", { type: "radio", name: "chosen", disabled: !item.vector, checked: item === chosen });
  radio.addEventListener("change", () => choose(item));
  const gone = make("button", { class: "quiet", "aria-label": `Remove ${short(item.name)}` }, "×");
  gone.addEventListener("click", () => remove(item));
  const state = item.error ? make("p", { class: "bad" }, item.error) : item.vector ? null : make("p", { class: "hint" }, "encoding …");
  const title = make("label", {}, radio, make("span", {}, make("bdi", {}, short(item.name))), make("small", {}, item.modality));
  const card = make("li", { class: item === chosen ? "chosen" : "" }, make("div", { class: "title" }, title, gone), show(item), state);
  card.dataset.item = item.id;
  const old = cardOf(item);
  if (old) old.replaceWith(card); else by("items").append(card);
}

function show(item) {
  if (item.key) { if (item.preview) return media(item.preview, item.name); loadPreview(item); return null; }
  if (!item.file) return item.text.length > 60 ? make("blockquote", {}, item.text) : null;
  const main = item.file.type.split("/")[0];
  if (main === "audio") return make("audio", { controls: true, src: item.url, "aria-label": item.name });
  if (main === "video") return make("video", { controls: true, muted: true, preload: "metadata", src: item.url, "aria-label": item.name });
  const picture = make("img", { src: item.url, alt: item.name });
  picture.addEventListener("error", () => picture.remove());
  return main === "image" ? picture : null;
}

async function loadPreview(item) {
  const found = await ask("previews", { keys: [item.key] }).catch((error) => ({ previews: [{ fault: error.message }] }));
  item.preview = found.previews[0];
  if (items.includes(item)) drawCard(item);
}
