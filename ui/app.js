// SPDX-License-Identifier: Apache-2.0
// The page: puts its parts together, and keeps the list of conversations, the model, the key and the state of the server.
import {getJson, isReady, key} from './api.js';
import {Chat} from './chat.js';
import {$, el, iconButton, notice, recall, remember, saveFile, say} from './dom.js';
import {listenToDrops} from './drops.js';
import {EnginePage} from './engine.js';
import {Pictures} from './pictures.js';
import {Settings} from './settings.js';
import {Shortcuts} from './shortcuts.js';
import {Sounds, isSound} from './sounds.js';
import {Speak} from './speak.js';
import {Store} from './store.js';
import {Transcribe} from './transcribe.js';
import {newConversation} from './tree.js';

const PROBE_MS = 5000, LOST_MS = 1000;
const NARROW = matchMedia('(max-width: 60rem)');

class App {
  constructor() {
    this.models = [];
    this.voices = [];
    this.isLost = false;
    this.store = new Store((words) => notice(words));
    this.settings = new Settings(() => this.showConstraint());
    this.pictures = new Pictures(() => (this.sees() ? '' : this.refusal('pictures')));
    this.sounds = new Sounds(() => (this.hears() ? '' : this.refusal('recordings')));
    const listener = {model: () => this.modelName(), onkey: (words, retry) => this.askForKey(words, retry), onlost: () => this.seeServer()};
    this.transcribe = new Transcribe(listener);
    this.speak = new Speak(listener);
    this.enginePage = new EnginePage((error) => error.isKeyMissing && this.askForKey(error.message, () => this.enginePage.tick()));
    this.chat = new Chat({
      store: this.store, settings: this.settings, model: () => this.modelName(), sees: () => this.sees(), hears: () => this.hears(), onchange: () => this.showList(),
      onkey: (words, retry) => this.askForKey(words, retry), onlost: () => this.seeServer(), opensettings: () => this.togglePanel(true)});
    const inChat = (run) => () => this.chats && run();
    this.shortcuts = new Shortcuts([
      ['/', 'to the message box', () => this.focusMessage()], ['n', 'new conversation', inChat(() => this.startNew())],
      ['r', 'answer again', inChat(() => this.chat.regenerateLast())], ['e', 'edit your last message', inChat(() => this.chat.editLast())],
      ['s', 'settings', inChat(() => this.togglePanel())], ['g', 'engine, and back', () => this.toggleEngine()],
      ['l', 'list of conversations', () => this.toggleSidebar()], ['[', 'newer conversation', inChat(() => this.step(-1))],
      [']', 'older conversation', inChat(() => this.step(1))],
      ['?', 'this list', () => this.shortcuts.show()]], () => this.escape());
  }

  async start() {
    this.listen();
    this.toggleSidebar(!NARROW.matches && recall('quern.sidebar', true));
    this.showConstraint();
    await this.store.open();
    const last = recall('quern.last', null);
    // One in which nothing was sent has no more than its draft, which goes by its id.
    this.show(this.store.get(last) ?? {...newConversation(), ...(typeof last === 'string' ? {id: last} : {})});
    this.restoreDraft();
    await this.findModels();
    this.probe();
    if (location.hash === '#engine') this.toggleEngine(true);
    document.documentElement.dataset.ready = 'true';
  }

  // ---- what the server is

  modelName() {
    return $('model').value || this.models[0]?.id || '';
  }
  card() {
    return this.models.find((model) => model.id === this.modelName());
  }
  sees() {
    return (this.card()?.input_modalities ?? []).includes('image');
  }
  hears() {
    return (this.card()?.input_modalities ?? []).includes('audio');
  }
  /** Of generate, transcription, speech. A model that speaks answers no chats. */
  does(task) {
    const tasks = this.card()?.tasks ?? ['generate'], speaks = this.voices.length > 0 || tasks.includes('speech');
    return task === 'speech' ? speaks : tasks.includes(task) && !(task === 'generate' && speaks);
  }
  // Also a model for which this page has nothing: it says itself what it answers.
  get chats() {
    return this.does('generate') || !(this.does('transcription') || this.does('speech'));
  }
  refusal(what) {
    const takes = this.sees() ? 'takes text and pictures' : this.hears() ? 'takes text and recordings' : 'reads text only';
    return `${this.modelName() || 'This model'} ${takes}: ${what} cannot be sent to it.`;
  }

