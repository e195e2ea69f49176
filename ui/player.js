// SPDX-License-Identifier: Apache-2.0
// Plays 16-bit samples through WebAudio, also while more of them come. One sound at a time on the whole page.

const LEAD_S = 0.15;   // between the first samples and their sound, so that the next ones are there in time
const PIECE_S = 0.1, LOOK_MS = 50;

let playing = null;

export class Player {
  /** `onmove(seconds)`: so much was heard. `onend()`: all of it, or it was stopped. */
  constructor(rate, {onmove, onend}) {
    playing?.stop();
    playing = this;
    Object.assign(this, {rate, onmove, onend, waiting: [], size: 0, given: 0, nextAt: 0, isWhole: false, isOver: false});
    this.context = new AudioContext({sampleRate: rate});
    this.context.resume();
    this.timer = setInterval(() => this.look(), LOOK_MS);
  }

  push(samples) {
    if (this.isOver) return;
    this.waiting.push(samples);
    this.size += samples.length;
    if (this.size >= PIECE_S * this.rate) this.schedule();
  }

  /** Nothing more comes. */
  finish() {
    if (this.isOver) return;
    this.schedule();
    this.isWhole = true;
  }

  schedule() {
    if (this.size === 0) return;
    const buffer = this.context.createBuffer(1, this.size, this.rate), channel = buffer.getChannelData(0);
    let at = 0;
    for (const samples of this.waiting) for (let i = 0; i < samples.length; ++i) channel[at++] = samples[i] / 32768;
    this.waiting = [];
    this.size = 0;
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.context.destination);
    // At the beginning, and again where it ran dry.
    if (this.nextAt <= this.context.currentTime) this.nextAt = this.context.currentTime + LEAD_S;
    source.start(this.nextAt);
    this.nextAt += buffer.duration;
    this.given += buffer.duration;
  }

  look() {
    const left = Math.max(0, this.nextAt - this.context.currentTime);
    this.onmove(Math.max(0, this.given - left));
    if (this.isWhole && left === 0) this.stop();
  }

  stop() {
    if (this.isOver) return;
    this.isOver = true;
    clearInterval(this.timer);
    this.context.close();
    if (playing === this) playing = null;
    this.onend();
  }
}
