// SPDX-License-Identifier: Apache-2.0
// Table binder: writing. The dump is YAML that binds back to the same values; with help it is the commented default
// file, and the man page is made from it.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/json.h"
#include "common/conf/bind.h"
#include "common/conf/bind_field.h"

typedef struct scale {
  const char *name;
  uint64_t factor;
} scale;

// v in the largest unit that divides it.
static void add_scaled(agrl_buf *b, uint64_t v, const scale *units) {
  while (units->factor > 1 && (v == 0 || v % units->factor)) units++;
  agrl_buf_addf(b, "%" PRIu64 "%s", v / units->factor, units->name);
}

static void add_bytes(agrl_buf *b, uint64_t v) {
  static const scale units[] = {{"TiB", 1ull << 40}, {"GiB", 1ull << 30}, {"MiB", 1ull << 20}, {"KiB", 1ull << 10}, {"", 1}};
  add_scaled(b, v, units);
}

static void add_duration(agrl_buf *b, uint64_t ns) {
  static const scale units[] = {{"h", 3600000000000}, {"m", 60000000000}, {"s", 1000000000}, {"ms", 1000000}, {"us", 1000}, {"ns", 1}};
  if (ns == 0) agrl_buf_adds(b, "0s");
  else add_scaled(b, ns, units);
}

static void add_real(agrl_buf *b, double v) {
  agrl_jw w;
  agrl_jw_init(&w, b);
  agrl_jw_f64(&w, v);
}

void conf_field_range_text(const agrl_conf_key *k, double bound, char *out, size_t cap) {
  agrl_buf b = {0};
  if (k->type == AGRL_CONF_BYTES) add_bytes(&b, (uint64_t)bound);
  else if (k->type == AGRL_CONF_DURATION) add_duration(&b, (uint64_t)(bound * 1e9));
  else add_real(&b, bound);
  snprintf(out, cap, "%s", b.data);
  agrl_buf_release(&b);
}

static bool needs_quotes(const char *s) {
  static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";
  return !*s || *s == '-' || s[strspn(s, plain)];
}

// YAML's double quotes take JSON's escapes, so the JSON writer quotes here too.
static void add_text(agrl_buf *b, const char *s) {
  if (!needs_quotes(s)) {
    agrl_buf_adds(b, s);
    return;
  }
  agrl_jw w;
  agrl_jw_init(&w, b);
  agrl_jw_str(&w, s);
}

static void add_value(agrl_buf *b, const agrl_conf_key *k, const void *in) {
  const void *field = conf_field_const(k, in);
  switch (k->type) {
    case AGRL_CONF_BOOL: agrl_buf_adds(b, *(const bool *)field ? "true" : "false"); return;
    case AGRL_CONF_INT: agrl_buf_addf(b, "%" PRId64, *(const int64_t *)field); return;
    case AGRL_CONF_REAL: add_real(b, *(const double *)field); return;
    case AGRL_CONF_BYTES: add_bytes(b, *(const uint64_t *)field); return;
    case AGRL_CONF_DURATION: add_duration(b, *(const uint64_t *)field); return;
    case AGRL_CONF_STRING:
    case AGRL_CONF_LIST: add_text(b, *(char *const *)field ? *(char *const *)field : ""); return;
    case AGRL_CONF_ENUM: agrl_buf_adds(b, k->choices[*(const int *)field]); return;
  }
}

static void add_help(agrl_buf *b, const agrl_conf_key *k) {
  agrl_buf_addf(b, "  # %s", k->help);
  if (k->type == AGRL_CONF_ENUM) {
    agrl_buf_adds(b, " One of");
    for (size_t i = 0; k->choices[i]; i++) agrl_buf_addf(b, "%s %s", i ? "," : "", k->choices[i]);
    agrl_buf_addc(b, '.');
  } else if (k->min != k->max) {
    char lo[40], hi[40];
    conf_field_range_text(k, k->min, lo, sizeof lo);
    conf_field_range_text(k, k->max, hi, sizeof hi);
    agrl_buf_addf(b, " Range %s to %s.", lo, hi);
  }
  if (k->reload) agrl_buf_adds(b, " Reloads on SIGHUP.");
  agrl_buf_addc(b, '\n');
}

void agrl_conf_dump(const agrl_conf_key *table, size_t n, const void *in, bool with_help, const bool *commented, agrl_buf *yaml) {
  const char *section = "";
  size_t section_len = 0;
  for (size_t i = 0; i < n; i++) {
    const char *path = table[i].path;
    size_t len = strcspn(path, ".");
    if (len != section_len || strncmp(path, section, len) != 0) {
      section = path;
      section_len = len;
      agrl_buf_addf(yaml, "%s%.*s:\n", i && with_help ? "\n" : "", (int)len, path);
    }
    if (with_help) add_help(yaml, &table[i]);
    agrl_buf_addf(yaml, "  %s%s: ", commented && commented[i] ? "# " : "", path + len + 1);
    add_value(yaml, &table[i], in);
    agrl_buf_addc(yaml, '\n');
  }
}

static size_t field_bytes(agrl_conf_type t) {
  switch (t) {
    case AGRL_CONF_BOOL: return sizeof(bool);
    case AGRL_CONF_INT: return sizeof(int64_t);
    case AGRL_CONF_REAL: return sizeof(double);
    case AGRL_CONF_BYTES:
    case AGRL_CONF_DURATION: return sizeof(uint64_t);
    case AGRL_CONF_STRING:
    case AGRL_CONF_LIST: return sizeof(char *);
    case AGRL_CONF_ENUM: return sizeof(int);
  }
  return 0;
}

void agrl_conf_swap_reloadable(const agrl_conf_key *table, size_t n, void *a, void *b) {
  for (size_t i = 0; i < n; i++) {
    if (!table[i].reload) continue;
    unsigned char held[sizeof(uint64_t)];
    size_t bytes = field_bytes(table[i].type);
    memcpy(held, conf_field(&table[i], a), bytes);
    memcpy(conf_field(&table[i], a), conf_field(&table[i], b), bytes);
    memcpy(conf_field(&table[i], b), held, bytes);
  }
}

agrl_rc agrl_conf_reloadable(const agrl_conf_key *table, size_t n, const void *before, const void *after, agrl_error *err) {
  agrl_buf was = {0}, is = {0};
  agrl_rc rc = AGRL_OK;
  for (size_t i = 0; i < n && !rc; i++) {
    if (table[i].reload) continue;
    agrl_buf_clear(&was);
    agrl_buf_clear(&is);
    add_value(&was, &table[i], before);
    add_value(&is, &table[i], after);
    if (strcmp(was.data, is.data) == 0) continue;
    rc = agrl_fail(err, AGRL_EPERM, "%s: cannot change from %.100s to %.100s while running; restart for it", table[i].path, was.data, is.data);
  }
  agrl_buf_release(&was);
  agrl_buf_release(&is);
  return rc;
}
