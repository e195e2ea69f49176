// SPDX-License-Identifier: Apache-2.0
// LiveText: what was said so far, while a recording goes on. Its newest window is written down again every few seconds; a window that
// is full is cut where it is quiet, keeps its text, and the next one begins.

const EVERY_MS = 3000, WINDOW_S = 30, SLACK_S = 8;

export class LiveText {
  /** `ask(blob, signal)`: the text of a WAV file. `show(text)`: of all so far. `onerror(error)`: there will be no more. */
  constructor(clip, {ask, show, onerror}) {
    Object.assign(this, {clip, ask, show, onerror});
    this.begin = this.seen = 0;   // samples: where the window begins, and what its last text knew
    this.settled = [];            // texts of full windows
    this.control = new AbortController();
    this.next();
  }

  stop() {
    this.control.abort();
    clearTimeout(this.timer);
  }

  // The clock runs while the server works, but one question is under way at a time.
  next(spent = 0) {
    this.timer = setTimeout(() => this.tick(), Math.max(0, EVERY_MS - spent));
  }

  async tick() {
    const began = performance.now();
    try {
      if (this.clip.length > this.seen) await this.write();
    } catch (error) {
      if (error.name !== 'AbortError') this.onerror(error);
      return;
    }
    if (!this.control.signal.aborted) this.next(performance.now() - began);
  }

  async write() {
    const {clip, begin} = this;
    const cuts = clip.cuts(WINDOW_S, SLACK_S, begin);
    const [, to] = cuts[0];
    const text = (await this.ask(clip.wav(begin, to), this.control.signal)).trim();
    this.seen = to;
    if (cuts.length > 1) {
      this.settled.push(text);
      this.begin = to;
    }
    this.show([...this.settled, cuts.length > 1 ? '' : text].filter((one) => one).join(' '));
  }
}
