// SPDX-License-Identifier: Apache-2.0
// Recordings on their way into a message: from the microphone, files, the clipboard or a drop. They go as they are.
import {$, bytes, choosesFiles, clock, el, icon, notice, removeButton} from './dom.js';
import {dataUrl} from './pictures.js';
import {Recorder} from './recorder.js';
import {SoundView} from './sound_view.js';
import {HEARD_HZ} from './wav.js';

const FORMATS = {wav: 'wav', wave: 'wav', mp3: 'mp3', flac: 'flac', ogg: 'ogg', oga: 'ogg', opus: 'ogg'};
const MOST_BYTES = 20 << 20, MOST_SOUNDS = 8;
const MOST_S = 10 * 60;   // 19 MB as WAV

/** "wav", "mp3", "flac" or "ogg", by the file's name or what the browser says of it; else undefined. */
export function soundFormatOf(file) {
  const byName = FORMATS[file.name?.toLowerCase().split('.').at(-1)];
  return byName ?? {'audio/wav': 'wav', 'audio/x-wav': 'wav', 'audio/mpeg': 'mp3', 'audio/flac': 'flac', 'audio/ogg': 'ogg'}[file.type];
}

export const isSound = (file) => file.type.startsWith('audio/') || soundFormatOf(file) !== undefined;

export class Sounds {
  /** `whyNot()`: why the model takes none; empty if it does. */
  constructor(whyNot) {
    this.whyNot = whyNot;
    this.list = [];
    this.recorder = null;
    this.listen();
  }

  async add(files) {
    const why = this.whyNot();
    if (why) {
      notice(why);
      return;
    }
    for (const file of files) {
      const name = file.name || 'recording', format = soundFormatOf(file);
      if (this.list.length >= MOST_SOUNDS) {
        notice(`A message takes ${MOST_SOUNDS} recordings.`);
        break;
      }
      if (!format) notice(`${name} is no sound file that the server reads: WAV, FLAC, Ogg or MP3.`);
      else if (file.size > MOST_BYTES) notice(`${name} has ${bytes(file.size)}; ${bytes(MOST_BYTES)} is the most.`);
      else this.list.push({url: (await dataUrl(file)).replace(/^data:[^,]*,/, `data:audio/${format};base64,`), format, name});
    }
    this.show();
  }

  set(list) {
    this.list = [...list];
    this.show();
  }

  show() {
    $('sounds').hidden = this.list.length === 0;
    $('sounds').replaceChildren(...this.list.map((sound, i) =>
      el('li', {}, icon('wave'), el('span', {text: sound.name}),
         removeButton(this, i, sound.name, {class: 'icon'}))));
  }

  listen() {
    choosesFiles('add-sound', 'message-sound-file', this);
    this.view = new SoundView('Waveform of the recording');
    $('dictation-wave').append(this.view.wave.root, this.view.time);
    $('open-microphone').addEventListener('click', () => this.record());
    $('dictation-done').addEventListener('click', () => this.end(true));
    $('dictation-discard').addEventListener('click', () => this.end(false));
  }

  async record() {
    if (this.recorder) return;
    this.recorder = new Recorder({onsamples: (samples) => this.hear(samples), onlost: () => this.end(true)});
    this.view.begin(HEARD_HZ);
    $('dictation').hidden = false;
    $('dictation-done').focus();
    try {
      await this.recorder.start();
    } catch (error) {
      notice(error.message);
      this.recorder = null;
      $('dictation').hidden = true;
    }
  }

  hear(samples) {
    this.view.push(samples);
    if (this.view.clip.seconds < MOST_S || this.isFull) return;
    this.isFull = true;
    notice(`${clock(MOST_S)} is the longest recording for a message: it was stopped there.`, 'calm');
    setTimeout(() => this.end(true));
  }

  /** Closes the microphone, if it is open, and puts what it heard into the message if `keeps`. */
  async end(keeps) {
    if (!this.recorder) return;
    this.recorder.stop();
    this.recorder = null;
    this.isFull = false;
    $('dictation').hidden = true;
    this.view.end();
    $('message').focus();
    if (keeps && this.view.clip.length) await this.add([new File([this.view.clip.wav()], `recording ${clock(this.view.clip.seconds)}.wav`, {type: 'audio/wav'})]);
  }

  offer(hears) {
    $('add-sound').hidden = $('open-microphone').hidden = !hears;
    if (!hears) this.end(false);
  }
}
