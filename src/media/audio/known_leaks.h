// SPDX-License-Identifier: Apache-2.0
// For programs that hand libsndfile damaged files on purpose: what it forgets of an Ogg file that
// it refuses is not ours to report. Included by one file of a program.
#pragma once

extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() {
  return "leak:vorbis_\nleak:ogg_\nleak:sf_open_virtual\n";
}
