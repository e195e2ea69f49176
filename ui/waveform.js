// SPDX-License-Identifier: Apache-2.0
// A sound as bars on a canvas: its newest seconds while it grows, all of it afterwards, with the part that was played in colour.
import {el} from './dom.js';

const PEAK_S = 0.02, LIVE_S = 10, BAR_PX = 3;

const redraw = () => {
  for (const canvas of document.querySelectorAll('canvas.wave')) canvas.dispatchEvent(new Event('redraw'));
};
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
new MutationObserver(redraw).observe(document.documentElement, {attributeFilter: ['data-theme']});

export class Waveform {
  constructor(label) {
    this.label = label;
    this.root = el('canvas', {class: 'wave', role: 'img', 'aria-label': label, onredraw: () => this.draw()});
    this.clear(1);
    new ResizeObserver(() => this.draw()).observe(this.root);
  }

  clear(rate) {
    this.size = Math.round(rate * PEAK_S) || 1;   // samples of a bar, at least
    this.peaks = [];
    this.left = 0;        // samples that the last peak still takes
    this.played = null;   // a share; null: nothing is played
    this.isLive = false;
    this.draw();
  }

  push(samples) {
    for (let i = 0; i < samples.length; ++i) {
      if (this.left === 0) {
        this.peaks.push(0);
        this.left = this.size;
      }
      --this.left;
      const level = Math.abs(samples[i]) / 32768, last = this.peaks.length - 1;
      if (level > this.peaks[last]) this.peaks[last] = level;
    }
    this.draw();
  }

  tell(words) {
    this.root.setAttribute('aria-label', `${this.label}: ${words}`);
  }

  /** In the next frame, once. */
  draw() {
    if (this.isAsked) return;
    this.isAsked = true;
    requestAnimationFrame(() => {
      this.isAsked = false;
      this.paint();
    });
  }

  paint() {
    const {root, peaks} = this, ratio = devicePixelRatio || 1;
    const width = Math.round(root.clientWidth * ratio), height = Math.round(root.clientHeight * ratio);
    if (width === 0 || height === 0) return;
    if (root.width !== width || root.height !== height) Object.assign(root, {width, height});
    const pen = root.getContext('2d'), style = getComputedStyle(root), live = LIVE_S / PEAK_S;
    const rest = style.getPropertyValue('--wave-rest') || style.color;
    const count = Math.max(1, Math.floor(width / (BAR_PX * ratio))), span = this.isLive ? live : Math.max(1, peaks.length);
    const first = this.isLive ? Math.max(0, peaks.length - live) : 0;
    pen.clearRect(0, 0, width, height);
    for (let i = 0; i < count; ++i) {
      const from = first + Math.floor((i * span) / count), to = Math.max(from + 1, first + Math.floor(((i + 1) * span) / count));
      let level = 0;
      for (let p = from; p < to && p < peaks.length; ++p) level = Math.max(level, peaks[p]);
      // Speech lies far below the loudest sound that fits: its square root is seen better.
      const tall = Math.max(ratio, Math.sqrt(level) * height);
      pen.fillStyle = this.played === null || (i + 0.5) / count <= this.played ? style.color : rest;
      pen.fillRect(Math.round(i * BAR_PX * ratio), (height - tall) / 2, Math.max(1, Math.round(2 * ratio)), tall);
    }
  }
}
