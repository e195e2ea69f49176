// SPDX-License-Identifier: Apache-2.0
// For a model that speaks: a text is read aloud while its sound still comes.
import {streamSpeech} from './api.js';
import {$, el, recall, remember, say, seconds} from './dom.js';
import {SoundView} from './sound_view.js';

const SPOKEN_HZ = 24_000, VOICE = 'quern.voice';

export class Speak {
  /** `host`: {model(), onkey(words, retry), onlost()}. */
  constructor(host) {
    this.host = host;
    this.control = null;
    this.view = new SoundView('Waveform of the speech');
    this.view.fileName = 'speech.wav';
    $('speech').append(this.view.root);
    $('speak-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.speak();
    });
    $('speech-text').addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && !event.isComposing) this.speak();
    });
    $('voice').addEventListener('change', () => remember(VOICE, $('voice').value));
    $('speak-stop').addEventListener('click', () => this.stop());
    this.show();
  }

  /** The names of voices that the server knows. */
  offer(voices) {
    const chosen = $('voice').value || recall(VOICE, '');
    $('voice').replaceChildren(...voices.map((name) => el('option', {value: name, text: name})));
    if (voices.includes(chosen)) $('voice').value = chosen;
    $('speak-start').disabled = voices.length === 0;
    if (voices.length === 0) this.tell('No voices are set up on this server.');
  }

  show() {
    const isBusy = this.control !== null || Boolean(this.view.player);
    $('speak-start').hidden = isBusy;
    $('speak-stop').hidden = !isBusy;
  }

  tell(words) {
    $('speak-state').textContent = words;
  }

  fail(error) {
    $('speak-error').hidden = !error;
    $('speak-error').textContent = error?.message ?? '';
  }

  async speak() {
    const input = $('speech-text').value.trim();
    if (this.control || $('speak-start').disabled) return;
    this.fail(input ? null : new Error('Write what is to be read aloud.'));
    if (!input) return $('speech-text').focus();
    const control = (this.control = new AbortController()), began = performance.now(), {view} = this;
    view.begin(SPOKEN_HZ);
    const player = view.startPlayer(() => this.show());
    this.tell('Waiting for the first sound…');
    this.show();
    let first = null;
    try {
      for await (const samples of streamSpeech({model: this.host.model(), input, voice: $('voice').value}, control.signal)) {
        first ??= (performance.now() - began) / 1000;
        view.push(samples);
        player.push(samples);
        this.tell(`Speaking. First sound after ${seconds(first)}.`);
      }
      const spent = (performance.now() - began) / 1000;
      this.tell(first === null ? 'The server sent no sound.' :
        `First sound after ${seconds(first)}; ${seconds(view.clip.seconds)} of speech in ${seconds(spent)}, ${(view.clip.seconds / spent).toFixed(1)} times as fast as it is spoken.`);
    } catch (error) {
      this.end(error);
    }
    // What had arrived is heard to its end, unless it was stopped.
    if (control.signal.aborted) player.stop();
    else player.finish();
    view.end();
    this.control = null;
    this.show();
  }

  end(error) {
    this.tell(error.name === 'AbortError' ? 'Stopped.' : '');
    if (error.name === 'AbortError') return say('Stopped');
    this.fail(error);
    if (error.code === 'cut' || error.isUnreachable) this.host.onlost();
    if (error.isKeyMissing) this.host.onkey(error.message, () => this.speak());
    if (error.status === undefined) console.error(error);
  }

  /** False if nothing was spoken. */
  stop() {
    if (!this.control && !this.view.player) return false;
    this.control?.abort();
    this.view.player?.stop();
    return true;
  }
}
