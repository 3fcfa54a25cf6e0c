// Sounds from the microphone, sent as WAV, which needs no decoder beyond the server's own.
import { by, say } from "/ui/dom.js";

let recorder = null;

export function start(added) {
  if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) return;
  by("record").hidden = false;
  by("record").addEventListener("click", async () => {
    if (recorder) { recorder.stop(); return; }
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      record(stream, added);
    } catch {
      say("said", "The browser gives no sound: no microphone is there, or it may not be used.");
    }
  });
}

function record(stream, added) {
  const pieces = [];
  recorder = new MediaRecorder(stream);
  recorder.addEventListener("dataavailable", (event) => pieces.push(event.data));
  recorder.addEventListener("stop", async () => {
    recorder = null;
    by("record").textContent = "Record a sound";
    stream.getTracks().forEach((track) => track.stop());
    const context = new AudioContext();
    try {
      const sound = await context.decodeAudioData(await new Blob(pieces).arrayBuffer());
      added([new File([writeWav(sound)], `recording ${new Date().toLocaleTimeString()}.wav`, { type: "audio/wav" })]);
    } catch {
      say("said", "The recording is empty.");
    } finally {
      context.close();
    }
  });
  recorder.start();
  by("record").textContent = "Stop recording";
  say("said", "Recording …");
}

// The first channel as 16-bit PCM in a RIFF file.
function writeWav(sound) {
  const samples = sound.getChannelData(0), view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const words = (place, text) => [...text].forEach((one, step) => view.setUint8(place + step, one.charCodeAt(0)));
  words(0, "RIFF"); view.setUint32(4, 36 + 2 * samples.length, true); words(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, sound.sampleRate, true); view.setUint32(28, 2 * sound.sampleRate, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true); words(36, "data"); view.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, place) => view.setInt16(44 + 2 * place, 32767 * Math.min(Math.max(value, -1), 1), true));
  return view.buffer;
}
