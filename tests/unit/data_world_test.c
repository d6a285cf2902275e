// SPDX-License-Identifier: Apache-2.0
// The built-in benchmark. Labels are derived here a second time, from the texts of the rows, by another way than the
// generator's: it draws things and says them, this reads what is said.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
// cmocka wants the headers above first
#include <cmocka.h>

#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/json.h"
#include "common/text/dataset.h"
#include "deploy/data/world.h"

enum { n_train = 3000, n_eval = 800, n_natural = 800, n_reference = 700 };

static char dir[] = "/tmp/agrl_world_XXXXXX";
static agrl_dataset train, eval, natural;

static void load(const char *name, agrl_dataset *d) {
  char *path = agrl_path_join(dir, name);
  agrl_error err = {0};
  if (agrl_dataset_load(path, NULL, NULL, d, &err) != AGRL_OK) fail_msg("%s", err.msg);
  assert_int_equal(d->n_bad, 0);
  free(path);
}

static agrl_data_options options(uint64_t seed) {
  agrl_data_options o = AGRL_DATA_DEFAULTS;
  o.seed = seed;
  o.train = n_train;
  o.eval = n_eval;
  o.natural = n_natural;
  o.reference = n_reference;
  return o;
}

static int make_all(void **state) {
  const agrl_data_options o = options(5);
  agrl_error err = {0};
  assert_non_null(mkdtemp(dir));
  if (agrl_data_make(dir, &o, &err) != AGRL_OK) fail_msg("%s", err.msg);
  load("train.jsonl", &train);
  load("eval.jsonl", &eval);
  load("eval_natural.jsonl", &natural);
  return 0;
}

static int remove_all(void **state) {
  agrl_dataset_release(&train);
  agrl_dataset_release(&eval);
  agrl_dataset_release(&natural);
  return agrl_file_remove_tree(dir, NULL) == AGRL_OK ? 0 : -1;
}

// Whether words occurs in text at word boundaries.
static const char *find_words(const char *text, const char *words) {
  size_t n = strlen(words);
  for (const char *at = strstr(text, words); at != NULL; at = strstr(at + 1, words)) {
    if ((at == text || at[-1] == ' ') && (at[n] == '\0' || at[n] == ' ')) return at;
  }
  return NULL;
}

static bool says(const char *text, const data_forms *f) {
  for (size_t i = 0; i < f->n; i++) {
    if (find_words(text, f->text[i]) != NULL) return true;
  }
  return false;
}

// Said, and not as "X free".
static bool title_shows(const char *title, const data_forms *f) {
  for (size_t i = 0; i < f->n; i++) {
    const char *at = find_words(title, f->text[i]);
    if (at != NULL && strncmp(at + strlen(f->text[i]), " free", 5) != 0) return true;
  }
  return false;
}

static int leaf_said(const char *text) {
  const data_world *w = data_world_get();
  int found = -1;
  for (size_t i = 0; i < w->n_leaves; i++) {
    if (!says(text, &w->leaves[i].forms)) continue;
    if (found >= 0) fail_msg("\"%s\" names two categories", text);
    found = (int)i;
  }
  if (found < 0) fail_msg("\"%s\" names no category", text);
  return found;
}

// A must or not name: is it there in the title? Also checks that the query says it.
static bool holds(const char *name, const agrl_row *row) {
  const data_world *w = data_world_get();
  const char *title = row->field_values[0];
  for (size_t v = 0; v < w->n_values; v++) {
    if (strcmp(w->values[v].forms.text[0], name) != 0) continue;
    if (!says(row->query, &w->values[v].forms) && !says(row->query, &w->values[v].needs))
      fail_msg("%s: \"%s\" does not say %s", row->id, row->query, name);
    return title_shows(title, &w->values[v].forms);
  }
  for (size_t p = 0; p < w->n_properties; p++) {
    if (strcmp(w->properties[p].name, name) != 0) continue;
    if (!says(row->query, &w->properties[p].phrases)) fail_msg("%s: \"%s\" does not say %s", row->id, row->query, name);
    bool any = false;
    for (size_t v = 0; v < w->n_values; v++)
      any = any || (data_set_has(&w->properties[p].values, (int)v) && title_shows(title, &w->values[v].forms));
    return any;
  }
  assert_non_null(find_words(row->query, name));  // a brand
  return find_words(title, name) != NULL;
}