  async findModels() {
    try {
      this.models = (await getJson('v1/models')).data;
      this.voices = await this.findVoices();
      this.isLost = false;
    } catch (error) {
      if (error.isKeyMissing) this.askForKey(key.get() ? error.message : null, () => {});
      else if (error.isUnreachable) this.seeServer();
      else notice(error.message);
      return;
    }
    const chosen = this.modelName();
    $('model').replaceChildren(...this.models.map(({id}) => el('option', {value: id, text: id})));
    if (this.models.some(({id}) => id === chosen)) $('model').value = chosen;
    this.showModel();
  }

  async findVoices() {
    try {
      return (await getJson('v1/audio/voices')).voices;
    } catch (error) {
      if (error.isKeyMissing || error.isUnreachable) throw error;
      return [];   // a key for less, or a proxy that leaves it out
    }
  }

  showModel() {
    $('model').hidden = this.models.length < 2;
    $('model-name').hidden = this.models.length !== 1;
    $('model-name').textContent = this.models[0]?.id ?? '';
    this.pictures.offer(this.sees());
    this.sounds.offer(this.hears());
    this.showStage();
    this.showList();
    if (this.chat.conversation && !this.chat.conversation.leaf) this.chat.layOut();
  }

  async probe() {
    await this.seeServer();
    setTimeout(() => this.probe(), this.isLost ? LOST_MS : PROBE_MS);
  }

  async seeServer() {
    if (document.hidden) return;
    const ready = await isReady();
    const state = $('state');
    state.className = `state ${ready === true ? 'good' : ready === false ? 'busy' : 'lost'}`;
    const words = ready === true ? '' : ready === false ? 'not ready' : 'no connection';
    if (state.textContent !== words) state.textContent = words;
    if (ready === null && !this.isLost) {
      this.isLost = true;
      setTimeout(() => this.seeServer(), LOST_MS);
    } else if (ready !== null && this.isLost) {
      this.isLost = false;
      say('The server is back');
      await this.findModels();
    }
  }

  /** `words`: what the server said of the last key; null if there was none. */
  askForKey(words, retry) {
    this.afterKey = retry;
    if ($('key-dialog').open) return;
    $('key').value = key.get();
    $('key-keep').checked = key.isKept();
    $('key-error').hidden = !words;
    $('key-error').textContent = words ?? '';
    $('key-dialog').showModal();
    $('key').select();
  }

  async takeKey() {
    const value = $('key').value.trim();
    try {
      await getJson('v1/models', {token: value});
    } catch (error) {
      $('key-error').textContent = error.message;
      $('key-error').hidden = false;
      $('key').select();
      return;
    }
    key.set(value, $('key-keep').checked);
    $('key-dialog').close();
    await this.findModels();
    const retry = this.afterKey;
    this.afterKey = null;
    retry?.();
  }

  // ---- conversations

  show(conversation) {
    this.saveDraft();
    this.chat.show(conversation);
    this.restoreDraft();
    remember('quern.last', conversation.id);
    this.showList();
    this.toggleEngine(false);
    if (NARROW.matches) this.toggleSidebar(false);
  }

  showList() {
    const current = this.chat.conversation;
    if (document.activeElement !== $('title')) $('title').value = current?.title ?? '';
    document.title = current?.title && this.chats ? `${current.title} · quern` : 'quern';
    $('conversations').replaceChildren(...this.store.all().map((conversation) => {
      const isCurrent = conversation.id === current?.id;
      const isWriting = this.chat.runs.has(conversation.id);
      return el('li', {class: isCurrent ? 'current' : ''},
                el('button', {type: 'button', class: 'conversation', 'aria-current': isCurrent ? 'page' : null, onclick: () => this.show(conversation)},
                   el('span', {text: conversation.title || 'New conversation'}), isWriting ? el('i', {class: 'dot', title: 'being written'}) : null),
                iconButton('out', `Export ${conversation.title}`, () => this.exportOne(conversation)),
                iconButton('bin', `Delete ${conversation.title}`, () => this.remove(conversation)));
    }));
  }

  startNew() {
    this.show(newConversation());
    this.focusMessage();
  }

  step(by) {
    const all = this.store.all();
    const at = all.findIndex(({id}) => id === this.chat.conversation.id);
    const next = all[at < 0 ? 0 : at + by];
    if (next) this.show(next);
  }

  async remove(conversation) {
    this.chat.runs.get(conversation.id)?.control.abort();
    await this.store.remove(conversation.id);
    if (conversation === this.chat.conversation) this.show(this.store.all()[0] ?? newConversation());
    else this.showList();
    notice(`Deleted: ${conversation.title || 'New conversation'}`, 'calm', {text: 'Undo', run: async () => {
      await this.store.save(conversation);
      this.show(conversation);
    }});
  }

