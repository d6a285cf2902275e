// SPDX-License-Identifier: Apache-2.0
// The metric registry. A metric is a flat array of cells, one per combination of label values; cells are updated with
// atomics only, so any thread may count while the loop thread writes the exposition.
#include "common/obs/metric.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "common/obs/metric_impl.h"

static agrl_metric *registry, **registry_end = &registry;

const double agrl_buckets_seconds[] = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60};
const size_t agrl_buckets_seconds_n = sizeof agrl_buckets_seconds / sizeof *agrl_buckets_seconds;
const double agrl_buckets_small[] = {0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
const size_t agrl_buckets_small_n = sizeof agrl_buckets_small / sizeof *agrl_buckets_small;

static size_t count_values(const char *const *values) {
  size_t n = 0;
  while (values != NULL && values[n] != NULL) n++;
  return n;
}

static void check_desc(const agrl_metric_desc *d) {
  AGRL_ASSERT(d->name != NULL && d->help != NULL);
  for (const char *p = d->name; *p != '\0'; p++)
    if (!((*p >= 'a' && *p <= 'z') || *p == '_' || (*p >= '0' && *p <= '9' && p > d->name)))
      AGRL_BUG("metric %s: names are snake case", d->name);
  for (const agrl_metric *m = registry; m != NULL; m = m->next)
    if (strcmp(m->desc->name, d->name) == 0) AGRL_BUG("metric %s is registered twice", d->name);
  if ((d->label == NULL) != (d->values == NULL) || (d->label2 == NULL) != (d->values2 == NULL) || (d->label2 && !d->label))
    AGRL_BUG("metric %s: a label needs its values", d->name);
  if (d->type == AGRL_HISTOGRAM && d->n_bounds == 0) AGRL_BUG("metric %s: a histogram needs bounds", d->name);
  for (size_t i = 0; i < d->n_bounds; i++)
    if (!isfinite(d->bounds[i]) || (i > 0 && d->bounds[i] <= d->bounds[i - 1]))
      AGRL_BUG("metric %s: bounds must ascend", d->name);
}

static uint64_t bits_of(double v) {
  uint64_t b;
  memcpy(&b, &v, sizeof b);
  return b;
}

static double value_of(uint64_t b) {
  double v;
  memcpy(&v, &b, sizeof v);
  return v;
}

agrl_metric *agrl_metric_register(const agrl_metric_desc *d) {
  check_desc(d);
  agrl_metric *m = agrl_xcalloc(1, sizeof *m);
  m->desc = d;
  m->n1 = d->label != NULL ? count_values(d->values) : 1;
  m->n2 = d->label2 != NULL ? count_values(d->values2) : 1;
  m->cells = agrl_xcalloc(m->n1 * m->n2, sizeof *m->cells);
  for (size_t i = 0; i < m->n1 * m->n2; i++) {
    atomic_store(&m->cells[i].value, bits_of(d->type == AGRL_GAUGE ? (double)NAN : 0.0));
    if (d->type == AGRL_HISTOGRAM) m->cells[i].buckets = agrl_xcalloc(d->n_bounds + 1, sizeof *m->cells[i].buckets);
  }
  *registry_end = m;
  registry_end = &m->next;
  return m;
}

const agrl_metric *obs_metric_first(void) { return registry; }

void agrl_metrics_reset(void) {
  while (registry != NULL) {
    agrl_metric *m = registry;
    registry = m->next;
    for (size_t i = 0; i < m->n1 * m->n2; i++) free(m->cells[i].buckets);
    free(m->cells);
    free(m);
  }
  registry_end = &registry;
}

static obs_cell *cell(const agrl_metric *m, size_t index) {
  if (index >= m->n1 * m->n2) AGRL_BUG("metric %s has %zu cells, index %zu", m->desc->name, m->n1 * m->n2, index);
  return &m->cells[index];
}

// An undefined gauge becomes v: adding to nothing starts from 0.
static void add(_Atomic uint64_t *bits, double v) {
  uint64_t old = atomic_load_explicit(bits, memory_order_relaxed), now;
  do {
    double from = value_of(old);
    now = bits_of(isnan(from) ? v : from + v);
  } while (!atomic_compare_exchange_weak_explicit(bits, &old, now, memory_order_relaxed, memory_order_relaxed));
}

void agrl_metric_add(agrl_metric *m, size_t index, double v) {
  if (m->desc->type == AGRL_HISTOGRAM) AGRL_BUG("metric %s is a histogram: observe it", m->desc->name);
  if (m->desc->type == AGRL_COUNTER && !(v >= 0)) AGRL_BUG("counter %s cannot go down by %g", m->desc->name, -v);
  add(&cell(m, index)->value, v);
}

void agrl_metric_set(agrl_metric *m, size_t index, double v) {
  if (m->desc->type != AGRL_GAUGE) AGRL_BUG("metric %s is no gauge", m->desc->name);
  atomic_store_explicit(&cell(m, index)->value, bits_of(v), memory_order_relaxed);
}

// A NaN is not an observation: it would poison the sum for good.
void agrl_metric_observe(agrl_metric *m, size_t index, double v) {
  const agrl_metric_desc *d = m->desc;
  if (d->type != AGRL_HISTOGRAM) AGRL_BUG("metric %s is no histogram", d->name);
  obs_cell *c = cell(m, index);
  if (isnan(v)) return;
  size_t b = 0;
  while (b < d->n_bounds && v > d->bounds[b]) b++;
  atomic_fetch_add_explicit(&c->buckets[b], 1, memory_order_relaxed);
  add(&c->value, v);
}

double agrl_metric_get(const agrl_metric *m, size_t index) {
  return value_of(atomic_load_explicit(&cell(m, index)->value, memory_order_relaxed));
}

uint64_t agrl_metric_count(const agrl_metric *m, size_t index) {
  const obs_cell *c = cell(m, index);
  uint64_t n = 0;
  for (size_t b = 0; c->buckets != NULL && b <= m->desc->n_bounds; b++)
    n += atomic_load_explicit(&c->buckets[b], memory_order_relaxed);
  return n;
}
