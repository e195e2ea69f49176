// SPDX-License-Identifier: Apache-2.0
// Markdown as models write it, made into elements one by one. No string ever becomes markup: what looks like HTML is text.
// Every search is bounded or remembered, so that no text takes more than a few passes.
import {el} from './dom.js';

const MOST_DEPTH = 8;       // lists in quotes in lists …
const MOST_INLINE = 6;      // emphasis in links in emphasis …
const MOST_LABEL = 1000, MOST_URL = 2000, MOST_COLUMNS = 40;
const ENTITIES = {amp: '&', lt: '<', gt: '>', quot: '"', nbsp: '\u00a0', '#39': '\''};

const indentOf = (line) => {
  let n = 0;
  for (const c of line) {
    if (c === ' ') ++n;
    else if (c === '\t') n += 4;
    else break;
  }
  return n;
};
const isBlank = (line) => line.trim() === '';

/** {mark, length, info} of a line that opens a code block. */
export function fenceOf(line) {
  const at = indentOf(line);
  const text = line.trimStart();
  const mark = text[0];
  if (at > 3 || (mark !== '`' && mark !== '~')) return null;
  let length = 0;
  while (text[length] === mark) ++length;
  const info = text.slice(length).trim();
  if (length < 3 || (mark === '`' && info.includes('`'))) return null;
  return {mark, length, info};
}

export function closesFence(line, fence) {
  const text = line.trim();
  return text.length >= fence.length && indentOf(line) <= 3 && text === fence.mark.repeat(text.length);
}

/** {indent, content, ordered, start} of a line that begins an item. */
export function itemOf(line) {
  const indent = indentOf(line);
  const found = /^(?:([-*+])|(\d{1,9})[.)])(?:[ \t]+|$)/.exec(line.trimStart().slice(0, 64));
  if (!found) return null;
  const body = line.trimStart().slice(found[0].length);
  return {indent, content: indent + Math.min(found[0].length, 5), ordered: found[2] !== undefined, start: Number(found[2] ?? 1), body};
}

function isRule(line) {
  if (line.length > 200) return false;
  const text = line.replaceAll(/\s/g, '');
  return text.length >= 3 && '-*_'.includes(text[0]) && text === text[0].repeat(text.length);
}

