// SPDX-License-Identifier: Apache-2.0
// Before anything is painted: light or dark, if somebody chose.
'use strict';
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem('quern.theme');
  } catch {
    // A browser that keeps nothing shows what the system says.
  }
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
})();
