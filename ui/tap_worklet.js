// SPDX-License-Identifier: Apache-2.0
// On the browser's audio thread: hands what the microphone gives to the page, its channels averaged.

const PIECE = 1024;   // samples: 50 messages a second at 48 kHz

class Tap extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Float32Array(PIECE);
    this.size = 0;
  }

  process([channels]) {
    const length = channels[0]?.length ?? 0;
    for (let i = 0; i < length; ++i) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      this.piece[this.size++] = sum / channels.length;
      if (this.size < PIECE) continue;
      this.port.postMessage(this.piece.slice());
      this.size = 0;
    }
    return true;
  }
}

registerProcessor('tap', Tap);
