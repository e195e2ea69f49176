// SPDX-License-Identifier: Apache-2.0
// Keys. Single letters work outside text boxes, and can be turned off; Escape and Enter work where one expects them.
import {$, el, recall, remember} from './dom.js';

const NAME = 'quern.single-keys';

export class Shortcuts {
  /** `actions`: [[key, words, run]], of single keys. */
  constructor(actions, onescape) {
    this.actions = actions;
    this.onescape = onescape;
    this.areOn = recall(NAME, true) !== false;
    $('single-keys').checked = this.areOn;
    $('single-keys').addEventListener('change', (event) => {
      this.areOn = event.target.checked;
      remember(NAME, this.areOn);
    });
    $('shortcut-close').addEventListener('click', () => $('shortcut-dialog').close());
    this.list();
    document.addEventListener('keydown', (event) => this.press(event));
  }

  list() {
    const always = [['Enter', 'send the message'], ['Shift Enter', 'a new line'], ['Esc', 'stop what is under way; close what is open'], ['↑', 'in an empty box: edit your last message']];
    const rows = [...always, ...this.actions.map(([key, words]) => [key, words])];
    $('shortcuts').replaceChildren(...rows.map(([keys, words]) =>
      el('div', {}, el('dt', {}, ...keys.split(' ').map((key) => el('kbd', {text: key}))), el('dd', {text: words}))));
  }

  show() {
    $('shortcut-dialog').showModal();
  }

  press(event) {
    if (event.defaultPrevented || event.isComposing) return;
    if (document.querySelector('dialog[open]')) return;
    if (event.key === 'Escape') {
      if (this.onescape()) event.preventDefault();
      return;
    }
    if (!this.areOn || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest('input, textarea, select, [contenteditable]')) return;
    const action = this.actions.find(([key]) => key === event.key);
    if (!action) return;
    event.preventDefault();
    action[2]();
  }
}
