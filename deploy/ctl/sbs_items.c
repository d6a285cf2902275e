// SPDX-License-Identifier: Apache-2.0
// Reading items of two evaluations and drawing those that differ.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "deploy/ctl/sbs.h"

const char *sbs_text(const agrl_json *row, const char *key) {
  const char *s = NULL;
  return agrl_json_str(agrl_json_get(row, key), &s, NULL) ? s : NULL;
}

static int64_t tier_of(const agrl_json *row) {
  int64_t v = -1;
  agrl_json_i64(agrl_json_get(row, "predicted"), &v);
  return v;
}

static int by_id(const void *a, const void *b) {
  return strcmp(sbs_text(*(const agrl_json *const *)a, "id"), sbs_text(*(const agrl_json *const *)b, "id"));
}

agrl_rc sbs_items_load(const char *path, sbs_items *out, agrl_error *err) {
  agrl_map map;
  agrl_rc rc = agrl_map_open(&map, path, err);
  *out = (sbs_items){.path = agrl_xstrdup(path)};
  if (rc) return rc;
  size_t line = 0, cap = 0;
  for (size_t at = 0; at < map.len && !rc;) {
    const char *s = (const char *)map.data + at, *end = memchr(s, '\n', map.len - at);
    size_t len = end ? (size_t)(end - s) : map.len - at;
    char where[300];
    snprintf(where, sizeof where, "%.280s:%zu", path, ++line);
    at += len + 1;
    if (len == 0) continue;
    if (out->n == cap) out->rows = agrl_xreallocarray(out->rows, cap = cap ? 2 * cap : 256, sizeof *out->rows);
    rc = agrl_json_parse(s, len, where, &out->rows[out->n], err);
    if (rc) break;
    const agrl_json *row = out->rows[out->n++];
    if (!sbs_text(row, "id") || !sbs_text(row, "query") || !sbs_text(row, "text") || tier_of(row) < 0)
      rc = agrl_fail(err, AGRL_EPARSE, "%s: expected an item of agrl-eval --items: id, query, predicted, text", where);
  }
  agrl_map_close(&map);
  if (rc) return rc;
  if (out->n) qsort(out->rows, out->n, sizeof *out->rows, by_id);
  for (size_t i = 1; i < out->n && !rc; i++)
    if (!by_id(&out->rows[i - 1], &out->rows[i])) rc = agrl_fail(err, AGRL_EPARSE, "%s: id \"%.60s\" is there twice", path, sbs_text(out->rows[i], "id"));
  return rc;
}

bool sbs_items_belong(const char *result, const char *checkpoint, size_t n) {
  agrl_json *doc = NULL;
  agrl_json_load(result, &doc, NULL);
  const char *of = sbs_text(doc, "checkpoint");
  int64_t rows = -1;
  agrl_json_i64(agrl_json_get(doc, "n"), &rows);
  char *a = of ? realpath(of, NULL) : NULL, *b = realpath(checkpoint, NULL);
  bool belong = a && b && !strcmp(a, b) && rows >= 0 && (uint64_t)rows == n;
  free(a);
  free(b);
  agrl_json_free(doc);
  return belong;
}

void sbs_items_release(sbs_items *s) {
  for (size_t i = 0; i < s->n; i++) agrl_json_free(s->rows[i]);
  free(s->rows);
  free(s->path);
}

agrl_rc sbs_draw_pairs(const sbs_items *a, const sbs_items *b, size_t wanted, uint64_t seed, sbs_draw *out, agrl_error *err) {
  *out = (sbs_draw){.seed = seed, .pairs = agrl_xcalloc((a->n < b->n ? a->n : b->n) + 1, sizeof *out->pairs)};
  for (size_t i = 0, j = 0; i < a->n && j < b->n;) {
    int c = by_id(&a->rows[i], &b->rows[j]);
    const agrl_json *x = a->rows[i], *y = b->rows[j];
    i += c <= 0;
    j += c >= 0;
    if (c) continue;
    if (strcmp(sbs_text(x, "query"), sbs_text(y, "query")) != 0)
      return agrl_fail(err, AGRL_EPARSE, "%s and %s are of different data: id \"%.60s\" has another query", a->path, b->path, sbs_text(x, "id"));
    out->common++;
    if (tier_of(x) != tier_of(y)) out->pairs[out->differ++] = (sbs_pair){x, y, false};
  }
  if (!out->differ)
    return agrl_fail(err, AGRL_ENOENT, "no item of %s and %s has different tiers (%zu items are in both): there is nothing to grade", a->path,
                     b->path, out->common);
  agrl_rng rng;
  agrl_rng_init(&rng, seed, 77);
  out->n = wanted < out->differ ? wanted : out->differ;
  for (size_t i = 0; i < out->n; i++) {
    size_t k = i + agrl_rng_below(&rng, (uint32_t)(out->differ - i));
    sbs_pair p = out->pairs[k];
    out->pairs[k] = out->pairs[i];
    p.b_left = agrl_rng_below(&rng, 2);
    out->pairs[i] = p;
  }
  return AGRL_OK;
}

void sbs_draw_release(sbs_draw *d) { free(d->pairs); }

static void put_items(const sbs_draw *d, agrl_jw *w) {
  agrl_jw_key(w, "items");
  agrl_jw_arr(w);
  for (size_t i = 0; i < d->n; i++) {
    int64_t gold = 0;
    agrl_jw_obj(w);
    agrl_jw_kstr(w, "id", sbs_text(d->pairs[i].a, "id"));
    agrl_jw_kstr(w, "left", d->pairs[i].b_left ? "b" : "a");
    if (agrl_json_i64(agrl_json_get(d->pairs[i].a, "gold"), &gold)) agrl_jw_ki64(w, "gold", gold);
    agrl_jw_ki64(w, "a", tier_of(d->pairs[i].a));
    agrl_jw_ki64(w, "b", tier_of(d->pairs[i].b));
    agrl_jw_end_obj(w);
  }
  agrl_jw_end_arr(w);
}

static void put_key(const sbs_draw *d, const char *a, const char *b, const char *sheet, agrl_buf *out) {
  agrl_jw w;
  agrl_jw_init(&w, out);
  agrl_jw_obj(&w);
  agrl_jw_kstr(&w, "sheet", sheet);
  agrl_jw_kstr(&w, "a", a);
  agrl_jw_kstr(&w, "b", b);
  agrl_jw_ku64(&w, "seed", d->seed);
  agrl_jw_ku64(&w, "common", d->common);
  agrl_jw_ku64(&w, "differ", d->differ);
  put_items(d, &w);
  agrl_jw_end_obj(&w);
}

void sbs_key_json(const sbs_draw *d, const char *a, const char *b, char sheet[17], agrl_buf *out) {
  agrl_buf first = {0};
  char hex[65];
  put_key(d, a, b, "", &first);
  for (size_t i = 0; i < d->n; i++) agrl_buf_addf(&first, "\n%s\n%s", sbs_text(d->pairs[i].a, "text"), sbs_text(d->pairs[i].b, "text"));
  agrl_sha256 h = agrl_sha256_of(first.data, first.len);
  agrl_sha256_hex(&h, hex);
  snprintf(sheet, 17, "%.16s", hex);
  put_key(d, a, b, sheet, out);
  agrl_buf_release(&first);
}
