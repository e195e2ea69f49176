// SPDX-License-Identifier: Apache-2.0
// Files that are dropped anywhere on the page, or pasted.
import {$} from './dom.js';

/** `take(files)`, for those of both; what is pasted without a file stays with the text boxes. `words()`: what is shown while files hang over the page. */
export function listenToDrops(take, words) {
  let depth = 0;
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes('Files');
  const show = (isOver) => {
    $('drop').hidden = !isOver;
    $('drop').textContent = words();
  };
  document.addEventListener('dragenter', (event) => {
    if (hasFiles(event)) show(++depth > 0);
  });
  document.addEventListener('dragleave', (event) => {
    if (hasFiles(event)) show(--depth > 0);
  });
  document.addEventListener('dragover', (event) => {
    if (hasFiles(event)) event.preventDefault();
  });
  document.addEventListener('drop', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth = 0;
    show(false);
    take([...event.dataTransfer.files]);
  });
  document.addEventListener('paste', (event) => {
    const files = [...(event.clipboardData?.files ?? [])].filter((file) => /^(image|audio)\//.test(file.type));
    if (!files.length) return;
    event.preventDefault();
    take(files);
  });
}
