// SPDX-License-Identifier: Apache-2.0
// What the page asks of the server, and the key it asks with. Errors carry the server's own words.

const KEY = 'quern.key';

const stores = () => {
  const out = [];
  for (const name of ['sessionStorage', 'localStorage']) {
    try {
      out.push(window[name]);
    } catch {
      // A browser that keeps nothing: the key lives as long as the page.
    }
  }
  return out;
};

let keyInUse = stores().map((store) => store.getItem(KEY)).find((value) => value) ?? '';

export const key = {
  get: () => keyInUse,
  isKept: () => stores().at(-1)?.getItem(KEY) === keyInUse && keyInUse !== '',
  /** `keeps`: in this browser; else in this tab. */
  set(value, keeps) {
    keyInUse = value;
    const [tab, browser] = [stores()[0], stores().at(-1)];
    try {
      tab?.removeItem(KEY);
      browser?.removeItem(KEY);
      if (value) (keeps ? browser : tab)?.setItem(KEY, value);
    } catch {
      // Full: as above.
    }
  },
};

export class ApiError extends Error {
  constructor(message, {status = 0, code = '', param = null} = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
  }
  get isKeyMissing() {
    return this.status === 401;
  }
  get isUnreachable() {
    return this.code === 'unreachable';
  }
}

const unreachable = () => new ApiError('The server does not answer. If it was stopped, start it again; nothing is lost here.', {code: 'unreachable'});

function errorOf(status, text) {
  try {
    const {error} = JSON.parse(text);
    if (typeof error.message === 'string') return new ApiError(error.message, {status, code: error.code ?? '', param: error.param ?? null});
  } catch {
    // Not this server's form: a proxy between.
  }
  return new ApiError(`The answer was ${status}, without words that this page understands. Is there a proxy between?`, {status});
}

// `body`: what becomes JSON, or a form.
async function request(path, {body = null, signal = null, token = keyInUse} = {}) {
  const isForm = body instanceof FormData;
  const headers = body === null || isForm ? {} : {'Content-Type': 'application/json'};
  if (token) {
    // What cannot stand in a header cannot be a key.
    if (!/^[\x21-\x7e]+$/.test(token)) throw new ApiError('An API key has no blanks and no letters beyond ASCII.', {status: 401, code: 'invalid_api_key'});
    headers.Authorization = `Bearer ${token}`;
  }
  let answer;
  try {
    answer = await fetch(path, {method: body === null ? 'GET' : 'POST', headers, body: isForm ? body : body && JSON.stringify(body), signal,
                                cache: 'no-store', credentials: 'same-origin'});
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw unreachable();
  }
  if (!answer.ok) throw errorOf(answer.status, await answer.text().catch(() => ''));
  return answer;
}

export async function getJson(path, options = {}) {
  const answer = await request(path, options);
  try {
    return await answer.json();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw unreachable();
  }
}

/** True, false (it says it cannot work), or null: no answer. */
export async function isReady() {
  try {
    return (await fetch('ready', {cache: 'no-store'})).ok;
  } catch {
    return null;
  }
}

/** Pieces of server-sent events: feed(text) gives the data of each that is complete. */
export class EventReader {
  constructor() {
    this.rest = '';
  }
  feed(text) {
    const events = (this.rest + text).split('\n\n');
    this.rest = events.pop();
    return events.map((event) => event.split('\n').filter((line) => line.startsWith('data:')).map((line) => line.slice(5).trimStart()).join('\n'))
      .filter((data) => data !== '');
  }
}

const cut = () => new ApiError('The connection broke before the answer was complete. What had arrived is kept.', {code: 'cut'});

// What arrives, piece by piece: bytes, or text where `decoder` makes it of them. A stream that was left is ended.
async function* piecesOf(answer, signal, decoder = null) {
  const reader = (decoder ? answer.body.pipeThrough(decoder) : answer.body).getReader();
  try {
    for (;;) {
      const piece = await reader.read().catch((error) => {
        if (error.name === 'AbortError' || signal.aborted) throw new DOMException('stopped', 'AbortError');
        throw cut();
      });
      if (piece.done) return;
      yield piece.value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// The parsed events up to [DONE]. Throws ApiError, also for an error that comes in the middle and for a stream that ends before it said so
// (code "cut"), and AbortError where `signal` stopped it.
async function* eventsOf(answer, signal) {
  const events = new EventReader();
  for await (const text of piecesOf(answer, signal, new TextDecoderStream()))
    for (const data of events.feed(text)) {
      if (data === '[DONE]') return;
      const event = JSON.parse(data);
      if (event.error) throw new ApiError(event.error.message, {status: Number(event.error.status) || 500, code: event.error.code ?? ''});
      yield event;
    }
  throw cut();
}

/** Yields the parsed chunks of a streamed chat. Throws as eventsOf does. */
export async function* streamChat(body, signal) {
  yield* eventsOf(await request('v1/chat/completions', {body: {...body, stream: true, stream_options: {include_usage: true, continuous_usage_stats: true}}, signal}), signal);
}

function transcriptionForm(file, name, fields) {
  const form = new FormData();
  // The same sound, the same text: also where one is drawn again.
  for (const [field, value] of Object.entries({response_format: 'json', seed: '0', ...fields})) if (value) form.append(field, value);
  form.append('file', file, name);
  return form;
}

/** Yields events transcript.text.delta {delta} and transcript.text.done {text}. Throws as eventsOf does. */
export async function* streamTranscript(file, name, model, signal) {
  const body = transcriptionForm(file, name, {model, stream: 'true'});
  yield* eventsOf(await request('v1/audio/transcriptions', {body, signal}), signal);
}

/** A quick transcript, for as long as there is no other: its text. */
export async function draftTranscript(file, model, signal) {
  const body = transcriptionForm(file, 'draft.wav', {model, temperature: '0'});
  return (await getJson('v1/audio/transcriptions', {body, signal})).text;
}

/** Yields 16-bit samples at 24 kHz of a text that is read aloud, as they come. Throws ApiError, and AbortError where `signal` stopped it. */
export async function* streamSpeech(body, signal) {
  const answer = await request('v1/audio/speech', {body: {...body, response_format: 'pcm', stream: true}, signal});
  let rest = new Uint8Array(0);   // half a sample
  for await (const piece of piecesOf(answer, signal)) {
    const bytes = new Uint8Array(rest.length + piece.length);
    bytes.set(rest);
    bytes.set(piece, rest.length);
    const even = bytes.length & ~1;
    rest = bytes.slice(even);
    if (even) yield new Int16Array(bytes.buffer, 0, even / 2);
  }
}
