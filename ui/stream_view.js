// SPDX-License-Identifier: Apache-2.0
// StreamView: shows a text that grows. Blocks that cannot change any more are made once and left alone; only the last, open one is
// made anew, so that the ten-thousandth word costs as much as the first.
import {el} from './dom.js';
import {closesFence, columnsOf, fenceOf, itemOf, render} from './markdown.js';

const LONG_OPEN = 6000;    // characters of an open block that is then cut at a blank
const LONGEST_OPEN = 60000;  // of a table or list
const CERTAIN = 8;         // characters of a line that has not ended from which it is known what it begins

const isIndented = (line) => /^[ \t]/.test(line);

/** How much of `text` is blocks that what follows cannot change. */
export function settledLength(text) {
  let fence = null, inList = false, isAfterBlank = false, settled = 0;
  for (let begin = 0; begin < text.length;) {
    const newline = text.indexOf('\n', begin);
    const end = newline < 0 ? text.length : newline;
    const line = text.slice(begin, end);
    if (fence) {
      if (newline >= 0 && closesFence(line, fence)) {
        fence = null;
        if (!inList) settled = newline + 1;
      }
    } else if (line.trim() === '') {
      isAfterBlank = true;
    } else {
      if (newline < 0 && line.length < CERTAIN) break;
      const item = itemOf(line) !== null;
      const goesOn = isIndented(line) || (inList && item);
      if (isAfterBlank && !goesOn) {
        settled = begin;
        inList = false;
      }
      inList ||= item;
      isAfterBlank = false;
      fence = fenceOf(line.trimStart());
      if (fence && !inList) settled = Math.max(settled, begin);
    }
    begin = end + 1;
  }
  return settled;
}

// Where a wall of text without a blank line may be cut; 0: nowhere.
function cutOf(text) {
  if (text.length < LONG_OPEN || fenceOf(text.slice(0, text.indexOf('\n')))) return 0;
  const lines = text.slice(0, 4000).split('\n');
  const isShaped = itemOf(lines[0]) || /^ {0,3}[>#]/.test(text) || lines.some((line) => columnsOf(line));
  if (!isShaped) return text.lastIndexOf(' ', 4000) + 1 || 4000;
  return text.length > LONGEST_OPEN ? text.lastIndexOf('\n', LONG_OPEN) + 1 : 0;
}

export class StreamView {
  /** `onsettled(text)` hears of blocks as they end. */
  constructor(root, onsettled = () => {}) {
    this.root = root;
    this.onsettled = onsettled;
    this.settled = 0;
    this.isCut = false;    // the open paragraph goes on in the line of the one before
    this.open = el('div', {class: 'open'});
    this.code = null;      // of an open code block that is only added to
    root.replaceChildren(this.open);
  }

  /** `text` begins with all that was shown before. */
  update(text, isDone) {
    let rest = text.slice(this.settled);
    const whole = isDone ? rest.length : settledLength(rest);
    if (whole > 0) {
      this.settle(rest.slice(0, whole));
      rest = rest.slice(whole);
      this.isCut = false;
    }
    for (let cut = cutOf(rest); cut > 0; cut = cutOf(rest)) {
      this.settle(rest.slice(0, cut), true);
      rest = rest.slice(cut);
      this.isCut = true;
    }
    if (isDone) this.open.remove();
    else this.showOpen(rest);
  }

  settle(text, isCut = false) {
    const nodes = render(text);
    if (this.isCut) nodes[0]?.classList.add('goes-on');
    if (isCut) nodes.at(-1)?.classList.add('is-cut');
    this.open.before(...nodes);
    this.settled += text.length;
    this.code = null;
    this.onsettled(text);
  }

  showOpen(rest) {
    const newline = rest.indexOf('\n');
    if (newline >= 0 && fenceOf(rest.slice(0, newline))) {
      this.showCode(rest, newline + 1);
      return;
    }
    const nodes = render(rest);
    if (this.isCut) nodes[0]?.classList.add('goes-on');
    this.open.replaceChildren(...nodes);
    this.code = null;
  }

  // An open code block is only added to. What may become its end is not shown yet.
  showCode(rest, begin) {
    const end = Math.max(begin, rest.replace(/\n[`~ ]{0,20}$/, '').length);
    if (!this.code) {
      this.open.replaceChildren(...render(rest.slice(0, begin)));
      const node = document.createTextNode('');
      this.open.querySelector('pre code').append(node);
      this.code = {node, shown: begin};
    }
    if (end <= this.code.shown) return;
    this.code.node.appendData(rest.slice(this.code.shown, end));
    this.code.shown = end;
  }
}
