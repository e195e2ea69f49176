// SPDX-License-Identifier: Apache-2.0
// The live page of the engine: queue, KV cache, prefix cache, rates; and which rank holds what, from the plan that serving goes by.
import {getJson} from './api.js';
import {Line, bar, colour} from './charts.js';
import {$, bytes, el, shortNumber} from './dom.js';

const EVERY_MS = 1000;

const KINDS = [
  ['embedding_table', 'embedding table', 0], ['attention', 'attention', 1], ['mlp', 'MLP', 2], ['experts', 'experts', 3], ['vision_tower', 'vision tower', 4],
  ['output_matrix', 'output matrix', 5], ['norms', 'norms', 6], ['scratch', 'scratch', 7], ['encoded_pictures', 'encoded pictures', 8], ['logits', 'logits', 9],
  ['kv', 'KV cache', 10]];

const AXES = [
  ['layers', 'Layers'], ['attention_heads', 'Attention heads'], ['kv_heads', 'KV heads'], ['mlp_units', 'MLP units'], ['experts', 'Experts'],
  ['expert_units', 'Units of an expert'], ['vocabulary_rows', 'Vocabulary']];

const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;

function card(title, about, line) {
  const value = el('p', {class: 'value', text: '–'}), detail = el('p', {class: 'about', text: about});
  const root = el('div', {class: 'card'}, el('h3', {text: title}), value, detail, line?.root);
  return {root, set: (text, words) => {
    value.textContent = text;
    if (words !== undefined) detail.textContent = words;
  }};
}

export class EnginePage {
  /** `onerror(error)`: a key is missing, or nobody answers. */
  constructor(onerror) {
    this.onerror = onerror;
    this.isOpen = false;
    this.root = $('engine');
    this.plan = undefined;
    document.addEventListener('visibilitychange', () => {
      if (this.isOpen && !document.hidden) this.tick();
    });
  }

  open() {
    this.isOpen = true;
    if (!this.cards) this.build();
    this.before = this.said = null;
    this.tick();
  }

  close() {
    this.isOpen = false;
    clearTimeout(this.timer);
  }

  build() {
    this.lines = {
      requests: new Line('Requests over two minutes'), kv: new Line('KV cache over two minutes', {top: 1}),
      prefix: new Line('Prefix hits over two minutes', {top: 1}), rate: new Line('Generated tokens a second over two minutes')};
    this.cards = {
      requests: card('Requests', '', this.lines.requests), kv: card('KV cache in use', '', this.lines.kv),
      prefix: card('Prefix-cache hits', '', this.lines.prefix), rate: card('Tokens a second', '', this.lines.rate)};
    this.words = el('p', {class: 'engine-state', role: 'status'});
    this.facts = el('dl', {class: 'facts'});
    this.ranks = el('div', {class: 'ranks'});
    this.root.replaceChildren(el('div', {class: 'engine-inner'},
      el('h2', {text: 'Engine'}), this.words, el('div', {class: 'cards'}, ...Object.values(this.cards).map((one) => one.root)), this.facts, this.ranks));
  }

  async tick() {
    clearTimeout(this.timer);
    if (!this.isOpen || document.hidden || this.isAsking) return;
    this.isAsking = true;
    try {
      this.show(await getJson('v1/engine'));
      this.words.classList.remove('bad');
      this.said = null;
    } catch (error) {
      this.words.textContent = error.message;
      this.words.classList.add('bad');
      this.before = null;
      if (this.said !== error.message) this.onerror(error);
      this.said = error.message;
    }
    this.isAsking = false;
    if (this.isOpen) this.timer = setTimeout(() => this.tick(), EVERY_MS);
  }

  show(now) {
    this.words.textContent = now.is_stalled ? 'A step has not returned in time: requests fail until it does.' :
      now.is_recovering ? 'Lost workers are being replaced; running answers wait and then go on.' :
      now.is_healthy ? `${now.models.join(', ')} · quern ${now.version}` : 'The engine does not answer.';
    this.showRequests(now);
    this.showCaches(now);
    this.showRates(now);
    this.showFacts(now);
    this.showPlan(now);
    this.before = {at: performance.now(), prompt: now.tokens.prompt, generated: now.tokens.generated, queried: now.prefix_cache.queried_tokens, hit: now.prefix_cache.hit_tokens};
  }

  showRequests({requests}) {
    const {running, waiting, preempted} = requests;
    this.cards.requests.set(String(running), `running, ${waiting} waiting${preempted ? `, ${preempted} preempted` : ''}`);
    this.lines.requests.push(running + waiting, `${running} running, ${waiting} waiting`);
  }

  showCaches({kv_cache: kv, prefix_cache: prefix}) {
    const used = kv.blocks ? kv.blocks_used / kv.blocks : 0;
    this.cards.kv.set(percent(used), `${kv.blocks_used} of ${kv.blocks} blocks, ${shortNumber(kv.blocks * kv.block_size)} tokens in ${kv.dtype}`);
    this.lines.kv.push(used, percent(used));
    const all = prefix.queried_tokens ? prefix.hit_tokens / prefix.queried_tokens : 0;
    this.cards.prefix.set(percent(all), `${shortNumber(prefix.hit_tokens)} of ${shortNumber(prefix.queried_tokens)} prompt tokens were known`);
    const asked = this.before ? prefix.queried_tokens - this.before.queried : 0;
    if (asked > 0) this.lastHits = (prefix.hit_tokens - this.before.hit) / asked;
    this.lines.prefix.push(this.lastHits ?? all, percent(all));
  }