static void check_row(const agrl_row *row) {
  const data_world *w = data_world_get();
  int asked = leaf_said(row->query), shown = leaf_said(row->field_values[0]);
  const char *category = asked == shown                                               ? "match"
                         : w->leaves[asked].department == w->leaves[shown].department ? "related"
                                                                                      : "mismatch";
  size_t there = 0;
  bool unwanted = false;
  for (size_t i = 0; i < row->n_must; i++) there += holds(row->must[i], row);
  for (size_t i = 0; i < row->n_not; i++) unwanted = holds(row->must_not[i], row) || unwanted;
  const char *attribute = row->n_must + row->n_not == 0                 ? "none"
                          : unwanted || (row->n_must > 0 && there == 0) ? "mismatch"
                          : there == row->n_must                        ? "match"
                                                                        : "partial";
  if (strcmp(category, row->gold.category) != 0 || strcmp(attribute, row->gold.attribute) != 0) {
    fail_msg("%s: \"%s\" / \"%s\": gold %s, %s; the texts say %s, %s", row->id, row->query, row->field_values[0],
             row->gold.category, row->gold.attribute, category, attribute);
  }
  bool good = strcmp(attribute, "match") == 0 || strcmp(attribute, "none") == 0;
  int tier = strcmp(category, "mismatch") == 0        ? 1
             : strcmp(attribute, "mismatch") == 0     ? 2
             : strcmp(category, "match") == 0 && good ? 4
                                                      : 3;
  assert_int_equal(row->gold.tier, tier);
}

static void test_gold_follows_from_text(void **state) {
  for (size_t i = 0; i < train.n; i++) check_row(&train.rows[i]);
  for (size_t i = 0; i < eval.n; i++) check_row(&eval.rows[i]);
  for (size_t i = 0; i < natural.n; i++) check_row(&natural.rows[i]);
}

static void test_references(void **state) {
  for (size_t i = 0; i < train.n; i++) {
    const agrl_row *row = &train.rows[i];
    assert_int_equal(row->reference != NULL, i < n_reference);
    if (row->reference == NULL) continue;
    char expected[256], tail[128];
    snprintf(expected, sizeof expected, "%d\n[Query] ", row->gold.tier);
    snprintf(tail, sizeof tail, "\n[Category] %s\n[Attribute] %s\n[Verdict] %d", row->gold.category,
             row->gold.attribute, row->gold.tier);
    assert_memory_equal(row->reference, expected, strlen(expected));
    const char *product = strstr(row->reference, "\n[Product] "), *category = strstr(row->reference, "\n[Category] ");
    assert_true(product != NULL && category != NULL && product < category);
    assert_string_equal(category, tail);
    for (size_t k = 0; k < row->n_must; k++) assert_true(strstr(row->reference, row->must[k]) < product);
    for (size_t k = 0; k < row->n_not; k++) assert_true(strstr(row->reference, row->must_not[k]) < product);
    size_t lines = 1;
    for (const char *s = row->reference; (s = strchr(s, '\n')) != NULL; s++) lines++;
    assert_int_equal(lines, 6);
  }
}

static void test_mix(void **state) {
  const data_kind kinds = DATA_N_KINDS;
  const agrl_dataset *balanced[] = {&train, &eval};
  for (size_t d = 0; d < 2; d++) {
    size_t tiers[5] = {0}, by_kind[8] = {0};
    for (size_t i = 0; i < balanced[d]->n; i++) {
      tiers[balanced[d]->rows[i].gold.tier]++;
      for (int k = 0; k < (int)kinds; k++) by_kind[k] += strcmp(balanced[d]->rows[i].type, data_kind_names[k]) == 0;
    }
    for (int t = 1; t <= 4; t++) assert_int_equal(tiers[t], balanced[d]->n / 4);
    for (int k = 0; k < (int)kinds; k++) assert_in_range(by_kind[k], balanced[d]->n / 10, balanced[d]->n / 3);
  }
  assert_int_equal(train.n, n_train);
  assert_int_equal(natural.n, n_natural);
  const size_t expected[5] = {0, 20, 10, 20, 50};
  size_t tiers[5] = {0};
  for (size_t i = 0; i < natural.n; i++) {
    tiers[natural.rows[i].gold.tier]++;
    assert_string_equal(natural.rows[i].query, natural.rows[i - i % 5].query);
  }
  for (int t = 1; t <= 4; t++) assert_in_range(tiers[t] * 100 / n_natural, expected[t] - 6, expected[t] + 6);
}

