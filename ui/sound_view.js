// SPDX-License-Identifier: Apache-2.0
// SoundView: one sound as a waveform with its time, which can be played and kept as a file; it may still grow.
import {clock, el, iconButton, saveBlob, seconds, setIcon} from './dom.js';
import {Player} from './player.js';
import {Clip} from './wav.js';
import {Waveform} from './waveform.js';

const PLAYED_S = 30;   // given to the player at once

export class SoundView {
  constructor(label) {
    this.wave = new Waveform(label);
    this.play = iconButton('play', 'Play', () => this.toggle());
    this.save = iconButton('in', 'Download as WAV', () => saveBlob(this.fileName, this.clip.wav()));
    this.time = el('span', {class: 'time'});
    this.root = el('div', {class: 'sound-view'}, this.play, this.wave.root, this.time, this.save);
    this.clip = null;
    this.fileName = 'recording.wav';
    this.showButtons();
  }

  /** An empty sound, which push() makes grow until end(). */
  begin(rate) {
    this.player?.stop();
    this.clip = new Clip(rate);
    this.wave.clear(rate);
    this.wave.isLive = true;
    this.isGrowing = true;
    this.showTime(0);
    this.showButtons();
  }

  push(samples) {
    this.clip.push(samples);
    this.wave.push(samples);
    if (!this.player) this.showTime(0);
  }

  end() {
    if (!this.clip) return;
    this.isGrowing = this.wave.isLive = false;
    this.wave.tell(seconds(this.clip.seconds));
    this.wave.draw();
    this.showButtons();
  }

  show(clip) {
    this.begin(clip.rate);
    for (const part of clip.parts) this.push(part);
    this.end();
  }

  /** No sound: one that this browser cannot read. */
  clear() {
    this.player?.stop();
    this.clip = null;
    this.wave.clear(1);
    this.time.textContent = '';
    this.showButtons();
  }

  toggle() {
    if (this.player) return this.player.stop();
    const player = this.startPlayer(), {clip} = this, step = PLAYED_S * clip.rate;
    for (let at = 0; at < clip.length; at += step) player.push(clip.slice(at, at + step));
    player.finish();
  }

  /** A player, for sound that still grows too: whoever pushes here pushes there. */
  startPlayer(onend = () => {}) {
    this.player = new Player(this.clip.rate, {
      onmove: (at) => {
        this.wave.played = this.isGrowing ? null : at / Math.max(this.clip.seconds, 1e-9);
        this.wave.draw();
        this.showTime(at);
      },
      onend: () => {
        this.player = null;
        this.wave.played = null;
        this.wave.draw();
        this.showTime(0);
        this.showButtons();
        onend();
      }});
    this.showButtons();
    return this.player;
  }

  showTime(at) {
    const whole = clock(this.clip?.seconds ?? 0);
    this.time.textContent = at > 0 ? `${clock(at)} / ${whole}` : whole;
  }

  showButtons() {
    const isThere = Boolean(this.clip?.length) && !this.isGrowing;
    this.play.disabled = !isThere;
    this.save.disabled = !isThere;
    const label = this.player ? 'Stop playing' : 'Play';
    this.play.setAttribute('aria-label', label);
    this.play.title = label;
    setIcon(this.play, this.player ? 'stop' : 'play');
  }
}
