// SPDX-License-Identifier: Apache-2.0
// The microphone, as 16-bit samples at 16 kHz. It is open from start() to stop() and at no other time.
import {HEARD_HZ, Resampler, toInt16} from './wav.js';

// As it sounds: what browsers do against noise, echo and quiet voices is made for calls; it clips, and takes parts of words away. Models
// take sound relative to its loudest part anyway.
const WANTED = {channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false};

function wordsOf(error) {
  switch (error.name) {
    case 'NotAllowedError':
    case 'SecurityError': return 'The browser does not let this page use the microphone. Allow it in the browser\'s settings for this page, or choose a sound file.';
    case 'NotFoundError':
    case 'OverconstrainedError': return 'No microphone was found. Connect one, or choose a sound file.';
    case 'NotReadableError': return 'The microphone gives no sound: another program may hold it.';
    default: return `The microphone does not work: ${error.message || error.name}`;
  }
}

export class Recorder {
  /** `onsamples(samples)`: as they come. `onlost()`: the microphone went away, and nothing more comes. */
  constructor({onsamples, onlost}) {
    this.onsamples = onsamples;
    this.onlost = onlost;
    this.isOpen = false;
  }

  /** False if stop() came before the microphone was open. Throws an Error in words. */
  async start() {
    if (!navigator.mediaDevices?.getUserMedia)
      throw new Error(isSecureContext ? 'This browser opens no microphones. Choose a sound file.' :
        'Browsers open the microphone only on localhost and over TLS (https). Choose a sound file, or open this page in one of these ways.');
    this.isOpen = true;
    try {
      await this.open();
    } catch (error) {
      const isWanted = this.isOpen;
      this.close();
      if (isWanted) throw new Error(wordsOf(error));
    }
    if (!this.isOpen) this.close();   // stopped meanwhile
    return this.isOpen;
  }

  async open() {
    this.stream = await navigator.mediaDevices.getUserMedia({audio: WANTED, video: false});
    if (!this.isOpen) return;
    this.context = new AudioContext();
    this.resampler = new Resampler(this.context.sampleRate, HEARD_HZ);
    const source = this.context.createMediaStreamSource(this.stream);
    const tap = await this.tap();
    if (!this.isOpen) return;
    source.connect(tap);
    tap.connect(this.context.destination);   // silence; what leads nowhere is not run
    this.stream.getAudioTracks()[0].addEventListener('ended', () => {
      if (this.isOpen) this.onlost();
    });
    await this.context.resume();
  }

  async tap() {
    if (this.context.audioWorklet && window.AudioWorkletNode) {
      await this.context.audioWorklet.addModule('ui/tap_worklet.js');
      const node = new AudioWorkletNode(this.context, 'tap');
      node.port.onmessage = ({data}) => this.take(data);
      return node;
    }
    const node = this.context.createScriptProcessor(2048, 1, 1);
    node.onaudioprocess = ({inputBuffer}) => this.take(inputBuffer.getChannelData(0));
    return node;
  }

  take(samples) {
    if (this.isOpen) this.onsamples(toInt16(this.resampler.push(samples)));
  }

  /** The last samples still come, at once. */
  stop() {
    if (!this.isOpen) return;
    if (this.resampler) this.onsamples(toInt16(this.resampler.finish()));
    this.close();
  }

  close() {
    this.isOpen = false;
    this.stream?.getTracks().forEach((track) => track.stop());
    if (this.context && this.context.state !== 'closed') this.context.close();
  }
}
