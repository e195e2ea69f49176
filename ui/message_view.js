// SPDX-License-Identifier: Apache-2.0
// MessageView: one message as elements, and what can be done with it. `actions` are the chat's: edit, regenerate, choose, results.
import {copyText, el, icon, iconButton, say, seconds, setIcon} from './dom.js';
import {showLarge} from './pictures.js';
import {SoundView} from './sound_view.js';
import {StreamView} from './stream_view.js';
import {hasMedia} from './tree.js';
import {decodeClip} from './wav.js';

const FINISH = {length: 'cut at the most tokens', tool_calls: 'calls a tool', stop: ''};

/** "12 tokens · 34.5 tokens/s · first after 0.20 s" of {tokens, rate, first, prompt, cached, finish}. */
export function statsText(stats) {
  const out = [];
  if (stats.tokens !== undefined) out.push(`${stats.tokens} ${stats.tokens === 1 ? 'token' : 'tokens'}`);
  if (stats.rate) out.push(`${stats.rate.toFixed(stats.rate < 100 ? 1 : 0)} tokens/s`);
  if (stats.first !== undefined) out.push(`first after ${seconds(stats.first)}`);
  if (stats.prompt !== undefined) out.push(`prompt ${stats.prompt}${stats.cached ? `, ${stats.cached} cached` : ''}`);
  if (FINISH[stats.finish]) out.push(FINISH[stats.finish]);
  return out.join(' · ');
}

function pretty(json) {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}

async function clipOf(url) {
  const bytes = Uint8Array.from(atob(url.slice(url.indexOf(',') + 1)), (letter) => letter.charCodeAt(0));
  return decodeClip(bytes.buffer);
}

// Of a sound in a data URL; one that this browser cannot read has its name alone.
function soundIn({url, name}) {
  const view = new SoundView(name);
  clipOf(url).then((clip) => view.show(clip), () => view.root.replaceChildren(el('span', {text: name})));
  return view.root;
}

export class MessageView {
  constructor(message, siblings, actions) {
    this.message = message;
    this.siblings = siblings;
    this.actions = actions;
    const name = {user: 'You', assistant: 'Answer', tool: 'Result of a tool'}[message.role];
    this.root = el('article', {class: `message ${message.role}`, 'aria-label': name, 'data-id': message.id, tabindex: '-1'});
    this['build_' + message.role]();
    this.update();
  }

  build_user() {
    const pictures = this.message.pictures ?? [];
    if (pictures.length)
      this.root.append(el('div', {class: 'shown-pictures'}, ...pictures.map((picture) =>
        el('button', {type: 'button', 'aria-label': `Show ${picture.name} large`, onclick: () => showLarge(picture)}, el('img', {src: picture.url, alt: picture.name})))));
    for (const sound of this.message.sounds ?? []) this.root.append(soundIn(sound));
    if (this.message.text) this.root.append(el('div', {class: 'bubble', text: this.message.text}));
    this.foot = el('div', {class: 'foot'}, ...this.branches(),
                   iconButton('copy', 'Copy', (event) => this.copy(event.currentTarget)), iconButton('edit', 'Edit', () => this.edit()));
    this.root.append(this.foot);
  }

  build_tool() {
    this.root.append(el('details', {class: 'fold'}, el('summary', {text: `Result of ${this.message.name ?? 'a tool'}`}),
                        el('pre', {tabindex: '0'}, el('code', {text: pretty(this.message.text)}))));
  }

