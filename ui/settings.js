// SPDX-License-Identifier: Apache-2.0
// The settings panel: instructions, sampling, structured output, tools. What is left empty is not sent, so the model's own applies.
import {$, el, recall, remember} from './dom.js';

const NAME = 'quern.settings';

const NUMBERS = [
  ['temperature', 'Temperature', {min: 0, max: 2, step: 0.1}, '0 takes the likeliest token'],
  ['top_p', 'Top p', {min: 0, max: 1, step: 0.05}, 'draw from this share of the likelihood'],
  ['top_k', 'Top k', {min: -1, step: 1}, 'draw from so many tokens'],
  ['min_p', 'Min p', {min: 0, max: 1, step: 0.01}, 'leave out what is less likely than this share of the best'],
  ['max_tokens', 'Most tokens', {min: 1, step: 1}, 'length of an answer'],
  ['repetition_penalty', 'Repetition penalty', {min: 0.1, max: 2, step: 0.05}, 'above 1: less of what was said'],
  ['frequency_penalty', 'Frequency penalty', {min: -2, max: 2, step: 0.1}, 'per time that a token was used'],
  ['presence_penalty', 'Presence penalty', {min: -2, max: 2, step: 0.1}, 'once for a token that was used'],
  ['seed', 'Seed', {step: 1}, 'the same seed draws the same answer'],
];

const KINDS = [
  ['none', 'Free text', null],
  ['schema', 'JSON schema', 'Paste a JSON schema'],
  ['object', 'Any JSON object', null],
  ['regex', 'Regular expression', '[A-Z][a-z]+ \\d{4}'],
  ['choice', 'Choices', 'One choice a line'],
];

const EXAMPLE = {
  type: 'object',
  properties: {city: {type: 'string'}, country: {type: 'string'}, inhabitants: {type: 'integer', minimum: 0}},
  required: ['city', 'country', 'inhabitants'],
  additionalProperties: false,
};

const clean = (saved) => {
  const text = (value) => (typeof value === 'string' ? value : '');
  const out = {system: text(saved?.system), stop: text(saved?.stop), tools: text(saved?.tools), choice: text(saved?.choice) || 'auto', numbers: {},
               kind: KINDS.some(([kind]) => kind === saved?.kind) ? saved.kind : 'none', texts: {}};
  for (const [name] of NUMBERS) if (text(saved?.numbers?.[name])) out.numbers[name] = saved.numbers[name];
  for (const [kind] of KINDS) if (text(saved?.texts?.[kind])) out.texts[kind] = saved.texts[kind];
  return out;
};

