// SPDX-License-Identifier: Apache-2.0
// Grades of a sheet, un-blinded by its key: GSB = (good - bad) / (good + same + bad).
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "deploy/ctl/sbs.h"

static const char *text_of(const agrl_json *j, const char *key) {
  const char *s = sbs_text(j, key);
  return s ? s : "";
}

// How many items the sheet was drawn from; 0 where an older key does not say.
static agrl_rc count_of(const agrl_json *key, const char *name, size_t *out, agrl_error *err) {
  const agrl_json *j = agrl_json_get(key, name);
  int64_t v = 0;
  if (j && (!agrl_json_i64(j, &v) || v < 0)) return agrl_fail(err, AGRL_EPARSE, "the key's %s is not a number of items", name);
  *out = (size_t)v;
  return AGRL_OK;
}

static agrl_rc check_key(const agrl_json *key, sbs_gsb *out, agrl_error *err) {
  const agrl_json *items = agrl_json_get(key, "items");
  if (!*text_of(key, "sheet") || !items || agrl_json_typeof(items) != AGRL_JSON_ARRAY || !agrl_json_len(items))
    return agrl_fail(err, AGRL_EPARSE, "the key has no sheet or no items; expected the .key.json that agrlctl sbs wrote");
  for (size_t i = 0; i < agrl_json_len(items); i++) {
    const char *left = text_of(agrl_json_at(items, i), "left");
    if (strcmp(left, "a") != 0 && strcmp(left, "b") != 0)
      return agrl_fail(err, AGRL_EPARSE, "the key's item \"%.60s\" has \"%.20s\" on the left, expected a or b", text_of(agrl_json_at(items, i), "id"), left);
  }
  agrl_rc rc = count_of(key, "differ", &out->differ, err);
  return rc ? rc : count_of(key, "common", &out->common, err);
}

// The difference of two paired shares, with one pseudo-grade for each side as Bonett and Price add them (Statistical Methods in
// Medical Research 21, 2012): it keeps its width where all grades are equal, and its coverage where there are few.
static void interval(sbs_gsb *out) {
  double n = (double)(out->good + out->same + out->bad) + 2, good = ((double)out->good + 1) / n, bad = ((double)out->bad + 1) / n;
  double half = 1.959964 * sqrt((good + bad - (good - bad) * (good - bad)) / n);
  out->low = fmax(good - bad - half, -1);
  out->high = fmin(good - bad + half, 1);
}

// +1: B is better, -1: A is. left: whose answer stood left.
static agrl_rc value_of(const char *id, const char *grade, const char *left, int *value, agrl_error *err) {
  bool is_left = !strcmp(grade, "left"), is_right = !strcmp(grade, "right");
  if (!is_left && !is_right && strcmp(grade, "same") != 0)
    return agrl_fail(err, AGRL_EPARSE, "grades: item \"%.60s\" is graded \"%.20s\", expected left, same or right", id, grade);
  *value = !is_left && !is_right ? 0 : is_left == !strcmp(left, "b") ? 1 : -1;
  return AGRL_OK;
}

agrl_rc sbs_grade(const agrl_json *grades, const agrl_json *key, sbs_gsb *out, agrl_error *err) {
  *out = (sbs_gsb){.gsb = NAN, .low = NAN, .high = NAN};
  const char *sheet = text_of(key, "sheet");
  const agrl_json *list = agrl_json_get(grades, "grades"), *items = agrl_json_get(key, "items");
  size_t n = agrl_json_len(list), total = agrl_json_len(items), done = 0;
  agrl_rc rc = check_key(key, out, err);
  if (rc) return rc;
  if (!list || agrl_json_typeof(list) != AGRL_JSON_ARRAY)
    return agrl_fail(err, AGRL_EPARSE, "the grades have no list \"grades\"; expected what the sheet exported");
  if (strcmp(text_of(grades, "sheet"), sheet) != 0)
    return agrl_fail(err, AGRL_EPARSE, "the grades are of sheet \"%.20s\", the key is of sheet \"%.20s\"; give the key that was written with the sheet",
                     text_of(grades, "sheet"), sheet);
  bool *graded = agrl_xcalloc(total, sizeof *graded);
  for (size_t i = 0; i < n && !rc; i++) {
    const char *id = text_of(agrl_json_at(list, i), "id");
    size_t k = 0;
    int value = 0;
    while (k < total && strcmp(text_of(agrl_json_at(items, k), "id"), id) != 0) k++;
    if (k == total) rc = agrl_fail(err, AGRL_EPARSE, "grades: item \"%.60s\" is not on the sheet", id);
    else if (graded[k]) rc = agrl_fail(err, AGRL_EPARSE, "grades: item \"%.60s\" is graded twice", id);
    else rc = value_of(id, text_of(agrl_json_at(list, i), "grade"), text_of(agrl_json_at(items, k), "left"), &value, err);
    if (rc) break;
    graded[k] = true;
    out->good += value > 0;
    out->bad += value < 0;
    out->same += value == 0;
    done++;
  }
  out->missing = total - done;
  if (!rc && done >= SBS_LEAST_GRADES) {
    out->gsb = ((double)out->good - (double)out->bad) / (double)done;
    interval(out);
  }
  out->a = agrl_xstrdup(text_of(key, "a"));
  out->b = agrl_xstrdup(text_of(key, "b"));
  free(graded);
  return rc;
}

void sbs_gsb_release(sbs_gsb *g) {
  free(g->a);
  free(g->b);
}
