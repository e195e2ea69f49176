// SPDX-License-Identifier: Apache-2.0
// Chat: a conversation on the screen and the answers that are being written, also those of conversations not on the screen.
import {$, notice, say} from './dom.js';
import {streamChat} from './api.js';
import {MessageView, emptyState, listenForCopies} from './message_view.js';
import {add, choose, drop, hasMedia, mediaOf, pathOf, siblingsOf, wireOf} from './tree.js';

const FRAME_MS = 33, SAVE_MS = 1000;

// One answer under way: reads chunks into its message and keeps the times.
class Run {
  constructor(conversation, message) {
    this.conversation = conversation;
    this.message = message;
    this.control = new AbortController();
    this.began = performance.now();
    this.stats = {};
  }

  async read(body) {
    for await (const chunk of streamChat(body, this.control.signal)) this.take(chunk);
  }

  take(chunk) {
    const m = this.message, now = performance.now();
    const choice = chunk.choices?.[0], delta = choice?.delta ?? {};
    const thought = delta.reasoning ?? delta.reasoning_content;
    const usage = chunk.usage;
    if (delta.content || thought || delta.tool_calls?.length) {
      if (this.firstAt === undefined) {
        this.firstAt = now;
        this.firstTokens = usage?.completion_tokens ?? 1;
        this.stats.first = (now - this.began) / 1000;
      }
      this.lastAt = now;
      if (usage) this.lastTokens = usage.completion_tokens;
    }
    if (thought) m.reasoning = (m.reasoning ?? '') + thought;
    if (m.reasoning && this.stats.thought === undefined && (delta.content || delta.tool_calls?.length)) this.stats.thought = (now - this.firstAt) / 1000;
    if (delta.content) m.text += delta.content;
    for (const call of delta.tool_calls ?? []) this.takeCall(call);
    if (choice?.finish_reason) this.stats.finish = choice.finish_reason;
    if (usage) this.count(usage);
    m.stats = this.stats;
    this.onchange?.();
  }

  takeCall({index, id, function: part = {}}) {
    const calls = (this.message.calls ??= []);
    const call = (calls[index ?? calls.length] ??= {id: id ?? '', name: '', arguments: ''});
    call.name += part.name ?? '';
    call.arguments += part.arguments ?? '';
  }

  count(usage) {
    const s = this.stats;
    s.tokens = usage.completion_tokens;
    s.prompt = usage.prompt_tokens;
    const cached = usage.prompt_tokens_details?.cached_tokens;
    if (cached) s.cached = cached;
    const tokens = this.lastTokens - this.firstTokens, time = (this.lastAt - this.firstAt) / 1000;
    if (tokens > 0 && time > 0) s.rate = tokens / time;
  }
}

