// SPDX-License-Identifier: Apache-2.0
// Small drawings in SVG: a line over the last two minutes, and bars that are shared out.
import {el, svg} from './dom.js';

const WIDTH = 240, HEIGHT = 44;

/** A line of the last `most` values, of a quarter of them at first; `top`: the value at the upper edge, if it is fixed. */
export class Line {
  constructor(label, {most = 120, top = null} = {}) {
    this.values = [];
    this.most = most;
    this.top = top;
    this.path = svg('path', {class: 'line'});
    this.area = svg('path', {class: 'area'});
    this.root = svg('svg', {class: 'chart', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label}, this.area, this.path);
    this.label = label;
  }

  push(value, words) {
    this.values.push(value);
    if (this.values.length > this.most) this.values.shift();
    const top = this.top ?? Math.max(1e-9, ...this.values) * 1.15;
    const span = Math.max(this.values.length, this.most / 4);
    const begin = span - this.values.length;
    const points = this.values.map((v, i) =>
      `${(((begin + i) * WIDTH) / (span - 1)).toFixed(1)},${(HEIGHT - 1 - (Math.min(v, top) / top) * (HEIGHT - 4)).toFixed(1)}`);
    this.path.setAttribute('d', `M${points.join('L')}`);
    const left = ((begin * WIDTH) / (span - 1)).toFixed(1);
    this.area.setAttribute('d', `M${left},${HEIGHT}L${points.join('L')}L${WIDTH},${HEIGHT}Z`);
    this.root.setAttribute('aria-label', `${this.label}: ${words}`);
  }
}

/** Colours of n parts, told apart also by neighbours. */
export function colour(i, n) {
  return n <= 1 ? 'var(--part-0)' : n <= 8 ? `var(--part-${i % 8})` : `hsl(${Math.round((i * 360) / n)} var(--part-s) var(--part-l))`;
}

/**
 * One bar cut into parts [{size, name, fill}], as wide as `whole` (default: their sum). Parts are named where they are pointed at, and
 * to screen readers all together.
 */
export function bar(label, parts, whole = null) {
  const sum = whole ?? parts.reduce((all, part) => all + part.size, 0);
  const words = parts.filter((part) => part.size > 0).map((part) => part.name).join(', ');
  const root = el('div', {class: 'shares', role: 'img', 'aria-label': `${label}: ${words}`});
  for (const part of parts) {
    if (part.size <= 0) continue;
    const piece = el('span', {class: 'share', title: part.name}, part.text ? el('b', {text: part.text}) : null);
    piece.style.width = `${(100 * part.size) / sum}%`;
    piece.style.background = part.fill;
    root.append(piece);
  }
  return root;
}
