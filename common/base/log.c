// SPDX-License-Identifier: Apache-2.0
// Log lines. A line is formatted on the stack and leaves in one write(2), so lines of several threads and processes
// that share a file opened for append never mix; control bytes are shown as \xNN, so one event is always one line.
#include "common/base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"

enum { LINE_BYTES = 4096, NAME_BYTES = 48 };

static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;
static char sink_name[NAME_BYTES] = "agrl";
static _Atomic int sink_level = AGRL_LOG_INFO;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void agrl_log_init(const char *name, agrl_log_level level) {
  pthread_mutex_lock(&sink_lock);
  snprintf(sink_name, sizeof sink_name, "%s", name ? name : "agrl");
  pthread_mutex_unlock(&sink_lock);
  atomic_store(&sink_level, (int)level);
}

// Copies text to line[at..], escaping control bytes; returns the new end, at most cap - 1.
static size_t put_escaped(char *line, size_t at, size_t cap, const char *text) {
  for (; *text; text++) {
    unsigned char c = (unsigned char)*text;
    bool control = c < 0x20 || c == 0x7f;
    size_t need = control ? 4 : 1;
    if (at + need + 1 > cap) return at;
    if (control) at += (size_t)snprintf(line + at, cap - at, "\\x%02x", c);
    else line[at++] = (char)c;
  }
  return at;
}

void agrl_log(agrl_log_level level, const char *fmt, ...) {
  if ((int)level > atomic_load_explicit(&sink_level, memory_order_relaxed)) return;
  char stamp[32], name[NAME_BYTES], text[LINE_BYTES], line[LINE_BYTES + 64];
  agrl_wall_text(agrl_wall_ns(), stamp, sizeof stamp);
  pthread_mutex_lock(&sink_lock);
  memcpy(name, sink_name, sizeof name);
  pthread_mutex_unlock(&sink_lock);
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  if (n < 0) return;
  if ((size_t)n >= sizeof text) memcpy(text + sizeof text - 4, "...", 4);
  size_t len = (size_t)snprintf(line, sizeof line, "%s %s %s ", stamp, level_names[level], name);
  len = put_escaped(line, len, sizeof line - 1, text);
  line[len++] = '\n';
  for (size_t done = 0; done < len;) {
    ssize_t w = write(STDERR_FILENO, line + done, len - done);
    if (w <= 0) return;  // nowhere left to complain to
    done += (size_t)w;
  }
}

bool agrl_log_allow(agrl_log_limit *lim, uint64_t *suppressed) {
  uint64_t now = agrl_mono_ns();
  uint64_t last = atomic_load(&lim->last_ns);
  bool due = last == 0 || now - last >= 1000000000u;
  if (!due || !atomic_compare_exchange_strong(&lim->last_ns, &last, now)) {
    atomic_fetch_add(&lim->suppressed, 1);
    return false;
  }
  *suppressed = atomic_exchange(&lim->suppressed, 0);
  return true;
}
