// SPDX-License-Identifier: Apache-2.0
// Error codes: names, texts and exit codes generated from the X-macro, and the two ways to fill an agrl_error.
#include "common/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"

agrl_rc agrl_fail(agrl_error *err, agrl_rc code, const char *fmt, ...) {
  if (!err) return code;
  // Formatted aside first: an argument may be err->msg itself.
  char msg[sizeof err->msg];
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(msg, sizeof msg, fmt, ap);
  va_end(ap);
  if (n < 0) msg[0] = '\0';
  memcpy(err->msg, msg, strlen(msg) + 1);
  err->code = code;
  return code;
}

agrl_rc agrl_fail_in(agrl_error *err, const char *fmt, ...) {
  if (!err) return AGRL_EINVAL;
  char context[sizeof err->msg], msg[2 * sizeof err->msg + 4];
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(context, sizeof context, fmt, ap);
  va_end(ap);
  if (n < 0) context[0] = '\0';
  snprintf(msg, sizeof msg, "%s: %s", context, err->msg);
  msg[sizeof err->msg - 1] = '\0';
  memcpy(err->msg, msg, strlen(msg) + 1);
  return err->code;
}

void agrl_error_print(const agrl_error *err, const char *program) {
  agrl_buf text = {0};
  for (const char *line = err->msg;;) {
    size_t n = strcspn(line, "\n");
    agrl_buf_add_visible(&text, line, n);
    agrl_buf_addc(&text, '\n');
    if (!line[n]) break;
    line += n + 1;
  }
  fprintf(stderr, "%s: %s", program, text.data);
  agrl_buf_release(&text);
}

const char *agrl_rc_name(agrl_rc rc) {
  switch (rc) {
#define NAME(name, exit, text) \
  case AGRL_##name: return #name;
    AGRL_RC_MAP(NAME)
#undef NAME
  }
  return "EUNKNOWN";
}

const char *agrl_rc_text(agrl_rc rc) {
  switch (rc) {
#define TEXT(name, exit, text) \
  case AGRL_##name: return text;
    AGRL_RC_MAP(TEXT)
#undef TEXT
  }
  return "unknown error";
}

int agrl_rc_exit(agrl_rc rc) {
  switch (rc) {
#define EXIT(name, exit, text) \
  case AGRL_##name: return exit;
    AGRL_RC_MAP(EXIT)
#undef EXIT
  }
  return 70;
}