typedef struct made_of {
  size_t query_template, title_template;
  char product[160], title[160];
} made_of;

static made_of *read_made_of(const char *name, size_t n) {
  char *path = agrl_path_join(dir, name), *save = NULL;
  agrl_buf text = {0};
  made_of *all = calloc(n, sizeof *all);
  assert_int_equal(agrl_file_read(path, 1 << 28, &text, NULL), AGRL_OK);
  char *line = strtok_r(text.data, "\n", &save);
  for (size_t i = 0; i < n; i++, line = strtok_r(NULL, "\n", &save)) {
    agrl_json *j = NULL;
    const char *s = NULL;
    int64_t q = -1, t = -1;
    assert_int_equal(agrl_json_parse(line, strlen(line), name, &j, NULL), AGRL_OK);
    const agrl_json *w = agrl_json_get(j, "world");
    assert_true(agrl_json_i64(agrl_json_get(w, "query_template"), &q) &&
                agrl_json_i64(agrl_json_get(w, "title_template"), &t));
    assert_true(agrl_json_str(agrl_json_get(w, "product"), &s, NULL));
    snprintf(all[i].product, sizeof all[i].product, "%s", s);
    assert_true(agrl_json_str(agrl_json_get(agrl_json_get(j, "product"), "title"), &s, NULL));
    snprintf(all[i].title, sizeof all[i].title, "%s", s);
    all[i].query_template = (size_t)q;
    all[i].title_template = (size_t)t;
    agrl_json_free(j);
  }
  agrl_buf_release(&text);
  free(path);
  return all;
}

static int by_product(const void *a, const void *b) {
  return strcmp(((const made_of *)a)->product, ((const made_of *)b)->product);
}
static int by_title(const void *a, const void *b) {
  return strcmp(((const made_of *)a)->title, ((const made_of *)b)->title);
}

static void test_train_and_eval_are_disjoint(void **state) {
  made_of *seen = read_made_of("train.jsonl", n_train);
  for (size_t i = 0; i < n_train; i++)
    assert_false(data_query_template_held(seen[i].query_template) || data_title_template_held(seen[i].title_template));
  const char *const files[] = {"eval.jsonl", "eval_natural.jsonl"};
  for (size_t f = 0; f < 2; f++) {
    size_t n = f == 0 ? n_eval : n_natural, held = 0, held_titles = 0;
    made_of *other = read_made_of(files[f], n);
    qsort(seen, n_train, sizeof *seen, by_product);
    for (size_t i = 0; i < n; i++) assert_null(bsearch(&other[i], seen, n_train, sizeof *seen, by_product));
    qsort(seen, n_train, sizeof *seen, by_title);
    for (size_t i = 0; i < n; i++) {
      assert_null(bsearch(&other[i], seen, n_train, sizeof *seen, by_title));
      held += data_query_template_held(other[i].query_template);
      held_titles += data_title_template_held(other[i].title_template);
    }
    assert_in_range(held, n / 3, 2 * n / 3);
    assert_in_range(held_titles, n / 3, 2 * n / 3);
    free(other);
  }
  free(seen);
}

