// SPDX-License-Identifier: Apache-2.0
// Elements, numbers and words. Text becomes text nodes here and everywhere: nothing parses markup.

const SVG = 'http://www.w3.org/2000/svg';

export const $ = (id) => document.getElementById(id);

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'text') node.textContent = value;
    else if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children) if (child !== null && child !== undefined) node.append(child);
  return node;
}

/** el('button', {class: 'icon', onclick: f}, child, …) */
export function el(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

export function icon(name) {
  return svg('svg', {'aria-hidden': 'true'}, svg('use', {href: `#i-${name}`}));
}

/** A button that shows an icon alone; `label` is what is read out and shown on pointing. */
export function iconButton(name, label, onclick) {
  return el('button', {type: 'button', class: 'icon', 'aria-label': label, title: label, onclick}, icon(name));
}

/** The button that takes entry `i`, called `name`, off a shelf of what goes with the message: an object with a list and show(). */
export function removeButton(shelf, i, name, look = {}) {
  return el('button', {type: 'button', ...look, 'aria-label': `Remove ${name}`, title: 'Remove', onclick: () => {
    shelf.list.splice(i, 1);
    shelf.show();
    say(`${name} removed`);
    $('message').focus();
  }}, icon('close'));
}

/** The button `open` lets files be chosen in `input`; a shelf that can add() takes them. */
export function choosesFiles(open, input, shelf) {
  $(open).addEventListener('click', () => $(input).click());
  $(input).addEventListener('change', async (event) => {
    await shelf.add([...event.target.files]);
    event.target.value = '';
    $('message').focus();
  });
}

export function setIcon(button, name) {
  button.replaceChildren(icon(name));
}

/** To screen readers, which read what is added, one after the other. */
export function say(text) {
  const announcer = $('announcer');
  announcer.append(el('p', {text}));
  while (announcer.children.length > 5) announcer.firstChild.remove();
}

/** A line above the conversation that stays until it is closed. */
export function notice(text, kind = 'error', action = null) {
  const notices = $('notices');
  for (const one of notices.children) if (one.dataset.text === text) return one;
  const line = el('div', {class: `notice ${kind}`, 'data-text': text}, el('span', {text}));
  if (action)
    line.append(el('button', {type: 'button', class: 'link', text: action.text, onclick: () => {
      line.remove();
      action.run();
    }}));
  line.append(iconButton('close', 'Close this message', () => line.remove()));
  notices.append(line);
  while (notices.children.length > 4) notices.firstChild.remove();
  return line;
}

export function shortNumber(value) {
  if (value < 1000) return String(Math.round(value));
  if (value < 1e6) return `${(value / 1e3).toFixed(value < 1e4 ? 1 : 0)}k`;
  if (value < 1e9) return `${(value / 1e6).toFixed(value < 1e7 ? 1 : 0)}M`;
  return `${(value / 1e9).toFixed(1)}G`;
}

export function bytes(value) {
  if (value < 1024) return `${value} B`;
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  let i = -1;
  do {
    value /= 1024;
    ++i;
  } while (value >= 1024 && i < units.length - 1);
  return `${value.toFixed(value < 10 ? 1 : 0)} ${units[i]}`;
}

export function seconds(value) {
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  return `${value.toFixed(value < 10 ? 2 : 1)} s`;
}

/** "3:07" of seconds. */
export function clock(value) {
  const whole = Math.floor(value);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}

export function makeId() {
  return [...crypto.getRandomValues(new Uint8Array(9))].map((b) => b.toString(16).padStart(2, '0')).join('');
}

/** What localStorage says, parsed; `fallback` where there is nothing, or nothing that makes sense. */
export function recall(name, fallback) {
  try {
    const text = localStorage.getItem(name);
    return text === null ? fallback : JSON.parse(text);
  } catch {
    return fallback;
  }
}

/** False where the browser keeps nothing. */
export function remember(name, value) {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

export function saveBlob(name, blob) {
  const url = URL.createObjectURL(blob);
  const link = el('a', {href: url, download: name});
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export function saveFile(name, text) {
  saveBlob(name, new Blob([text], {type: 'application/json'}));
}

export async function copyText(text) {
  // Without TLS, and off this machine, browsers have no clipboard object.
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // A page without focus, or a refusal: the older way may still do.
    }
  }
  const area = el('textarea', {class: 'hidden', 'aria-hidden': 'true'});
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  return done;
}
