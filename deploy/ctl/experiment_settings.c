// SPDX-License-Identifier: Apache-2.0
// Whether two runs were made in the same way, by the texts of their settings.txt.
#include <string.h>

#include "deploy/ctl/experiment.h"

// The same line without what is a path: a directory may be moved, a file named another way, and what is in the files is told by
// their hashes. Of a held-out file the name stays, which its results have, too.
static void add_without_path(const char *line, size_t len, agrl_buf *out) {
  static const char *const options[] = {"--config ",         "--run-dir ",     "--data ",           "--out ",
                                        "--set data.eval=", "--set data.dev=", "--set data.rules=", "--set model.init="};
  static const char *const hashed[] = {"config ", "init ", "rules ", "train ", "dev ", "eval "};
  size_t head = 0, tail = 0;  // what is kept, from the beginning and from the end
  for (size_t i = 0; i < sizeof options / sizeof *options && !head; i++)
    if (!strncmp(line, options[i], strlen(options[i]))) head = strlen(options[i]);
  for (size_t i = 0; i < sizeof hashed / sizeof *hashed && !head; i++) {
    if (strncmp(line, hashed[i], strlen(hashed[i])) != 0) continue;
    head = strlen(hashed[i]);
    const char before = i < 4 ? ' ' : '/';
    while (head + tail < len && line[len - 1 - tail] != before) tail++;
  }
  if (!head) head = len;
  agrl_buf_add(out, line, head);
  agrl_buf_add(out, line + len - tail, tail);
}

static bool equal(const agrl_buf *a, const agrl_buf *b) { return a->len == b->len && (!a->len || !memcmp(a->data, b->data, a->len)); }

// The model is told of where it is still read.
bool exp_same_settings(const char *a, const char *b) {
  const char *const texts[] = {a, b};
  agrl_buf bare[2] = {{0}, {0}}, init[2] = {{0}, {0}};
  for (int i = 0; i < 2; i++)
    for (const char *line = texts[i]; *line; line += strcspn(line, "\n"), line += *line == '\n') {
      agrl_buf *to = strncmp(line, "init ", 5) ? &bare[i] : &init[i];
      add_without_path(line, strcspn(line, "\n"), to);
      agrl_buf_addc(to, '\n');
    }
  bool same = equal(&bare[0], &bare[1]) && (!init[0].len || !init[1].len || equal(&init[0], &init[1]));
  for (int i = 0; i < 2; i++) {
    agrl_buf_release(&bare[i]);
    agrl_buf_release(&init[i]);
  }
  return same;
}
