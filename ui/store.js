// SPDX-License-Identifier: Apache-2.0
// Conversations in the browser (IndexedDB), and as a file. Where the browser keeps nothing they live in the page, and it is said.
import {makeId} from './dom.js';

const FORMAT = 'quern-conversations', VERSION = 1;
const MOST_CONVERSATIONS = 10_000, MOST_MESSAGES = 100_000;

const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

export class Store {
  /** `onproblem(words)` hears once of each reason why something is not kept. */
  constructor(onproblem) {
    const told = new Set();
    this.onproblem = (words) => told.has(words) || (told.add(words), onproblem(words));
    this.memory = new Map();
    this.db = null;
  }

  async open() {
    try {
      const request = indexedDB.open('quern', 1);
      request.onupgradeneeded = () => request.result.createObjectStore('conversations', {keyPath: 'id'});
      this.db = await done(request);
      for (const one of await done(this.objects('readonly').getAll())) if (isConversation(one)) this.memory.set(one.id, one);
    } catch (error) {
      this.onproblem(`This browser keeps nothing (${error.message || error.name}): conversations are gone when the page is closed. Export what you need.`);
    }
  }

  objects(mode) {
    return this.db.transaction('conversations', mode).objectStore('conversations');
  }

  /** The newest first. */
  all() {
    return [...this.memory.values()].sort((a, b) => b.updated - a.updated);
  }

  get(id) {
    return this.memory.get(id);
  }

  /** True if it is on disk now. Messages that another tab has added meanwhile stay. */
  async save(conversation) {
    this.memory.set(conversation.id, conversation);
    if (!this.db) return false;
    try {
      const objects = this.objects('readwrite');
      const stored = await done(objects.get(conversation.id));
      const dropped = new Set(conversation.dropped ?? []);
      for (const [id, message] of Object.entries(stored?.messages ?? {}))
        if (!conversation.messages[id] && !dropped.has(id)) conversation.messages[id] = message;
      await done(objects.put(conversation));
      return true;
    } catch (error) {
      this.onproblem(error.name === 'QuotaExceededError' ?
        'The browser\'s storage is full: what is new stays in this tab alone. Export it, or delete conversations with pictures.' :
        `The browser could not keep this conversation (${error.message || error.name}): it stays in this tab alone. Export it.`);
      return false;
    }
  }

  async remove(id) {
    this.memory.delete(id);
    if (this.db) await done(this.objects('readwrite').delete(id)).catch((error) => this.onproblem(`Not deleted: ${error.message}`));
  }

  /** The text of a file of these conversations. */
  export(conversations = this.all()) {
    return JSON.stringify({format: FORMAT, version: VERSION, exported: new Date().toISOString(), conversations}, null, 1);
  }

  /** Adds what a file holds beside what is here; how many that were. Throws an Error in words. */
  async import(text) {
    const conversations = parseExport(text);
    for (const one of conversations) {
      const mine = this.memory.get(one.id);
      // The same conversation again: keep both, unless nothing differs.
      if (mine && JSON.stringify(parseExport(this.export([mine]))[0]) === JSON.stringify(one)) continue;
      if (mine) one.id = makeId();
      await this.save(one);
    }
    return conversations.length;
  }
}

function isMessage(message, id) {
  return typeof message === 'object' && message !== null && message.id === id && /^[a-z0-9]{1,64}$/i.test(id) && typeof message.text === 'string' &&
    ['user', 'assistant', 'tool'].includes(message.role) && (message.parent === null || typeof message.parent === 'string') && typeof message.at === 'number';
}

function isConversation(one) {
  return typeof one === 'object' && one !== null && typeof one.id === 'string' && typeof one.title === 'string' &&
    typeof one.messages === 'object' && one.messages !== null;
}

function isSound(sound) {
  return typeof sound?.url === 'string' && /^data:audio\/[a-z]+;base64,/.test(sound.url) && ['wav', 'mp3', 'flac', 'ogg'].includes(sound.format);
}

function isPicture(picture) {
  return typeof picture?.url === 'string' && picture.url.startsWith('data:image/');
}

// Only what this page knows, each of its type: a file may come from anybody.
function cleanMessage(message) {
  const out = {id: message.id, parent: message.parent, role: message.role, text: message.text, at: message.at};
  out.state = ['done', 'stopped', 'cut', 'failed'].includes(message.state) ? message.state : 'cut';
  if (message.isJson === true) out.isJson = true;
  for (const name of ['reasoning', 'callId', 'name', 'model']) if (typeof message[name] === 'string') out[name] = message[name];
  if (Array.isArray(message.pictures)) out.pictures = message.pictures.filter(isPicture).map(({url, name}) => ({url, name: String(name ?? 'picture')}));
  if (Array.isArray(message.sounds)) out.sounds = message.sounds.filter(isSound).map(({url, format, name}) => ({url, format, name: String(name ?? 'recording')}));
  if (Array.isArray(message.calls))
    out.calls = message.calls.filter((call) => call && typeof call.name === 'string')
      .map((call) => ({id: String(call.id ?? ''), name: call.name, arguments: String(call.arguments ?? '')}));
  if (typeof message.error === 'object' && message.error && typeof message.error.message === 'string') out.error = {message: message.error.message};
  if (typeof message.stats === 'object' && message.stats)
    out.stats = Object.fromEntries(Object.entries(message.stats).filter(([, value]) => typeof value === 'number' || typeof value === 'string'));
  return out;
}

function cleanConversation(one, number) {
  const where = `conversation ${number + 1}`;
  if (!isConversation(one)) throw new Error(`${where} lacks its id, title or messages`);
  const entries = Object.entries(one.messages);
  if (entries.length > MOST_MESSAGES) throw new Error(`${where} has more than ${MOST_MESSAGES} messages`);
  const messages = {};
  for (const [id, message] of entries) {
    if (!isMessage(message, id)) throw new Error(`${where}: message "${id.slice(0, 40)}" is not of the form that this page writes`);
    messages[id] = cleanMessage(message);
  }
  const sound = new Set();
  for (const message of Object.values(messages)) {
    if (message.parent !== null && !messages[message.parent]) throw new Error(`${where}: a message follows one that is not in the file`);
    const trail = new Set();
    for (let at = message; at && !sound.has(at.id); at = messages[at.parent]) {
      if (trail.has(at.id)) throw new Error(`${where}: messages follow each other in a circle`);
      trail.add(at.id);
    }
    for (const id of trail) sound.add(id);
  }
  const time = (value) => (typeof value === 'number' && Number.isFinite(value) ? value : Date.now());
  return {id: one.id, title: one.title.slice(0, 200), isNamed: one.isNamed === true, created: time(one.created), updated: time(one.updated),
          leaf: messages[one.leaf] ? one.leaf : Object.keys(messages).at(-1) ?? null, messages};
}

/** The conversations in the text of a file. Throws an Error in words. */
export function parseExport(text) {
  let file;
  try {
    file = JSON.parse(text);
  } catch (error) {
    throw new Error(`the file is not JSON (${error.message})`);
  }
  if (file?.format !== FORMAT || !Array.isArray(file.conversations)) throw new Error('the file was not exported by this page');
  if (file.version > VERSION) throw new Error(`the file is of version ${file.version}, and this page reads up to ${VERSION}`);
  if (file.conversations.length > MOST_CONVERSATIONS) throw new Error(`the file has more than ${MOST_CONVERSATIONS} conversations`);
  return file.conversations.map(cleanConversation);
}
