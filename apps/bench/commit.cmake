# SPDX-License-Identifier: Apache-2.0
# Writes OUT, the source behind bench/commit.h, from the folder SOURCE. Run at each build; the file changes only when the commit does.
execute_process(COMMAND git -C ${SOURCE} describe --always --dirty --abbrev=12 OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE
                ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
  set(commit "unknown")
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT [[// SPDX-License-Identifier: Apache-2.0
#include "bench/commit.h"

namespace quern::bench {
const char* const kCommit = "@commit@";
}
]] @ONLY)
