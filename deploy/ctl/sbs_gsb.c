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

static size_t number_of(const agrl_json *j, const char *key) {
  int64_t v = 0;
  return agrl_json_i64(agrl_json_get(j, key), &v) && v > 0 ? (size_t)v : 0;
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
  if (!*sheet || !total) return agrl_fail(err, AGRL_EPARSE, "the key has no sheet or no items; expected the .key.json that agrlctl sbs wrote");
  if (!list || strcmp(text_of(grades, "sheet"), sheet) != 0)
    return agrl_fail(err, AGRL_EPARSE, "the grades are of sheet \"%.20s\", the key is of sheet \"%.20s\"; give the key that was written with the sheet",
                     text_of(grades, "sheet"), sheet);
  bool *graded = agrl_xcalloc(total, sizeof *graded);
  agrl_rc rc = AGRL_OK;
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
  out->differ = number_of(key, "differ");
  out->common = number_of(key, "common");
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