static void test_deterministic(void **state) {
  char again[] = "/tmp/agrl_world_XXXXXX";
  assert_non_null(mkdtemp(again));
  const char *const names[] = {"train.jsonl", "eval.jsonl", "eval_natural.jsonl"};
  for (uint64_t seed = 5; seed <= 6; seed++) {
    const agrl_data_options o = options(seed);
    assert_int_equal(agrl_data_make(again, &o, NULL), AGRL_OK);
    for (size_t i = 0; i < 3; i++) {
      char *a = agrl_path_join(dir, names[i]), *b = agrl_path_join(again, names[i]);
      agrl_sha256 x, y;
      assert_int_equal(agrl_sha256_file(a, &x, NULL), AGRL_OK);
      assert_int_equal(agrl_sha256_file(b, &y, NULL), AGRL_OK);
      assert_int_equal(memcmp(&x, &y, sizeof x) == 0, seed == 5);
      assert_int_equal(agrl_data_make(again, &o, NULL), AGRL_EEXIST);  // any of the three is kept
      unlink(b);
      free(a);
      free(b);
    }
  }
  assert_int_equal(agrl_file_remove_tree(again, NULL), AGRL_OK);
}

// The easier worlds: as few categories as asked for, canonical words only; and what cannot be is refused.
static void test_difficulty(void **state) {
  char easy[] = "/tmp/agrl_world_XXXXXX";
  assert_non_null(mkdtemp(easy));
  agrl_data_options o = options(5);
  o.departments = 3;
  o.leaves = 2;
  o.synonyms = 0;
  assert_int_equal(agrl_data_make(easy, &o, NULL), AGRL_OK);
  char *path = agrl_path_join(easy, "train.jsonl");
  agrl_dataset d;
  assert_int_equal(agrl_dataset_load(path, NULL, NULL, &d, NULL), AGRL_OK);
  bool used[data_max_leaves] = {false};
  for (size_t i = 0; i < d.n; i++) {
    check_row(&d.rows[i]);
    used[leaf_said(d.rows[i].query)] = true;
    assert_null(find_words(d.rows[i].query, "joggers"));
  }
  for (int i = 0; i < data_max_leaves; i++) assert_int_equal(used[i], i < 24 && i % 8 < 2);
  agrl_dataset_release(&d);
  free(path);
  assert_int_equal(agrl_file_remove_tree(easy, NULL), AGRL_OK);
  agrl_error err = {0};
  o.leaves = 1;
  assert_int_equal(agrl_data_make(easy, &o, &err), AGRL_EINVAL);
  assert_non_null(strstr(err.msg, "leaves 1"));
}

// No way of saying one thing is part of a way of saying another, or labels would not follow from the text.
static void test_words_are_unambiguous(void **state) {
  const data_world *w = data_world_get();
  const char *all[1024];
  size_t owner[1024], n = 0, things = 0;
  for (size_t i = 0; i < w->n_values; i++, things++) {
    for (size_t k = 0; k < w->values[i].forms.n; k++, n++) all[n] = w->values[i].forms.text[k], owner[n] = things;
    for (size_t k = 0; k < w->values[i].needs.n; k++, n++) all[n] = w->values[i].needs.text[k], owner[n] = things;
  }
  for (size_t i = 0; i < w->n_leaves; i++, things++) {
    for (size_t k = 0; k < w->leaves[i].forms.n; k++, n++) all[n] = w->leaves[i].forms.text[k], owner[n] = things;
  }
  for (size_t i = 0; i < w->n_properties; i++, things++) {
    for (size_t k = 0; k < w->properties[i].phrases.n; k++, n++)
      all[n] = w->properties[i].phrases.text[k], owner[n] = things;
  }
  assert_int_equal(w->n_departments, 12);
  assert_true(w->n_leaves >= 40);
  for (size_t a = 0; a < n; a++) {
    for (size_t b = 0; b < n; b++) {
      if (owner[a] != owner[b] && find_words(all[a], all[b]) != NULL)
        fail_msg("\"%s\" is part of \"%s\"", all[b], all[a]);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_gold_follows_from_text),
                                     cmocka_unit_test(test_references),
                                     cmocka_unit_test(test_mix),
                                     cmocka_unit_test(test_train_and_eval_are_disjoint),
                                     cmocka_unit_test(test_deterministic),
                                     cmocka_unit_test(test_words_are_unambiguous),
                                     cmocka_unit_test(test_difficulty)};
  return cmocka_run_group_tests(tests, make_all, remove_all);
}