export class Chat {
  /** `host`: {store, settings, model(), sees(), hears(), onchange(), onkey(retry), onlost()}. */
  constructor(host) {
    this.host = host;
    this.conversation = null;
    this.runs = new Map();   // by conversation id
    this.views = new Map();  // by message id, of the conversation that is shown
    this.follows = true;     // the end of the text is kept in view
    this.log = $('log');
    listenForCopies(this.log);
    this.log.addEventListener('scroll', () => this.seeScroll(), {passive: true});
    $('to-end').addEventListener('click', () => {
      this.follows = true;
      this.scroll();
      $('message').focus();
    });
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) for (const run of this.runs.values()) this.host.store.save(run.conversation);
    });
  }

  get isWriting() {
    return this.conversation !== null && this.runs.has(this.conversation.id);
  }

  show(conversation) {
    this.conversation = conversation;
    this.follows = true;
    for (const message of Object.values(conversation.messages))
      if (message.state === 'writing' && this.runs.get(conversation.id)?.message !== message) {
        message.state = 'cut';
        message.error = {message: 'The page was closed while this answer was written. What had arrived is kept.'};
      }
    this.layOut();
  }

  // All messages of the path anew.
  layOut() {
    this.views.clear();
    const path = pathOf(this.conversation);
    const actions = {
      edit: (message, text) => this.edit(message, text), regenerate: (message) => this.regenerate(message),
      choose: (message) => this.choose(message), results: (message, texts) => this.results(message, texts)};
    const views = path.map((message) => {
      const view = new MessageView(message, siblingsOf(this.conversation, message), actions);
      this.views.set(message.id, view);
      return view;
    });
    views.at(-1)?.offerResults();
    const empty = () => emptyState(this.host, (text) => this.send(text, {}));
    $('messages').replaceChildren(...(views.length ? views.map((view) => view.root) : [empty()]));
    this.showState();
    this.scroll();
  }

  showState() {
    $('stop').hidden = !this.isWriting;
    $('send').hidden = this.isWriting;
    this.host.onchange();
  }

  seeScroll() {
    const below = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight;
    this.follows = below < 60;
    $('to-end').hidden = below < 300;
  }

  scroll() {
    if (this.follows) this.log.scrollTop = this.log.scrollHeight;
  }

  /** False if nothing was sent. */
  async send(text, media) {
    if (this.isWriting || (!text.trim() && !hasMedia(media))) return false;
    const fields = this.fields();
    if (!fields) return false;
    this.follows = true;
    const message = add(this.conversation, this.conversation.leaf, {role: 'user', text, ...mediaOf(media)});
    this.answer(message.id, fields);
    return true;
  }

  // Null, and words, where the settings make no request.
  fields() {
    try {
      return this.host.settings.fields();
    } catch (error) {
      notice(`${error.message}.`, 'error', {text: 'Open the settings', run: () => this.host.opensettings()});
      return null;
    }
  }

  edit(message, text) {
    if (this.isWriting) this.stop();
    const fields = this.fields();
    if (!fields) return;
    const next = add(this.conversation, message.parent, {role: 'user', text, ...mediaOf(message)});
    this.answer(next.id, fields);
  }

  regenerate(message) {
    if (this.isWriting) this.stop();
    const fields = this.fields();
    if (!fields) return;
    const isEmpty = !message.text && !message.reasoning && !message.calls?.length;
    const hasChildren = Object.values(this.conversation.messages).some((other) => other.parent === message.id);
    if (isEmpty && !hasChildren) drop(this.conversation, message);
    this.answer(message.parent, fields);
  }

  regenerateLast() {
    const last = pathOf(this.conversation).findLast((message) => message.role === 'assistant');
    if (last) this.regenerate(last);
  }

  editLast() {
    const last = pathOf(this.conversation).findLast((message) => message.role === 'user');
    if (last) this.views.get(last.id)?.edit();
  }

  choose(message) {
    if (this.isWriting) return;
    choose(this.conversation, message);
    this.host.store.save(this.conversation);
    this.follows = false;
    this.layOut();
    this.views.get(message.id)?.root.scrollIntoView({block: 'nearest'});
    say('Another version is shown');
  }

  results(message, texts) {
    if (this.isWriting) return;
    const fields = this.fields();
    if (!fields) return;
    let parent = message.id;
    message.calls.forEach((call, i) => {
      parent = add(this.conversation, parent, {role: 'tool', callId: call.id, name: call.name, text: texts[i]}).id;
    });
    this.answer(parent, fields);
  }

  stop() {
    this.runs.get(this.conversation?.id)?.control.abort();
  }

  async answer(parent, fields) {
    const {conversation, host} = this;
    const path = pathOf({messages: conversation.messages, leaf: parent});
    const model = host.model();
    const message = add(conversation, parent, {role: 'assistant', state: 'writing', model, ...(host.settings.isJson ? {isJson: true} : {})});
    const run = new Run(conversation, message);
    this.runs.set(conversation.id, run);
    run.onchange = () => this.draw(run);
    host.store.save(conversation);
    const saving = setInterval(() => host.store.save(conversation), SAVE_MS);
    this.layOut();
    say('The answer is being written');
    try {
      await run.read({...(model ? {model} : {}), messages: wireOf(path, host.settings.system), ...fields});
      message.state = 'done';
    } catch (error) {
      this.end(run, error);
    }
    clearInterval(saving);
    conversation.updated = Date.now();
    // A later answer may be under way where this one was stopped for it.
    if (this.runs.get(conversation.id) === run) this.runs.delete(conversation.id);
    if (message.calls) message.calls = message.calls.filter((call) => call);
    this.finish(run);
    // Behind the last paragraph, which is read out too; an error says itself.
    if (message.state === 'done') say(`The answer is complete${message.stats?.tokens ? `, ${message.stats.tokens} tokens` : ''}`);
    else if (message.state === 'stopped') say('Stopped');
    await host.store.save(conversation);
  }

  end(run, error) {
    const {message} = run;
    if (error.name === 'AbortError') {
      message.state = 'stopped';
      return;
    }
    const isBegun = message.text !== '' || Boolean(message.reasoning);
    message.state = isBegun ? 'cut' : 'failed';
    message.error = {message: error.message, param: error.param ?? null};
    if (error.code === 'cut' || error.isUnreachable) this.host.onlost();
    if (error.isKeyMissing) this.host.onkey(error.message, () => {
      if (this.conversation === run.conversation) this.regenerate(message);
    });
    if (!(error instanceof Error) || error.status === undefined) console.error(error);
  }

  // At most a frame every FRAME_MS; none while the page is hidden.
  draw(run) {
    if (run.conversation !== this.conversation || run.isDrawing) return;
    run.isDrawing = true;
    const wait = Math.max(0, FRAME_MS - (performance.now() - (run.drawnAt ?? 0)));
    setTimeout(() => requestAnimationFrame(() => {
      run.isDrawing = false;
      run.drawnAt = performance.now();
      if (run.message.state !== 'writing') return;
      this.views.get(run.message.id)?.update();
      this.scroll();
    }), wait);
  }

  finish(run) {
    if (run.conversation !== this.conversation) {
      this.host.onchange();
      return;
    }
    const view = this.views.get(run.message.id);
    view?.update();
    view?.offerResults();
    this.showState();
    this.scroll();
  }
}
