// Requests to this server, as JSON both ways; a failed one is an Error whose message is for people.
let key = "";
export const useKey = (given) => { key = given; };

// What is under way, which the page says on its body: requests, and files that are read for them.
let underway = 0;
export async function during(work) {
  document.body.dataset.underway = ++underway;
  try {
    return await work();
  } finally {
    document.body.dataset.underway = --underway;
  }
}

const TRIES = 120;  // seconds for which a server that is still loading, or too busy, is asked again
export class KeyNeeded extends Error {}

export const ask = (path, content) => during(() => request(path, content));

const later = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

async function request(path, content, tried = 0) {
  const headers = { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const options = content === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(content) };
  let answer;
  try {
    answer = await fetch(`/ui/${path}`, options);
  } catch {
    throw new Error("The server doesn't answer.");
  }
  if ([429, 503].includes(answer.status) && tried < TRIES) {
    await later(1);
    return request(path, content, tried + 1);
  }
  const found = await answer.json().catch(() => ({}));
  if (answer.ok) return found;
  const said = found.error?.message ?? `The server answered ${answer.status}.`;
  throw answer.status === 401 ? new KeyNeeded(said) : new Error(said);
}

// A vector as the server sends it, base64 of float32, [rows, width]; one row unless the space has many.
export function readVector(sent) {
  const bytes = Uint8Array.from(atob(sent.numbers), (one) => one.charCodeAt(0));
  return { sent, rows: sent.rows, width: sent.width, numbers: new Float32Array(bytes.buffer) };
}

// The cosine of two unit vectors, or MaxSim divided by the rows of the first, which is 1 at most as well.
export function similarity(first, second) {
  let sum = 0;
  for (let row = 0; row < first.rows; row++) {
    let best = -Infinity;
    for (let other = 0; other < second.rows; other++) {
      let product = 0;
      for (let place = 0; place < first.width; place++)
        product += first.numbers[row * first.width + place] * second.numbers[other * first.width + place];
      best = Math.max(best, product);
    }
    sum += best;
  }
  return sum / first.rows;
}