  exportOne(conversation) {
    saveFile(`quern-${(conversation.title || 'conversation').replaceAll(/[^\p{L}\p{N}]+/gu, '-').slice(0, 40)}.json`, this.store.export([conversation]));
  }

  async import(file) {
    try {
      const count = await this.store.import(await file.text());
      this.showList();
      notice(`${count} ${count === 1 ? 'conversation' : 'conversations'} imported.`, 'calm');
    } catch (error) {
      notice(`Nothing was imported: ${error.message}. What is here is as it was.`);
    }
  }

  // ---- the message box

  focusMessage() {
    this.toggleEngine(false);
    $(this.firstField()).focus();
  }

  firstField() {
    return this.chats ? 'message' : this.does('speech') ? 'speech-text' : 'record';
  }

  fitMessage() {
    const box = $('message');
    box.style.height = 'auto';
    box.style.height = `${Math.min(box.scrollHeight, innerHeight * 0.4)}px`;
  }

  // What is written and not sent outlives a reload.
  saveDraft() {
    if (this.chat.conversation) remember(`quern.draft.${this.chat.conversation.id}`, $('message').value || null);
  }
  restoreDraft() {
    $('message').value = recall(`quern.draft.${this.chat.conversation.id}`, '');
    this.fitMessage();
  }

  async send() {
    await this.sounds.end(true);   // what is being recorded is part of it
    const pictures = [...this.pictures.list], sounds = [...this.sounds.list];
    if (pictures.length && !this.sees()) return notice(`${this.refusal('pictures')} Take them out.`);
    if (sounds.length && !this.hears()) return notice(`${this.refusal('recordings')} Take them out.`);
    if (!(await this.chat.send($('message').value, {pictures, sounds}))) return;
    this.pictures.set([]);
    this.sounds.set([]);
    $('message').value = '';
    this.saveDraft();
    this.fitMessage();
  }

  showConstraint() {
    const {kind, kindName} = this.settings;
    $('constraint').hidden = kind === 'none';
    $('constraint').replaceChildren(el('span', {text: kindName}), iconButton('close', 'Back to free text', () => this.settings.setKind('none')));
  }

  // ---- panels

  toggleSidebar(isOpen = document.body.classList.contains('no-sidebar')) {
    document.body.classList.toggle('no-sidebar', !isOpen);
    $('open-sidebar').setAttribute('aria-expanded', String(isOpen));
    $('sidebar').inert = !isOpen;
    if (!NARROW.matches) remember('quern.sidebar', isOpen);
    this.seeOverlay();
  }

  togglePanel(isOpen = $('panel').hidden) {
    $('panel').hidden = !isOpen;
    document.body.classList.toggle('with-panel', isOpen);
    $('open-panel').setAttribute('aria-expanded', String(isOpen));
    if (isOpen) $('close-panel').focus();
    else if ($('panel').contains(document.activeElement) || document.activeElement === document.body) $('open-panel').focus();
    this.seeOverlay();
  }

  // At phone width a panel lies over the page, which is then out of reach.
  seeOverlay() {
    const isCovered = NARROW.matches && (!document.body.classList.contains('no-sidebar') || !$('panel').hidden);
    $('main').inert = isCovered;
    document.body.classList.toggle('covered', isCovered);
  }

  toggleEngine(isOpen = $('engine').hidden) {
    if (isOpen !== $('engine').hidden) return;
    $('engine').hidden = !isOpen;
    this.showStage();
    $('open-engine').setAttribute('aria-pressed', String(isOpen));
    history.replaceState(null, '', isOpen ? '#engine' : location.pathname + location.search);
    if (isOpen) this.enginePage.open();
    else this.enginePage.close();
    if (NARROW.matches && isOpen) this.toggleSidebar(false);
  }

  // What the model does, or the engine: one of them has the page.
  showStage() {
    const {chats} = this, isEngine = !$('engine').hidden;
    $('chat').hidden = isEngine || !chats;
    $('sound').hidden = isEngine || chats;
    $('transcribe').hidden = !this.does('transcription');
    $('speak').hidden = !this.does('speech');
    if (this.does('speech')) this.speak.offer(this.voices);
    if (chats) this.stopSound();
    document.body.classList.toggle('no-chat', !chats);
    for (const id of ['title', 'new-chat', 'open-panel']) $(id).hidden = !chats;
    if (!chats && !$('panel').hidden) this.togglePanel(false);
    $('skip').href = `#${this.firstField()}`;
    $('skip').textContent = chats ? 'Skip to the message box' : 'Skip to the sound';
  }

