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

async function request(path, {body = null, signal = null, token = keyInUse} = {}) {
  const headers = body === null ? {} : {'Content-Type': 'application/json'};
  if (token) {
    // What cannot stand in a header cannot be a key.
    if (!/^[\x21-\x7e]+$/.test(token)) throw new ApiError('An API key has no blanks and no letters beyond ASCII.', {status: 401, code: 'invalid_api_key'});
    headers.Authorization = `Bearer ${token}`;
  }
  let answer;
  try {
    answer = await fetch(path, {method: body === null ? 'GET' : 'POST', headers, body: body && JSON.stringify(body), signal,
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

/**
 * Yields the parsed chunks of a streamed chat. Throws ApiError, also for an error that comes in the middle and for a stream that ends
 * before it said so (code "cut"), and AbortError where `signal` stopped it.
 */
export async function* streamChat(body, signal) {
  const answer = await request('v1/chat/completions', {body: {...body, stream: true, stream_options: {include_usage: true, continuous_usage_stats: true}}, signal});
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  const events = new EventReader();
  try {
    for (;;) {
      const piece = await reader.read().catch((error) => {
        if (error.name === 'AbortError' || signal.aborted) throw new DOMException('stopped', 'AbortError');
        throw cut();
      });
      if (piece.done) throw cut();
      for (const data of events.feed(piece.value)) {
        if (data === '[DONE]') return;
        const chunk = JSON.parse(data);
        if (chunk.error) throw new ApiError(chunk.error.message, {status: Number(chunk.error.status) || 500, code: chunk.error.code ?? ''});
        yield chunk;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

const cut = () => new ApiError('The connection broke before the answer was complete. What had arrived is kept.', {code: 'cut'});