  build_assistant() {
    this.thought = el('details', {class: 'fold thought', hidden: true});
    this.thoughtTitle = el('summary', {text: 'Thinking…'});
    this.thoughtText = document.createTextNode('');
    this.thought.append(this.thoughtTitle, el('div', {class: 'thought-text'}, this.thoughtText));
    this.body = el('div', {class: 'body'});
    this.calls = el('div', {class: 'calls'});
    this.waiting = el('div', {class: 'waiting', 'aria-hidden': 'true'}, el('i'), el('i'), el('i'));
    this.failure = el('div', {class: 'failure', hidden: true});
    this.stats = el('span', {class: 'stats'});
    this.foot = el('div', {class: 'foot'}, ...this.branches(), iconButton('copy', 'Copy', (event) => this.copy(event.currentTarget)),
                   iconButton('again', 'Answer again', () => this.actions.regenerate(this.message)), this.stats);
    this.root.append(this.thought, this.body, this.calls, this.waiting, this.failure, this.foot);
    this.stream = null;
  }

  branches() {
    const at = this.siblings.findIndex((other) => other.id === this.message.id), all = this.siblings.length;
    if (all < 2) return [];
    const step = (by) => () => this.actions.choose(this.siblings[at + by]);
    const back = iconButton('left', 'Version before', step(-1)), on = iconButton('right', 'Next version', step(1));
    back.disabled = at === 0;
    on.disabled = at === all - 1;
    return [el('span', {class: 'branches', role: 'group', 'aria-label': `Version ${at + 1} of ${all}`}, back, el('span', {text: `${at + 1}/${all}`}), on)];
  }

  /** After the message changed; cheap while text only grows. */
  update() {
    if (this.message.role !== 'assistant') return;
    const m = this.message, isWriting = m.state === 'writing';
    this.root.classList.toggle('writing', isWriting);
    this.root.setAttribute('aria-busy', String(isWriting));
    this.showThought(isWriting);
    this.showText(isWriting);
    this.showCalls();
    this.waiting.hidden = !isWriting || m.text !== '' || Boolean(m.reasoning) || Boolean(m.calls?.length);
    this.foot.classList.toggle('busy', isWriting);
    this.stats.textContent = m.stats ? statsText(m.stats) + (m.state === 'stopped' ? ' · stopped' : '') : m.state === 'stopped' ? 'stopped' : '';
    this.showFailure();
  }

  showThought(isWriting) {
    const m = this.message;
    this.thought.hidden = !m.reasoning;
    if (!m.reasoning) return;
    const shown = this.thoughtText.length;
    if (m.reasoning.length > shown) this.thoughtText.appendData(m.reasoning.slice(shown));
    const isThinking = isWriting && m.text === '' && !m.calls?.length;
    this.thoughtTitle.textContent = isThinking ? 'Thinking…' : m.stats?.thought ? `Thought for ${seconds(m.stats.thought)}` : 'Thought';
    this.thought.classList.toggle('now', isThinking);
  }

  showText(isWriting) {
    const m = this.message;
    if (m.isJson) return this.showJson(isWriting);
    if (!this.stream) this.stream = new StreamView(this.body, isWriting ? (text) => say(text) : undefined);
    if (this.isShown) return;
    this.stream.update(m.text, !isWriting);
    this.isShown = !isWriting;
  }

  // What was asked for as JSON is shown as such, in order once it is whole.
  showJson(isWriting) {
    const m = this.message;
    if (!this.json) {
      this.json = document.createTextNode('');
      this.body.replaceChildren(el('div', {class: 'code'}, el('div', {class: 'code-top'}, el('span', {text: 'json'}),
                                el('button', {type: 'button', class: 'link copy-code', text: 'Copy'})), el('pre', {tabindex: '0'}, el('code', {}, this.json))));
    }
    this.body.hidden = m.text === '';
    this.json.data = isWriting ? m.text : pretty(m.text);
  }

  showCalls() {
    const calls = this.message.calls ?? [];
    while (this.calls.children.length < calls.length) {
      const call = calls[this.calls.children.length];
      this.calls.append(el('details', {class: 'fold call'}, el('summary', {text: `Calls ${call.name}`}), el('pre', {tabindex: '0'}, el('code'))));
    }
    calls.forEach((call, i) => {
      const code = this.calls.children[i].querySelector('code');
      const text = this.message.state === 'writing' ? call.arguments : pretty(call.arguments);
      if (code.textContent !== text) code.textContent = text;
    });
  }

