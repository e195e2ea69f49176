// SPDX-License-Identifier: Apache-2.0
// For a model that writes recordings down: from the microphone or a file to text on the page.
import {draftTranscript, streamTranscript} from './api.js';
import {$, bytes, clock, copyText, notice, say, seconds} from './dom.js';
import {LiveText} from './live_text.js';
import {Recorder} from './recorder.js';
import {SoundView} from './sound_view.js';
import {HEARD_HZ, decodeClip} from './wav.js';

const MOST_S = 30 * 60;
// Of one question to the server: 29 MB as WAV, and less than half an hour, which are its limits if nobody set others.
const PART_S = 15 * 60, SLACK_S = 30;
const MOST_SHOWN_BYTES = 16 << 20;   // of a file that is decoded here for its picture alone

export class Transcribe {
  /** `host`: {model(), onkey(words, retry), onlost()}. */
  constructor(host) {
    this.host = host;
    this.state = 'idle';   // opening, recording, writing
    this.file = null;      // the file to write down; null: the recording in `view`
    this.view = new SoundView('Waveform of the recording');
    $('recording').append(this.view.root);
    this.listen();
    this.show();
  }

  listen() {
    const on = (id, run) => $(id).addEventListener('click', run);
    on('record', () => (this.state === 'idle' ? this.record() : this.endRecording()));
    on('choose-sound', () => $('sound-file').click());
    $('sound-file').addEventListener('change', (event) => {
      if (event.target.files[0]) this.take(event.target.files[0]);
      event.target.value = '';
    });
    on('transcribe-stop', () => this.stop());
    on('transcribe-again', () => this.writeDown());
    on('transcript-copy', async () => say((await copyText($('transcript').textContent)) ? 'Copied' : 'The browser did not let this be copied'));
  }

  show() {
    const {state} = this, isRecording = state === 'recording' || state === 'opening';
    $('record').textContent = isRecording ? 'Stop recording' : 'Record';
    $('record').classList.toggle('recording', isRecording);
    $('record').disabled = state === 'writing';
    $('choose-sound').disabled = $('live').disabled = state !== 'idle';
    $('transcribe-stop').hidden = state !== 'writing';
    $('transcript').setAttribute('aria-busy', String(state !== 'idle'));
    $('transcribe-foot').hidden = state !== 'idle' || !this.hasSound;
    $('transcript-copy').hidden = $('transcript').textContent === '';
  }

  get hasSound() {
    return this.file !== null || Boolean(this.view.clip?.length);
  }

  tell(words) {
    $('transcribe-state').textContent = words;
  }

  fail(error) {
    $('transcribe-error').hidden = !error;
    $('transcribe-error').textContent = error?.message ?? '';
  }

  setText(text, isDraft = false) {
    $('transcript').hidden = text === '';
    $('transcript').textContent = text;
    $('transcript').classList.toggle('draft', isDraft);
  }

  // ---- the recording

  async record() {
    this.state = 'opening';
    this.file = null;
    this.fail(null);
    this.setText('');
    this.tell('The browser may ask whether this page may use the microphone.');
    this.show();
    this.recorder = new Recorder({onsamples: (samples) => this.hear(samples), onlost: () => {
      this.endRecording();
      notice('The microphone went away: what was recorded until then is here.', 'calm');
    }});
    this.view.begin(HEARD_HZ);
    try {
      if (!(await this.recorder.start())) return;
    } catch (error) {
      this.state = 'idle';
      this.view.clear();
      this.tell('');
      this.fail(error);
      this.show();
      return;
    }
    this.state = 'recording';
    this.tell('Recording…');
    if ($('live').checked) this.startLiveText();
    this.show();
  }

  startLiveText() {
    this.live = new LiveText(this.view.clip, {
      ask: (blob, signal) => draftTranscript(blob, this.host.model(), signal),
      show: (text) => this.setText(text, true),
      onerror: (error) => this.tell(`Recording… There is no text meanwhile: ${error.message}`)});
  }

  hear(samples) {
    const left = MOST_S * HEARD_HZ - this.view.clip.length;
    if (left === 0) return;
    this.view.push(samples.length > left ? samples.subarray(0, left) : samples);
    if (samples.length < left) return;
    notice(`${clock(MOST_S)} is the longest recording: it was stopped there.`, 'calm');
    // From within the recorder, which still has its last samples in hand.
    setTimeout(() => this.endRecording());
  }

  endRecording() {
    if (this.state !== 'recording' && this.state !== 'opening') return;
    this.recorder.stop();
    this.live?.stop();
    this.live = null;
    this.view.end();
    this.state = 'idle';
    this.tell('');
    this.show();
    if (this.hasSound) this.writeDown();
  }

  // ---- files

  async take(file) {
    if (this.state !== 'idle') {
      notice('One at a time: stop what is under way first.', 'calm');
      return;
    }
    this.file = file;
    this.view.clear();
    this.setText('');
    this.writeDown();
    if (file.size > MOST_SHOWN_BYTES) return;
    try {
      const clip = await decodeClip(await file.arrayBuffer());
      if (this.file === file) this.view.show(clip);
    } catch {
      // The server reads kinds that this browser does not: it goes without a picture.
    }
  }

  // ---- text

  *parts() {
    if (this.file) return yield [this.file, this.file.name || 'sound'];
    for (const [from, to] of this.view.clip.cuts(PART_S, SLACK_S)) yield [this.view.clip.wav(from, to), 'recording.wav'];
  }

  async writeDown() {
    this.state = 'writing';
    this.control = new AbortController();
    this.fail(null);
    const draft = $('transcript').textContent, began = performance.now();
    this.setText(draft, true);   // until there is better
    this.tell(this.file ? `Writing down ${this.file.name || 'the file'} (${bytes(this.file.size)})…` : 'Writing it down…');
    this.show();
    const texts = [];
    try {
      for (const [blob, name] of this.parts()) {
        texts.push('');
        for await (const event of streamTranscript(blob, name, this.host.model(), this.control.signal)) {
          if (event.type === 'transcript.text.delta') texts[texts.length - 1] += event.delta;
          else if (event.type === 'transcript.text.done') texts[texts.length - 1] = event.text;
          this.setText(texts.join(' '));
        }
      }
      this.finish(texts.join(' ').trim(), (performance.now() - began) / 1000);
    } catch (error) {
      this.end(error);
    }
    this.state = 'idle';
    this.show();
  }

  finish(text, spent) {
    this.setText(text);
    const length = this.view.clip?.length ? `${seconds(this.view.clip.seconds)} of sound, w` : 'W';
    this.tell(`${length}ritten down in ${seconds(spent)}.${text ? '' : ' No words were found in it.'}`);
    if (text) say(text);
  }

  end(error) {
    this.tell(error.name === 'AbortError' ? 'Stopped.' : '');
    if (error.name === 'AbortError') return;
    this.fail(error);
    if (error.code === 'cut' || error.isUnreachable) this.host.onlost();
    if (error.isKeyMissing) this.host.onkey(error.message, () => this.writeDown());
    if (error.status === undefined) console.error(error);
  }

  /** What is under way, if anything is: false if not. */
  stop() {
    if (this.state === 'writing') this.control.abort();
    else if (this.state === 'idle') return false;
    else this.endRecording();
    return true;
  }
}