  showRates({tokens}) {
    const {before} = this;
    const over = before ? (performance.now() - before.at) / 1000 : 0;
    const rate = over > 0 ? Math.max(0, tokens.generated - before.generated) / over : 0;
    const read = over > 0 ? Math.max(0, tokens.prompt - before.prompt) / over : 0;
    this.cards.rate.set(rate < 100 ? rate.toFixed(1) : rate.toFixed(0), `generated; ${shortNumber(read)} of prompts; ${shortNumber(tokens.generated)} since the start`);
    this.lines.rate.push(rate, `${rate.toFixed(1)}`);
  }

  showFacts({engine, max_model_len: length}) {
    const facts = [['Steps', shortNumber(engine.steps)], ['Preemptions', engine.preemptions], ['Longest request', `${shortNumber(length)} tokens`], ['Workers lost', engine.losses]];
    this.facts.replaceChildren(...facts.map(([name, value]) => el('div', {}, el('dt', {text: name}), el('dd', {text: String(value)}))));
  }

  // Drawn again only where something changed: it is looked at with the pointer.
  showPlan({plan, kv_cache: kv, workers}) {
    const text = JSON.stringify([plan, workers.map((worker) => Math.round(worker.memory_bytes / (1 << 22)))]);
    if (text === this.plan) return;
    this.plan = text;
    if (!plan) return this.ranks.replaceChildren();
    const {ranks} = plan, tokens = kv.blocks * kv.block_size;
    const title = ranks.length === 1 ? 'One rank holds everything' : `${ranks.length} ranks: ${plan.tensor_parallel_size} share each layer${plan.pipeline_parallel_size > 1 ? `, in ${plan.pipeline_parallel_size} stages` : ''}`;
    this.ranks.replaceChildren(
      el('h2', {text: 'Ranks and shards'}), el('p', {class: 'about', text: `${title}. ${plan.architecture}${plan.quantization ? `, ${plan.quantization}` : ''}.`}),
      ...this.memory(plan, tokens, workers), ...this.axes(plan));
  }

  // A plan counts the ranks of each stage from 0, workers are counted through.
  memory({ranks, pipeline_parallel_size: stages}, tokens, workers) {
    const sizes = ranks.map(({bytes: b}) => ({...b, kv: b.kv_per_token * tokens}));
    const totals = sizes.map((size) => KINDS.reduce((sum, [kind]) => sum + (size[kind] ?? 0), 0));
    const most = Math.max(...totals);
    const used = KINDS.filter(([kind]) => sizes.some((size) => size[kind] > 0));
    const fill = (index) => `var(--kind-${index})`;
    const legend = el('ul', {class: 'legend'}, ...used.map(([, name, index]) => {
      const dot = el('i');
      dot.style.background = fill(index);
      return el('li', {}, dot, el('span', {text: name}));
    }));
    const rows = ranks.map((rank, i) => {
      const worker = workers.find((one) => one.rank === i);
      const parts = used.map(([kind, name, index]) => ({size: sizes[i][kind] ?? 0, name: `${name} ${bytes(sizes[i][kind] ?? 0)}`, fill: fill(index)}));
      const words = `${bytes(totals[i])} planned${worker ? `, ${bytes(worker.memory_bytes)} taken now` : ''}`;
      return el('div', {class: 'rank'}, el('span', {class: 'rank-name', text: stages > 1 ? `Rank ${i}, stage ${rank.stage}` : `Rank ${i}`}), bar(`Memory of rank ${i}`, parts, most),
                el('span', {class: 'rank-about', text: words}));
    });
    return [el('h3', {text: 'Memory'}), legend, ...rows];
  }

  // Each axis of the model as one bar, in the colours of the ranks that hold its parts. Stages hold different layers, and ranks of one
  // stage the same ones.
  axes({ranks, tensor_parallel_size: tensor}) {
    if (ranks.length === 1) return [el('h3', {text: 'Axes'}), el('dl', {class: 'facts'}, ...AXES.filter(([name]) => ranks[0][name] > 0).map(([name, title]) =>
      el('div', {}, el('dt', {text: title}), el('dd', {text: ranks[0][name].toLocaleString('en')}))))];
    const rows = AXES.filter(([name]) => ranks.some((rank) => rank[name] > 0)).map(([name, title]) => {
      const isLayers = name === 'layers';
      const holders = isLayers ? ranks.filter((_, i) => i % tensor === 0) : ranks.slice(0, tensor);
      const shown = holders.some((rank) => rank[name] > 0) ? holders : ranks.slice(-tensor);
      const parts = shown.map((rank) => ({
        size: rank[name], fill: isLayers ? `var(--kind-${rank.stage % 2 ? 9 : 0})` : colour(rank.rank, tensor),
        name: `${isLayers ? 'stage' : 'rank'} ${isLayers ? rank.stage : rank.rank}: ${rank[name].toLocaleString('en')}`,
        text: isLayers && holders.length > 1 ? `stage ${rank.stage}: ${rank[name]}` : shortNumber(rank[name])}));
      const sum = parts.reduce((all, part) => all + part.size, 0);
      return el('div', {class: 'rank'}, el('span', {class: 'rank-name', text: title}), bar(title, parts), el('span', {class: 'rank-about', text: sum.toLocaleString('en')}));
    });
    const names = el('ul', {class: 'legend'}, ...ranks.slice(0, tensor).map((rank, i) => {
      const dot = el('i');
      dot.style.background = colour(i, tensor);
      return el('li', {}, dot, el('span', {text: ranks.length > tensor ? `rank ${rank.rank} of each stage` : `rank ${rank.rank}`}));
    }));
    return [el('h3', {text: 'Who holds what'}), ranks.length <= 16 ? names : null, ...rows].filter((node) => node);
  }
}
