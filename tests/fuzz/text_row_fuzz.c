// SPDX-License-Identifier: Apache-2.0
// A JSONL row, and the template renderer over what was accepted.
#include <string.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "common/text/dataset.h"

#include <stdlib.h>

int agrl_fuzz_text_row(const uint8_t *data, size_t size);

static void render(const char *tmpl, const agrl_row *row) {
  agrl_buf out = {0};
  agrl_template_render(tmpl, row, &out);
  agrl_buf_release(&out);
}

int agrl_fuzz_text_row(const uint8_t *data, size_t size) {
  agrl_arena arena;
  agrl_arena_init(&arena, 0);
  agrl_row row;
  agrl_error err = {0};
  if (agrl_row_parse((const char *)data, size, "fuzz:1", &arena, &row, &err) == AGRL_OK) {
    AGRL_ASSERT(row.id[0] != '\0' && row.query[0] != '\0' && row.gold.tier >= 1 && row.gold.tier <= 4 &&
                row.n_fields > 0);
    render("{query:5}\n{product.title}\n{gold.tier}{gold.category}{gold.attribute}\n{must} {not} {{", &row);
    if (agrl_template_check(row.query, NULL) == AGRL_OK) render(row.query, &row);  // the text as a template
  } else {
    AGRL_ASSERT(strncmp(err.msg, "fuzz:1", 6) == 0);
  }
  agrl_arena_release(&arena);
  char *text = agrl_xstrndup((const char *)data, size);
  agrl_rc rc = agrl_template_check(text, &err);
  AGRL_ASSERT(rc == AGRL_OK || err.msg[0] != '\0');
  free(text);
  return 0;
}