function headingOf(line) {
  const found = /^ {0,3}(#{1,6})[ \t]+/.exec(line.slice(0, 64));
  if (!found) return null;
  let text = line.slice(found[0].length).trim();
  const bare = text.replace(/#{1,64}$/, '');
  if (bare === '' || bare.endsWith(' ')) text = bare.trim();
  return {level: found[1].length, text};
}

function cellsOf(line) {
  let text = line.trim();
  if (text.startsWith('|')) text = text.slice(1);
  const cells = [''];
  let inCode = false;
  for (let i = 0; i < text.length; ++i) {
    const c = text[i];
    if (c === '\\' && text[i + 1] === '|') cells[cells.length - 1] += text[++i];
    else if (c === '|' && !inCode) {
      if (cells.length >= MOST_COLUMNS) break;
      cells.push('');
    } else {
      if (c === '`') inCode = !inCode;
      cells[cells.length - 1] += c;
    }
  }
  if (cells.length > 1 && isBlank(cells[cells.length - 1])) cells.pop();
  return cells.map((cell) => cell.trim());
}

/** Alignments of the columns, if the line stands under a table's head. */
export function columnsOf(line) {
  if (line === undefined || line.length > MOST_URL || !line.includes('-') || !line.includes('|')) return null;
  const cells = cellsOf(line);
  if (!cells.every((cell) => /^:?-{1,200}:?$/.test(cell))) return null;
  return cells.map((cell) => (cell.endsWith(':') ? (cell.startsWith(':') ? 'center' : 'end') : 'start'));
}

const beginsBlock = (line) => fenceOf(line) !== null || headingOf(line) !== null || isRule(line) || /^ {0,3}>/.test(line);

function codeBlock(code, info) {
  const language = info.split(/\s/)[0].slice(0, 40);
  const block = el('div', {class: 'code'});
  block.append(el('div', {class: 'code-top'}, el('span', {text: language || 'code'}),
                  el('button', {type: 'button', class: 'link copy-code', text: 'Copy'})));
  block.append(el('pre', {tabindex: '0', 'aria-label': language ? `${language} code` : 'code'}, el('code', {text: code})));
  return block;
}

class Blocks {
  constructor(lines, depth) {
    this.lines = lines;
    this.depth = depth;
    this.at = 0;
    this.out = [];
  }

  all() {
    while (this.at < this.lines.length) {
      const line = this.lines[this.at];
      if (isBlank(line)) ++this.at;
      else if (fenceOf(line)) this.fence(fenceOf(line));
      else if (headingOf(line)) this.heading(headingOf(line));
      else if (isRule(line)) ++this.at, this.out.push(el('hr'));
      else if (/^ {0,3}>/.test(line)) this.quote();
      else if (itemOf(line)) this.list();
      else if (line.includes('|') && columnsOf(this.lines[this.at + 1])) this.table();
      else this.paragraph();
    }
    return this.out;
  }

  within(lines) {
    if (this.depth < MOST_DEPTH) return new Blocks(lines, this.depth + 1).all();
    return [el('p', {text: lines.join('\n')})];
  }

  fence(fence) {
    const begin = ++this.at;
    while (this.at < this.lines.length && !closesFence(this.lines[this.at], fence)) ++this.at;
    this.out.push(codeBlock(this.lines.slice(begin, this.at).join('\n'), fence.info));
    ++this.at;
  }

  heading({level, text}) {
    // The page has its own first heading.
    this.out.push(el(`h${Math.min(level + 1, 6)}`, {class: `h${level}`}, ...inline(text)));
    ++this.at;
  }

  quote() {
    const lines = [];
    while (this.at < this.lines.length) {
      const line = this.lines[this.at];
      const mark = /^ {0,3}> ?/.exec(line);
      if (!mark && (isBlank(line) || beginsBlock(line) || itemOf(line))) break;
      lines.push(mark ? line.slice(mark[0].length) : line);
      ++this.at;
    }
    this.out.push(el('blockquote', {}, ...this.within(lines)));
  }

  list() {
    const first = itemOf(this.lines[this.at]);
    const list = el(first.ordered ? 'ol' : 'ul', first.ordered && first.start !== 1 ? {start: first.start} : {});
    let isLoose = false;
    while (this.at < this.lines.length) {
      const item = itemOf(this.lines[this.at]);
      if (!item || item.ordered !== first.ordered || item.indent > first.indent + 1 || item.indent + 1 < first.indent) break;
      const lines = this.itemLines(item);
      isLoose ||= lines.some((line, i) => isBlank(line) && i + 1 < lines.length);
      list.append(this.item(lines));
    }
    if (isLoose) list.classList.add('loose');
    this.out.push(list);
  }

  // What belongs to the item that begins here; this.at then stands behind it.
  itemLines(item) {
    const lines = [item.body];
    ++this.at;
    let fence = fenceOf(item.body);
    while (this.at < this.lines.length) {
      const line = this.lines[this.at];
      if (isBlank(line)) {
        let next = this.at + 1;
        while (next < this.lines.length && isBlank(this.lines[next])) ++next;
        const after = this.lines[next];
        if (after === undefined || (indentOf(after) <= item.indent + 1 && !(itemOf(after) && indentOf(after) > item.indent + 1))) {
          // A next item behind a blank line goes on with the same list.
          if (after !== undefined && itemOf(after)) this.at = next;
          return lines;
        }
        lines.push('');
        ++this.at;
        continue;
      }
      const isInside = indentOf(line) > item.indent + 1;
      if (!isInside && !fence && (itemOf(line) || beginsBlock(line))) return lines;
      if (!isInside && fence) return lines;
      const bare = line.replace(/^[ \t]+/, '');
      lines.push(' '.repeat(Math.max(0, indentOf(line) - item.content)) + bare);
      const opens = fenceOf(lines[lines.length - 1]);
      if (fence && closesFence(lines[lines.length - 1], fence)) fence = null;
      else if (!fence && opens) fence = opens;
      ++this.at;
    }
    return lines;
  }

  item(lines) {
    const task = /^\[([ xX])\] /.exec(lines[0].slice(0, 4));
    if (task) lines[0] = lines[0].slice(4);
    const inside = this.within(lines);
    // A short item is its text, not a paragraph.
    const isTight = !lines.some(isBlank);
    const nodes = inside.flatMap((node) => (isTight && node.tagName === 'P' ? [...node.childNodes] : [node]));
    const out = el('li', task ? {class: 'task'} : {});
    if (task) out.append(el('input', {type: 'checkbox', disabled: true, checked: task[1] !== ' ', 'aria-label': task[1] === ' ' ? 'open' : 'done'}));
    out.append(...nodes);
    return out;
  }

  table() {
    const head = cellsOf(this.lines[this.at]);
    const aligns = columnsOf(this.lines[this.at + 1]);
    this.at += 2;
    const row = (cells, tag) => el('tr', {}, ...aligns.map((align, i) =>
      el(tag, {class: align, scope: tag === 'th' ? 'col' : null}, ...inline(cells[i] ?? ''))));
    const body = el('tbody');
    while (this.at < this.lines.length && !isBlank(this.lines[this.at]) && this.lines[this.at].includes('|'))
      body.append(row(cellsOf(this.lines[this.at++]), 'td'));
    const table = el('table', {}, el('thead', {}, row(head, 'th')), body);
    this.out.push(el('div', {class: 'wide', tabindex: '0', role: 'region', 'aria-label': 'Table'}, table));
  }

  paragraph() {
    const lines = [this.lines[this.at++]];
    while (this.at < this.lines.length) {
      const line = this.lines[this.at];
      const item = itemOf(line);
      if (isBlank(line) || beginsBlock(line) || (item && (!item.ordered || item.start === 1))) break;
      if (line.includes('|') && columnsOf(this.lines[this.at + 1])) break;
      lines.push(line);
      ++this.at;
    }
    this.out.push(el('p', {}, ...inline(lines.join('\n').trim())));
  }
}

/** The address, if a click on it may go there. */
export function safeUrl(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    return null;
  }
  return ['http:', 'https:', 'mailto:'].includes(url.protocol) ? url.href : null;
}

function link(url, nodes) {
  return el('a', {href: url, target: '_blank', rel: 'noopener noreferrer nofollow', title: url.slice(0, 200)}, ...nodes);
}

class Inline {
  constructor(text, depth) {
    this.text = text;
    this.depth = depth;
    this.at = 0;
    this.plain = '';
    this.out = [];
    this.missing = new Set();  // what does not come any more behind here
  }

  all() {
    const text = this.text;
    while (this.at < text.length) {
      const c = text[this.at];
      const taken = (c === '\\' && this.escape()) || (c === '`' && this.code()) || (c === '\n' && this.lineBreak()) ||
        ((c === '*' || c === '_' || c === '~') && this.emphasis(c)) || (c === '[' && this.bracket(this.at)) ||
        (c === '!' && text[this.at + 1] === '[' && this.bracket(this.at + 1)) || (c === '<' && this.angle()) ||
        (c === 'h' && this.bareUrl()) || (c === '&' && this.entity());
      if (!taken) this.plain += text[this.at++];
    }
    this.flush();
    return this.out;
  }

  flush() {
    if (this.plain) this.out.push(document.createTextNode(this.plain));
    this.plain = '';
  }

  put(node, end) {
    this.flush();
    this.out.push(node);
    this.at = end;
    return true;
  }

  within(text) {
    return this.depth < MOST_INLINE ? new Inline(text, this.depth + 1).all() : [document.createTextNode(text)];
  }

  escape() {
    const next = this.text[this.at + 1];
    if (next === undefined || !/[!-/:-@[-`{-~]/.test(next)) return false;
    this.plain += next;
    this.at += 2;
    return true;
  }

  lineBreak() {
    this.plain = this.plain.trimEnd();
    return this.put(el('br'), this.at + 1);
  }

  entity() {
    const found = /^&(#39|[a-z]{2,5});/.exec(this.text.slice(this.at, this.at + 8));
    if (!found || ENTITIES[found[1]] === undefined) return false;
    this.plain += ENTITIES[found[1]];
    this.at += found[0].length;
    return true;
  }

  code() {
    const text = this.text;
    let length = 1;
    while (text[this.at + length] === '`') ++length;
    const mark = '`'.repeat(length);
    const begin = this.at + length;
    for (let end = this.missing.has(mark) ? -1 : text.indexOf(mark, begin); end >= 0; end = text.indexOf(mark, end)) {
      let run = length;
      while (text[end + run] === '`') ++run;
      if (run === length) {
        const inside = text.slice(begin, end).replaceAll('\n', ' ');
        const isPadded = inside.startsWith(' ') && inside.endsWith(' ') && !isBlank(inside);
        return this.put(el('code', {text: isPadded ? inside.slice(1, -1) : inside}), end + length);
      }
      end += run;
    }
    this.missing.add(mark);
    this.plain += mark;
    this.at = begin;
    return true;
  }

  emphasis(c) {
    const text = this.text;
    let length = 1;
    while (length < 3 && text[this.at + length] === c) ++length;
    if (c === '~' && length !== 2) return false;
    const before = text[this.at - 1] ?? ' ', after = text[this.at + length] ?? ' ';
    if (/\s/.test(after) || (c === '_' && /[\p{L}\p{N}]/u.test(before))) {
      this.plain += text.slice(this.at, this.at + length);
      this.at += length;
      return true;
    }
    for (const size of c === '~' ? [2] : length === 3 ? [3, 2, 1] : [length]) {
      const end = this.closer(c, size, this.at + size);
      if (end < 0) continue;
      const inside = this.within(text.slice(this.at + size, end));
      const node = c === '~' ? el('del', {}, ...inside) : size === 3 ? el('strong', {}, el('em', {}, ...inside)) :
        el(size === 2 ? 'strong' : 'em', {}, ...inside);
      return this.put(node, end + size);
    }
    this.plain += text.slice(this.at, this.at + length);
    this.at += length;
    return true;
  }

  // Where a run of `size` marks ends what began in front of `from`; -1 if nowhere.
  closer(c, size, from) {
    const mark = c.repeat(size), text = this.text;
    if (this.missing.has(mark)) return -1;
    for (let end = text.indexOf(mark, from); end >= 0; end = text.indexOf(mark, end)) {
      let run = size;
      while (text[end + run] === c) ++run;
      const isTight = end > from && !/\s/.test(text[end - 1]);
      const ends = c !== '_' || !/[\p{L}\p{N}]/u.test(text[end + run] ?? ' ');
      // "**a *b***": the inner one ends first.
      if (isTight && ends && (run === size || (run === 3 && size < 3))) return run === 3 && size === 2 ? end + 1 : end;
      end += run;
    }
    this.missing.add(mark);
    return -1;
  }

  // Whether a sign comes at all behind `from`; once it does not, nobody looks again.
  comes(sign, from) {
    if (this.missing.has(sign)) return false;
    const is = this.text.includes(sign, from);
    if (!is) this.missing.add(sign);
    return is;
  }

  bracket(open) {
    const text = this.text;
    if (!this.comes(']', open) || !this.comes(')', open)) return false;
    const limit = Math.min(text.length, open + MOST_LABEL);
    let nested = 0, close = -1;
    for (let i = open; i < limit; ++i) {
      if (text[i] === '\\') ++i;
      else if (text[i] === '[') ++nested;
      else if (text[i] === ']' && --nested === 0) {
        close = i;
        break;
      }
    }
    if (close < 0 || text[close + 1] !== '(') return false;
    let end = close + 2, inside = 1;
    const last = Math.min(text.length, end + MOST_URL);
    for (; end < last; ++end) {
      if (text[end] === '(') ++inside;
      else if (text[end] === ')' && --inside === 0) break;
      else if (text[end] === '\n') return false;
    }
    if (end >= last) return false;
    const target = /^<?([^\s<>]*)>?(?:\s|$)/.exec(text.slice(close + 2, end).trim());
    const url = target && safeUrl(target[1]);
    const label = text.slice(open + 1, close);
    // Nothing is fetched because a model says so: a picture is a link to it.
    if (open > this.at) {
      const words = label || 'picture';
      return this.put(url ? link(url, [document.createTextNode(words)]) : document.createTextNode(words), end + 1);
    }
    if (!url) return false;
    return this.put(link(url, this.within(label)), end + 1);
  }

  angle() {
    const end = this.text.indexOf('>', this.at);
    if (end < 0 || end - this.at > MOST_URL) return false;
    const inside = this.text.slice(this.at + 1, end);
    const url = /^[a-z]+:\S+$/i.test(inside) && safeUrl(inside);
    return url ? this.put(link(url, [document.createTextNode(inside)]), end + 1) : false;
  }

  bareUrl() {
    if (/[\p{L}\p{N}]/u.test(this.text[this.at - 1] ?? ' ')) return false;
    const found = /^https?:\/\/[^\s<>"'`|\\]+/.exec(this.text.slice(this.at, this.at + MOST_URL));
    if (!found) return false;
    let address = found[0].replace(/[.,:;!?*_~]{1,20}$/, '');
    if (address.endsWith(')') && !address.includes('(')) address = address.slice(0, -1);
    const url = safeUrl(address);
    return url ? this.put(link(url, [document.createTextNode(address)]), this.at + address.length) : false;
  }
}

export function inline(text) {
  return new Inline(text, 0).all();
}

/** Elements of a whole text. */
export function render(text) {
  return new Blocks(text.replaceAll('\r\n', '\n').split('\n'), 0).all();
}