  showFailure() {
    const {error} = this.message;
    this.failure.hidden = !error;
    if (!error || this.failure.dataset.shown === error.message) return;
    this.failure.dataset.shown = error.message;
    this.failure.replaceChildren(el('p', {text: error.message, role: 'alert'}));
    if (error.param) this.failure.append(el('p', {class: 'about', text: `In the request: ${error.param}`}));
    this.failure.append(el('button', {type: 'button', class: 'plain', text: 'Try again', onclick: () => this.actions.regenerate(this.message)}));
  }

  /** Boxes for what the called tools answer; for the last message alone. */
  offerResults() {
    const m = this.message;
    if (m.role !== 'assistant' || m.state !== 'done' || !m.calls?.length || this.results) return;
    const areas = m.calls.map((call) => el('textarea', {rows: 2, 'aria-label': `Result of ${call.name}`, placeholder: `What ${call.name} answers`, spellcheck: 'false'}));
    this.results = el('form', {class: 'results'}, ...areas, el('button', {type: 'submit', class: 'plain', text: areas.length > 1 ? 'Send the results' : 'Send the result'}));
    this.results.addEventListener('submit', (event) => {
      event.preventDefault();
      this.actions.results(m, areas.map((area) => area.value));
    });
    this.foot.before(this.results);
  }

  async copy(button) {
    if (!(await copyText(this.message.text))) return say('The browser did not let this be copied');
    setIcon(button, 'check');
    say('Copied');
    setTimeout(() => setIcon(button, 'copy'), 1500);
  }

  edit() {
    if (this.editor) return;
    const area = el('textarea', {'aria-label': 'Edit the message', rows: Math.min(12, this.message.text.split('\n').length + 1)});
    area.value = this.message.text;
    const end = () => {
      this.editor.remove();
      this.editor = null;
      this.root.classList.remove('editing');
      this.root.focus();
    };
    const send = () => {
      const text = area.value.trim();
      if (!text && !hasMedia(this.message)) return;
      end();
      this.actions.edit(this.message, area.value);
    };
    area.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') event.stopPropagation(), end();
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) send();
    });
    this.editor = el('div', {class: 'editor'}, area, el('div', {class: 'buttons'}, el('small', {text: 'The version before stays beside it.'}),
                     el('button', {type: 'button', class: 'plain', text: 'Cancel', onclick: end}),
                     el('button', {type: 'button', class: 'primary', text: 'Send', onclick: send})));
    this.root.classList.add('editing');
    this.foot.before(this.editor);
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }
}

/** Copy buttons of code blocks, for a whole log at once. */
export function listenForCopies(root) {
  root.addEventListener('click', async (event) => {
    const button = event.target.closest('.copy-code');
    if (!button) return;
    const code = button.closest('.code').querySelector('code').textContent;
    button.textContent = (await copyText(code)) ? 'Copied' : 'Not copied';
    say(button.textContent);
    setTimeout(() => (button.textContent = 'Copy'), 1500);
  });
}

/** `host` says what the model takes besides text: sees(), hears(). */
export function emptyState(host, ask) {
  const ideas = ['Explain how a mill grinds grain, in three sentences.', 'Write a table of the planets with their diameters.',
                 'Write a Python function that reverses a string.'];
  return el('div', {class: 'empty'}, el('h2', {text: 'What would you like to know?'}),
            el('p', {text: host.sees() ? 'Write, or paste, drop or take a picture.' : host.hears() ? 'Write, record, or drop a sound file.' : 'Everything stays between this browser and this server.'}),
            el('ul', {}, ...ideas.map((idea) => el('li', {}, el('button', {type: 'button', onclick: () => ask(idea)}, el('span', {text: idea}), icon('right'))))));
}