  /** False if there was none. */
  stopSound() {
    return this.transcribe.stop() || this.speak.stop();
  }

  // Files from anywhere go where the model takes them.
  take(files) {
    const sounds = files.filter(isSound), others = files.filter((file) => !isSound(file));
    if (!this.chats) {
      if (this.does('transcription') && files.length) this.transcribe.take(files[0]);
      return;
    }
    if (sounds.length) this.sounds.add(sounds);
    if (others.length) this.pictures.add(others);
  }

  dropWords() {
    return this.does('transcription') && !this.chats ? 'Drop a sound file here' : this.hears() ? 'Drop recordings here' : 'Drop pictures here';
  }

  escape() {
    if (NARROW.matches && !document.body.classList.contains('no-sidebar')) this.toggleSidebar(false);
    else if (!$('panel').hidden && (NARROW.matches || $('panel').contains(document.activeElement))) this.togglePanel(false);
    else if (!$('sound').hidden && this.stopSound()) return true;
    else if (this.sounds.recorder) this.sounds.end(true);
    else if (this.chat.isWriting) this.chat.stop();
    else if (!$('panel').hidden) this.togglePanel(false);
    else return false;
    return true;
  }

  listen() {
    const on = (id, event, run) => $(id).addEventListener(event, run);
    on('new-chat', 'click', () => this.startNew());
    on('open-sidebar', 'click', () => this.toggleSidebar());
    on('close-sidebar', 'click', () => this.toggleSidebar(false));
    on('open-panel', 'click', () => this.togglePanel());
    on('close-panel', 'click', () => this.togglePanel(false));
    on('open-engine', 'click', () => this.toggleEngine());
    on('open-shortcuts', 'click', () => this.shortcuts.show());
    on('open-key', 'click', () => this.askForKey(null, null));
    on('export', 'click', () => saveFile(`quern-${new Date().toISOString().slice(0, 10)}.json`, this.store.export()));
    on('import', 'click', () => $('import-file').click());
    on('import-file', 'change', (event) => {
      if (event.target.files[0]) this.import(event.target.files[0]);
      event.target.value = '';
    });
    on('model', 'change', () => this.showModel());
    on('theme', 'change', (event) => this.setTheme(event.target.value));
    $('theme').value = document.documentElement.dataset.theme ?? 'auto';
    on('title', 'change', (event) => {
      Object.assign(this.chat.conversation, {title: event.target.value.trim(), isNamed: event.target.value.trim() !== ''});
      if (this.chat.conversation.leaf) this.store.save(this.chat.conversation);
      this.showList();
    });
    document.body.addEventListener('click', (event) => {
      if (event.target !== document.body || !document.body.classList.contains('covered')) return;
      this.toggleSidebar(false);
      this.togglePanel(false);
    });
    NARROW.addEventListener('change', () => this.toggleSidebar(!NARROW.matches));
    listenToDrops((files) => this.take(files), () => this.dropWords());
    this.listenToComposer(on);
    this.listenToKeyDialog(on);
  }

  setTheme(theme) {
    if (theme === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    try {
      if (theme === 'auto') localStorage.removeItem('quern.theme');
      else localStorage.setItem('quern.theme', theme);
    } catch {
      // Shown all the same, for as long as the page is open.
    }
  }

  listenToComposer(on) {
    on('message', 'input', () => {
      this.fitMessage();
      this.saveDraft();
    });
    on('message', 'keydown', (event) => {
      if (event.isComposing) return;
      if (event.key === 'Enter' && !event.shiftKey && !event.altKey) {
        event.preventDefault();
        this.send();
      }
      if (event.key === 'ArrowUp' && $('message').value === '') {
        event.preventDefault();
        this.chat.editLast();
      }
    });
    on('composer', 'submit', (event) => {
      event.preventDefault();
      this.send();
    });
    on('stop', 'click', () => {
      this.chat.stop();
      $('message').focus();
    });
  }

  listenToKeyDialog(on) {
    on('key-form', 'submit', (event) => {
      event.preventDefault();
      this.takeKey();
    });
    on('key-cancel', 'click', () => $('key-dialog').close());
    on('key-forget', 'click', () => {
      key.set('', false);
      $('key').value = '';
      say('The key is forgotten');
    });
  }
}

new App().start();
