// SPDX-License-Identifier: Apache-2.0
// Growable byte buffer. Zero-initialise or agrl_buf_init; owns data; always NUL-terminated after an append
// (the NUL is not counted in len), so data can be used as a string. Not thread-safe.
#ifndef AGRL_BASE_BUF_H
#define AGRL_BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>

typedef struct agrl_buf {
  char *data;
  size_t len, cap;
} agrl_buf;

void agrl_buf_init(agrl_buf *b);
void agrl_buf_release(agrl_buf *b);
void agrl_buf_clear(agrl_buf *b);
void agrl_buf_reserve(agrl_buf *b, size_t extra);
void agrl_buf_add(agrl_buf *b, const void *p, size_t n);
void agrl_buf_adds(agrl_buf *b, const char *s);
void agrl_buf_addc(agrl_buf *b, char c);
void agrl_buf_addf(agrl_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void agrl_buf_vaddf(agrl_buf *b, const char *fmt, va_list ap);
// Text that others wrote, for a terminal: control characters (C0, DEL, and C1 as UTF-8) become \xNN.
void agrl_buf_add_visible(agrl_buf *b, const char *s, size_t n);
// The same as a column of a table: cut to `width` characters of UTF-8, or filled up with blanks.
void agrl_buf_add_cell(agrl_buf *b, const char *s, size_t width);
char *agrl_buf_take(agrl_buf *b);  // caller owns (free()); the buffer is empty afterwards; never NULL

#endif