function parsed(text, what) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${what} is not JSON: ${error.message}`);
  }
}

/** The constraint's request fields. Throws an Error in words. */
export function constraintOf(kind, text) {
  if (kind === 'object') return {response_format: {type: 'json_object'}};
  if (kind === 'none') return {};
  if (!text.trim()) throw new Error({schema: 'Paste a JSON schema, or choose free text', regex: 'Write a regular expression, or choose free text',
                                     choice: 'Write a choice, or choose free text'}[kind]);
  if (kind === 'regex') return {structured_outputs: {regex: text.trim()}};
  if (kind === 'choice') return {structured_outputs: {choice: text.split('\n').map((line) => line.trim()).filter((line) => line)}};
  const schema = parsed(text, 'The schema');
  if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) throw new Error('A schema is a JSON object');
  // The whole response_format, as it stands in programs, is understood too.
  if (schema.type === 'json_schema' && schema.json_schema) return {response_format: schema};
  return {response_format: {type: 'json_schema', json_schema: {name: 'answer', schema}}};
}

export class Settings {
  constructor(onchange) {
    this.onchange = onchange;
    this.values = clean(recall(NAME, {}));
    this.build();
  }

  get system() {
    return this.values.system;
  }
  get kind() {
    return this.values.kind;
  }
  get kindName() {
    return KINDS.find(([kind]) => kind === this.values.kind)[1];
  }
  get isJson() {
    return this.values.kind === 'schema' || this.values.kind === 'object';
  }

  /** What goes into a request beside model and messages. Throws an Error in words. */
  fields() {
    const out = {};
    for (const [name, label] of NUMBERS) {
      const text = this.values.numbers[name];
      if (text === undefined) continue;
      const value = Number(text);
      if (!Number.isFinite(value)) throw new Error(`${label} is no number: ${text}`);
      out[name] = value;
    }
    const stop = this.values.stop.split('\n').filter((line) => line !== '');
    if (stop.length) out.stop = stop;
    if (this.values.tools.trim()) {
      const tools = parsed(this.values.tools, 'The list of tools');
      if (!Array.isArray(tools)) throw new Error('Tools are a JSON list');
      out.tools = tools.map((tool) => (tool?.type === undefined ? {type: 'function', function: tool} : tool));
      out.tool_choice = this.values.choice;
    }
    return Object.assign(out, constraintOf(this.values.kind, this.values.texts[this.values.kind] ?? ''));
  }

  setKind(kind) {
    this.values.kind = kind;
    $('set-kind').value = kind;
    this.showKind();
    this.save();
  }

  save() {
    remember(NAME, this.values);
    this.onchange();
  }

  section(title, isOpen, ...children) {
    return el('details', {open: isOpen}, el('summary', {text: title}), ...children);
  }

  area(name, label, rows, placeholder, read, write) {
    const area = el('textarea', {id: `set-${name}`, rows, placeholder, spellcheck: 'false', oninput: () => {
      write(area.value);
      this.save();
    }});
    area.value = read();
    return el('div', {class: 'field'}, el('label', {for: `set-${name}`, text: label}), area);
  }

  number([name, label, limits, about]) {
    const input = el('input', {id: `set-${name}`, type: 'number', inputmode: 'decimal', placeholder: 'auto', 'aria-describedby': `about-${name}`, ...limits});
    input.value = this.values.numbers[name] ?? '';
    input.addEventListener('input', () => {
      // A number that is half written is no value yet; the browser shows it as wrong.
      if (input.value === '') delete this.values.numbers[name];
      else this.values.numbers[name] = input.value;
      input.setAttribute('aria-invalid', String(!input.validity.valid && !input.validity.stepMismatch));
      this.save();
    });
    return el('div', {class: 'number'}, el('label', {for: `set-${name}`, text: label}), input, el('small', {id: `about-${name}`, text: about}));
  }

  build() {
    const v = this.values;
    const structure = this.structure();
    const choice = el('select', {id: 'set-choice', onchange: () => {
      v.choice = choice.value;
      this.save();
    }}, ...[['auto', 'as it likes'], ['required', 'at least one'], ['none', 'none']].map(([value, text]) => el('option', {value, text})));
    choice.value = v.choice;
    const reset = el('button', {type: 'button', class: 'plain', text: 'Back to the model\'s own', onclick: () => {
      this.values = clean({system: v.system, tools: v.tools, texts: v.texts});
      this.save();
      this.build();
    }});
    $('settings').replaceChildren(
      this.section('Instructions', true, this.area('system', 'System message', 4, 'None', () => v.system, (text) => (v.system = text))),
      this.section('Sampling', true, el('p', {class: 'about', text: 'Left empty, the model\'s own value applies.'}),
                   el('div', {class: 'numbers'}, ...NUMBERS.map((number) => this.number(number))),
                   this.area('stop', 'Stop at', 2, 'One text a line', () => v.stop, (text) => (v.stop = text)), reset),
      this.section('Structured output', true, ...structure),
      this.section('Tools', v.tools !== '', this.area('tools', 'Functions, as a JSON list', 6,
                   '[{"name": "get_weather", "description": "…", "parameters": {"type": "object", …}}]', () => v.tools, (text) => (v.tools = text)),
                   el('div', {class: 'field'}, el('label', {for: 'set-choice', text: 'Calls'}), choice)));
    $('settings').addEventListener('submit', (event) => event.preventDefault());
    this.showKind();
  }

  structure() {
    const kind = el('select', {id: 'set-kind', onchange: () => this.setKind(kind.value)}, ...KINDS.map(([value, text]) => el('option', {value, text})));
    kind.value = this.values.kind;
    this.text = el('textarea', {id: 'set-constraint', class: 'mono', rows: 9, spellcheck: 'false', 'aria-describedby': 'constraint-problem', oninput: () => {
      this.values.texts[this.values.kind] = this.text.value;
      this.check();
      this.save();
    }});
    this.problem = el('p', {id: 'constraint-problem', class: 'error', role: 'status', hidden: true});
    this.example = el('button', {type: 'button', class: 'link', text: 'An example', onclick: () => {
      this.text.value = JSON.stringify(EXAMPLE, null, 2);
      this.text.dispatchEvent(new Event('input'));
      this.text.focus();
    }});
    this.textLabel = el('label', {for: 'set-constraint'});
    this.textField = el('div', {class: 'field'}, el('div', {class: 'between'}, this.textLabel, this.example), this.text, this.problem);
    return [el('div', {class: 'field'}, el('label', {for: 'set-kind', text: 'An answer is'}), kind), this.textField];
  }

  showKind() {
    const [kind, name, placeholder] = KINDS.find(([each]) => each === this.values.kind);
    this.textField.hidden = placeholder === null;
    this.textLabel.textContent = name;
    this.text.placeholder = placeholder ?? '';
    this.text.value = this.values.texts[kind] ?? '';
    this.example.hidden = kind !== 'schema';
    this.check();
  }

  // What is wrong is said while it is written, but an empty box is no mistake yet.
  check() {
    let words = '';
    try {
      if (this.text.value.trim()) constraintOf(this.values.kind, this.text.value);
    } catch (error) {
      words = error.message;
    }
    this.problem.hidden = words === '';
    this.problem.textContent = words;
    this.text.setAttribute('aria-invalid', String(words !== ''));
  }
}
