// SPDX-License-Identifier: Apache-2.0
// Prometheus text exposition, format 0.0.4. A histogram's count is the sum of the buckets just read, so buckets are
// cumulative, ascending and consistent with the count even while other threads observe.
#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/obs/metric_impl.h"

// The shortest text that reads back as the same double.
void obs_number(agrl_buf *out, double v) {
  if (isnan(v)) {
    agrl_buf_adds(out, "NaN");
  } else if (isinf(v)) {
    agrl_buf_adds(out, v > 0 ? "+Inf" : "-Inf");
  } else {
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
      snprintf(text, sizeof text, "%.*g", digits, v);
      if (strtod(text, NULL) == v) break;
    }
    agrl_buf_adds(out, text);
  }
}

static void add_escaped(agrl_buf *out, const char *s, bool quotes) {
  for (; *s != '\0'; s++) {
    if (*s == '\n')
      agrl_buf_adds(out, "\\n");
    else if (*s == '\\' || (quotes && *s == '"'))
      agrl_buf_addf(out, "\\%c", *s);
    else
      agrl_buf_addc(out, *s);
  }
}

static void add_label(agrl_buf *out, const char *name, const char *value, bool *any) {
  agrl_buf_addf(out, "%c%s=\"", *any ? ',' : '{', name);
  add_escaped(out, value, true);
  agrl_buf_addc(out, '"');
  *any = true;
}

// name{labels,le="..."} followed by a space; le NULL: none.
static void add_series(agrl_buf *out, const agrl_metric *m, size_t index, const char *suffix, const char *le) {
  const agrl_metric_desc *d = m->desc;
  bool any = false;
  agrl_buf_addf(out, "%s%s", d->name, suffix);
  if (d->label != NULL) add_label(out, d->label, d->values[index / m->n2], &any);
  if (d->label2 != NULL) add_label(out, d->label2, d->values2[index % m->n2], &any);
  if (le != NULL) add_label(out, "le", le, &any);
  agrl_buf_adds(out, any ? "} " : " ");
}

static void add_value(agrl_buf *out, double v) {
  obs_number(out, v);
  agrl_buf_addc(out, '\n');
}

static void expose_histogram(agrl_buf *out, const agrl_metric *m, size_t index) {
  const agrl_metric_desc *d = m->desc;
  const obs_cell *c = &m->cells[index];
  uint64_t total = 0;
  agrl_buf le;
  agrl_buf_init(&le);
  for (size_t b = 0; b <= d->n_bounds; b++) {
    agrl_buf_clear(&le);
    obs_number(&le, b < d->n_bounds ? d->bounds[b] : (double)INFINITY);
    total += atomic_load_explicit(&c->buckets[b], memory_order_relaxed);
    add_series(out, m, index, "_bucket", le.data);
    agrl_buf_addf(out, "%" PRIu64 "\n", total);
  }
  agrl_buf_release(&le);
  add_series(out, m, index, "_sum", NULL);
  add_value(out, agrl_metric_get(m, index));
  add_series(out, m, index, "_count", NULL);
  agrl_buf_addf(out, "%" PRIu64 "\n", total);
}

void agrl_metrics_expose(agrl_buf *out) {
  static const char *const types[] = {"counter", "gauge", "histogram"};
  for (const agrl_metric *m = obs_metric_first(); m != NULL; m = m->next) {
    const agrl_metric_desc *d = m->desc;
    agrl_buf_addf(out, "# HELP %s ", d->name);
    add_escaped(out, d->help, false);
    agrl_buf_addf(out, "\n# TYPE %s %s\n", d->name, types[d->type]);
    for (size_t i = 0; i < m->n1 * m->n2; i++) {
      if (d->type == AGRL_HISTOGRAM) {
        expose_histogram(out, m, i);
      } else {
        add_series(out, m, i, "", NULL);
        add_value(out, agrl_metric_get(m, i));
      }
    }
  }
  agrl_buf_addf(out, "# HELP agrl_build_info The program that answers; always 1.\n# TYPE agrl_build_info gauge\n"
                     "agrl_build_info{version=\"%s\",compiler=\"", AGRL_VERSION_TEXT);
  add_escaped(out, __VERSION__, true);
  agrl_buf_adds(out, "\"} 1\n");
  obs_process_expose(out);
}
