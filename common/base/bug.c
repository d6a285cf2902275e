// SPDX-License-Identifier: Apache-2.0
// The end of the line for bugs: one log line with the place, a backtrace on stderr, abort (so a core can be had).
#include "common/base/bug.h"

#include <execinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/log.h"

_Noreturn void agrl_bug(const char *file, int line, const char *fmt, ...) {
  char msg[512];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(msg, sizeof msg, fmt, ap);
  va_end(ap);
  agrl_loge("bug at=%s:%d what=\"%s\"", file, line, msg);
  void *frames[48];
  int n = backtrace(frames, 48);
  backtrace_symbols_fd(frames, n, STDERR_FILENO);
  abort();
}
