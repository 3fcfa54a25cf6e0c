// Elements made without HTML in strings, so that no word of an item or a key is ever markup.
export const by = (id) => document.getElementById(id);

export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [property, value] of Object.entries(properties)) {
    if (property === "class") element.className = value;
    else if (property.includes("-") || property === "role") element.setAttribute(property, value);
    else element[property] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const say = (id, words) => { by(id).textContent = words; };
export const score = (value) => value.toFixed(3).replace("-", "−");
export const base = (name) => name.split(/[\\/]/).pop() || name;

// A key as a caption: the last part of a path, and below it where that lies, which may break at slashes.
export function caption(key) {
  const folders = key.split("/"), name = folders.pop();
  const lines = folders.flatMap((part, place) => place ? ["/", make("wbr"), part] : [part]);
  return make("figcaption", {}, make("b", {}, make("bdi", {}, name || key)), folders.length ? make("bdi", {}, ...lines) : null);
}

// A bar from 0 to 1, whose number stands beside it as text.
export function bar(value) {
  const inner = make("i");
  inner.style.width = `${100 * Math.min(Math.max(value, 0), 1)}%`;
  return make("span", { class: "bar-of", "aria-hidden": "true" }, inner);
}

// What a preview of the server shows: a picture, a player, words, or why there is none.
export function media(shown, name) {
  if (shown?.picture) return make("img", { src: shown.picture, alt: name, class: shown.tall ? "tall" : "" });
  if (shown?.sound) return make("audio", { controls: true, preload: "metadata", src: shown.sound, "aria-label": name });
  if (shown?.words) return make("blockquote", {}, shown.words);
  return make("p", { class: "fault" }, shown?.fault ?? "…");
}
