// SPDX-License-Identifier: Apache-2.0
// Reading an experiment file, and the cross product of its arms and its grid.
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/conf/config.h"
#include "common/conf/yaml.h"
#include "deploy/ctl/ctl.h"
#include "deploy/ctl/experiment.h"
#include "deploy/data/world.h"

static const char *const top_keys[] = {"name", "config", "data", "seeds", "set", "start", "arms", "grid", "baseline", NULL};
enum { MAX_ARMS = 256, MAX_SEEDS = 1000, MAX_ROWS = 10000000 };

static agrl_rc map_at(const agrl_yaml *at, const char *what, agrl_error *err) {
  return at->type == AGRL_YAML_MAP ? AGRL_OK : agrl_yaml_fail(at, err, "%s: expected a map", what);
}

static void add(exp_settings *s, const char *key, const char *value) {
  s->at = agrl_xreallocarray(s->at, s->n + 1, sizeof *s->at);
  s->at[s->n++] = (exp_setting){agrl_xstrdup(key), agrl_xstrdup(value)};
}

static void add_all(exp_settings *to, const exp_settings *from) {
  for (size_t i = 0; i < from->n; i++) add(to, from->at[i].key, from->at[i].value);
}

static void drop(exp_settings *s) {
  for (size_t i = 0; i < s->n; i++) {
    free(s->at[i].key);
    free(s->at[i].value);
  }
  free(s->at);
  *s = (exp_settings){0};
}

// The value is tried on the default configuration, which knows names, types and ranges.
static agrl_rc check(const char *key, const agrl_yaml *value, agrl_error *err) {
  static const char *const own[] = {"run.dir", "run.seed", "data.train", "data.eval", "model.init"};
  const char *text = agrl_yaml_str(value);
  if (!text) return agrl_yaml_fail(value, err, "%s: expected one value", key);
  for (size_t i = 0; i < sizeof own / sizeof *own; i++)
    if (!strcmp(key, own[i]))
      return agrl_yaml_fail(value, err, "%s: the experiment sets this itself; leave it out%s", key,
                            !strcmp(key, "model.init") ? ", or give the start's in the file that config names" : "");
  agrl_config c;
  agrl_error why = {0};
  agrl_rc rc = agrl_config_load(NULL, &c, err);
  if (!rc && agrl_config_set(&c, key, text, &why)) rc = agrl_yaml_fail(value, err, "%s", why.msg);
  agrl_config_release(&c);
  return rc;
}

static char *beside(const char *file, const char *path) {
  if (*path == '/' || !*path) return agrl_xstrdup(path);
  char *dir = agrl_path_dir(file), *joined = agrl_path_join(dir, path);
  free(dir);
  return joined;
}

// Of a comma-separated list each path.
static char *all_beside(const char *file, const char *list) {
  agrl_buf out = {0};
  while (*list) {
    size_t len = strcspn(list, ",");
    char *one = agrl_xstrndup(list, len), *joined = beside(file, one);
    agrl_buf_addf(&out, "%s%s", out.len ? "," : "", joined);
    free(joined);
    free(one);
    list += len + (list[len] == ',');
  }
  return agrl_buf_take(&out);
}

// Paths among the settings are relative to the file, like all others in it.
static void add_setting(exp_settings *s, const char *file, const char *key, const char *value) {
  bool path = !strcmp(key, "data.rules") || !strcmp(key, "data.dev");
  char *joined = path ? beside(file, value) : NULL;
  add(s, key, joined ? joined : value);
  free(joined);
}

static agrl_rc read_settings(const agrl_yaml *map, const char *what, exp_settings *out, agrl_error *err) {
  agrl_rc rc = map ? map_at(map, what, err) : AGRL_OK;
  for (size_t i = 0; map && i < map->n && !rc; i++) {
    rc = check(map->keys[i], map->items[i], err);
    if (!rc) add_setting(out, map->file, map->keys[i], agrl_yaml_str(map->items[i]));
  }
  return rc;
}

static agrl_rc read_make(const agrl_yaml *make, experiment *e, agrl_error *err) {
  static const char *const keys[] = {"train", "reference", "eval", "natural", "departments", "leaves", "synonyms", NULL};
  static const long long least[] = {1, 0, 1, 1, 2, 2, 0}, most[] = {MAX_ROWS, MAX_ROWS, MAX_ROWS, MAX_ROWS, data_max_departments,
                                                                    data_max_leaves / data_max_departments, 100};
  agrl_rc rc = map_at(make, "data.make", err);
  if (!rc) rc = agrl_yaml_only(make, keys, err);
  for (size_t i = 0; i < make->n && !rc; i++) {
    long long n;
    size_t k = 0;
    while (strcmp(keys[k], make->keys[i])) k++;
    if (!agrl_yaml_i64(make->items[i], &n) || n < least[k] || n > most[k])
      rc = agrl_yaml_fail(make->items[i], err, "data.make.%s: expected a number from %lld to %lld", keys[k], least[k], most[k]);
    else add(&e->make, keys[k], agrl_yaml_str(make->items[i]));
  }
  return rc;
}

static agrl_rc read_data(const agrl_yaml *data, const char *path, experiment *e, agrl_error *err) {
  static const char *const keys[] = {"make", "train", "eval", NULL};
  agrl_rc rc = map_at(data, "data", err);
  if (!rc) rc = agrl_yaml_only(data, keys, err);
  if (rc) return rc;
  const agrl_yaml *make = agrl_yaml_get(data, "make");
  const char *train = agrl_yaml_str(agrl_yaml_get(data, "train")), *eval = agrl_yaml_str(agrl_yaml_get(data, "eval"));
  if (make && !train && !eval) return read_make(make, e, err);
  if (make || !train || !eval) return agrl_yaml_fail(data, err, "data: expected either make, or train and eval");
  e->train = beside(path, train);
  e->eval = all_beside(path, eval);
  return AGRL_OK;
}

static agrl_rc read_seeds(const agrl_yaml *seeds, experiment *e, agrl_error *err) {
  if (seeds->type != AGRL_YAML_SEQ || !seeds->n || seeds->n > MAX_SEEDS)
    return agrl_yaml_fail(seeds, err, "seeds: expected a list of 1 to %d numbers", MAX_SEEDS);
  e->seeds = agrl_xcalloc(seeds->n, sizeof *e->seeds);
  for (size_t i = 0; i < seeds->n; i++) {
    long long v;
    if (!agrl_yaml_i64(seeds->items[i], &v) || v < 0) return agrl_yaml_fail(seeds->items[i], err, "seeds: expected numbers from 0");
    for (size_t k = 0; k < i; k++)
      if (e->seeds[k] == v) return agrl_yaml_fail(seeds->items[i], err, "seeds: %lld is there twice", v);
    e->seeds[e->n_seeds++] = v;
  }
  return AGRL_OK;
}

static exp_arm *new_arm(experiment *e, char *name) {
  e->arms = agrl_xreallocarray(e->arms, e->n_arms + 1, sizeof *e->arms);
  e->arms[e->n_arms] = (exp_arm){.name = name};
  return &e->arms[e->n_arms++];
}

static bool is_plain(const char *name) { return *name && *name != '.' && !strchr(name, '/'); }

// Beside an arm's are those of the seed's start and data.
static bool names_directory(const char *arm) { return is_plain(arm) && strcmp(arm, "start") && strcmp(arm, "data"); }

// Without arms a grid names its own; without a grid, too, the experiment's name is the one arm's.
static agrl_rc read_arms(const agrl_yaml *arms, bool has_grid, experiment *e, agrl_error *err) {
  if (!arms) {
    new_arm(e, agrl_xstrdup(has_grid ? "" : e->name));
    return AGRL_OK;
  }
  agrl_rc rc = map_at(arms, "arms", err);
  if (!rc && arms->n > MAX_ARMS) rc = agrl_yaml_fail(arms->items[MAX_ARMS], err, "arms: more than %d arms", MAX_ARMS);
  for (size_t i = 0; !rc && i < arms->n; i++) {
    const char *name = arms->keys[i];
    if (!names_directory(name)) return agrl_yaml_fail(arms->items[i], err, "arms: '%s' cannot name a directory of results", name);
    rc = read_settings(arms->items[i], name, &new_arm(e, agrl_xstrdup(name))->set, err);
  }
  if (!rc && !arms->n) rc = agrl_yaml_fail(arms, err, "arms: there is none");
  return rc;
}

// Every arm with every value of one grid key; the name shows the key's last part.
static agrl_rc cross(experiment *e, const char *key, const agrl_yaml *values, agrl_error *err) {
  if (values->type != AGRL_YAML_SEQ || !values->n) return agrl_yaml_fail(values, err, "grid: %s: expected a list of values", key);
  if (e->n_arms * values->n > MAX_ARMS) return agrl_yaml_fail(values, err, "grid: more than %d arms", MAX_ARMS);
  exp_arm *before = e->arms;
  size_t n = e->n_arms;
  agrl_rc rc = AGRL_OK;
  const char *dot = strrchr(key, '.'), *shown = dot ? dot + 1 : key;
  e->arms = NULL;
  e->n_arms = 0;
  for (size_t a = 0; a < n; a++) {
    for (size_t v = 0; v < values->n && !rc; v++) {
      rc = check(key, values->items[v], err);
      if (rc) break;
      const char *text = agrl_yaml_str(values->items[v]);
      for (size_t k = 0; k < v && !rc; k++)
        if (!strcmp(text, agrl_yaml_str(values->items[k]))) rc = agrl_yaml_fail(values->items[v], err, "grid: %s: %s is there twice", key, text);
      if (strchr(text, '/')) rc = agrl_yaml_fail(values->items[v], err, "grid: '%s' cannot name a directory of results", text);
      exp_arm *arm = new_arm(e, agrl_xasprintf("%s%s%s=%s", before[a].name, *before[a].name ? "," : "", shown, text));
      add_all(&arm->set, &before[a].set);
      add_setting(&arm->set, values->file, key, text);
    }
    free(before[a].name);
    drop(&before[a].set);
  }
  free(before);
  return rc;
}

static agrl_rc find_baseline(const agrl_yaml *at, experiment *e, agrl_error *err) {
  if (!at) return AGRL_OK;  // the first arm
  const char *name = agrl_yaml_str(at), *names[MAX_ARMS];
  for (size_t i = 0; i < e->n_arms; i++) {
    names[i] = e->arms[i].name;
    if (name && !strcmp(name, names[i])) return e->baseline = i, AGRL_OK;
  }
  const char *near = name ? agrl_conf_nearest(name, names, e->n_arms) : NULL;
  return agrl_yaml_fail(at, err, "baseline: there is no such arm%s%s", near ? "; nearest: " : "", near ? near : "");
}

static agrl_rc read_all(const agrl_yaml *root, const char *path, experiment *e, agrl_error *err) {
  agrl_rc rc = map_at(root, "the experiment", err);
  if (!rc) rc = agrl_yaml_only(root, top_keys, err);
  if (rc) return rc;
  const char *name = agrl_yaml_str(agrl_yaml_get(root, "name")), *config = agrl_yaml_str(agrl_yaml_get(root, "config"));
  const agrl_yaml *data = agrl_yaml_get(root, "data"), *seeds = agrl_yaml_get(root, "seeds"), *start = agrl_yaml_get(root, "start"),
                  *grid = agrl_yaml_get(root, "grid"), *arms = agrl_yaml_get(root, "arms");
  if (!name || !is_plain(name) || strchr(name, ',')) return agrl_yaml_fail(root, err, "name: expected a plain name (no / or comma)");
  if (!config) return agrl_yaml_fail(root, err, "config: expected the path of a configuration file");
  if (!arms && !(grid && grid->n) && !names_directory(name)) return agrl_yaml_fail(root, err, "name: '%s' cannot name a directory of results, as it does without arms", name);
  if (!data) return agrl_yaml_fail(root, err, "data: missing; give make, or train and eval");
  if (!seeds) return agrl_yaml_fail(root, err, "seeds: missing");
  e->name = agrl_xstrdup(name);
  e->config = beside(path, config);
  rc = read_data(data, path, e, err);
  if (!rc) rc = read_seeds(seeds, e, err);
  if (!rc) rc = read_settings(agrl_yaml_get(root, "set"), "set", &e->set, err);
  e->has_start = start != NULL;
  if (!rc) rc = read_settings(start, "start", &e->start, err);
  if (!rc && grid) rc = map_at(grid, "grid", err);
  if (!rc) rc = read_arms(arms, grid && grid->n, e, err);
  for (size_t i = 0; !rc && grid && i < grid->n; i++) rc = cross(e, grid->keys[i], grid->items[i], err);
  return rc ? rc : find_baseline(agrl_yaml_get(root, "baseline"), e, err);
}

static agrl_rc apply(agrl_config *c, const exp_settings *s, agrl_error *err) {
  agrl_rc rc = AGRL_OK;
  for (size_t i = 0; i < s->n && !rc; i++) rc = agrl_config_set(c, s->at[i].key, s->at[i].value, err);
  return rc;
}

agrl_rc exp_effective(const experiment *e, const exp_arm *arm, agrl_config *out, agrl_error *err) {
  agrl_rc rc = agrl_config_load(e->config, out, err);
  if (!rc) rc = apply(out, &e->set, err);
  if (!rc) rc = ctl_default_rules(out, e->config, err);
  if (!rc && arm && e->has_start) {  // what the command that runs it says
    rc = agrl_config_set(out, "model.init", "start", err);
    if (!rc) rc = agrl_config_set(out, "sft.steps", "0", err);
  }
  if (!rc) rc = apply(out, arm ? &arm->set : &e->start, err);
  if (!rc) rc = agrl_config_check(out, err);
  return rc;
}

// What would fail after hours fails now: the base configuration, and keys that must agree in each arm.
static agrl_rc check_arms(const experiment *e, agrl_error *err) {
  agrl_rc rc = AGRL_OK;
  for (size_t a = 0; a < e->n_arms + e->has_start && !rc; a++) {
    const exp_arm *arm = a < e->n_arms ? &e->arms[a] : NULL;
    agrl_config c = {0};
    agrl_error why = {0};
    rc = exp_effective(e, arm, &c, &why);
    const char *const files[][2] = {{"data.rules", c.data.rules}, {"data.dev", c.data.dev}};
    for (size_t i = 0; i < 2 && !rc; i++)
      if (*files[i][1] && !agrl_file_exists(files[i][1]))
        rc = agrl_fail(&why, AGRL_ENOENT, "%s: there is no %s (in set it is relative to the experiment file, in %s to the working directory)",
                       files[i][0], files[i][1], e->config);
    if (rc) agrl_fail(err, rc, "%s: %s", arm ? arm->name : "start", why.msg);
    agrl_config_release(&c);
  }
  return rc;
}

agrl_rc exp_read(const char *path, experiment *e, agrl_error *err) {
  agrl_yaml *root = NULL;
  *e = (experiment){0};
  agrl_rc rc = agrl_yaml_load(path, &root, err);
  if (!rc) rc = read_all(root, path, e, err);
  if (!rc) rc = check_arms(e, err);
  agrl_yaml_free(root);
  return rc;
}

void exp_release(experiment *e) {
  for (size_t i = 0; i < e->n_arms; i++) {
    free(e->arms[i].name);
    drop(&e->arms[i].set);
  }
  drop(&e->make);
  drop(&e->set);
  drop(&e->start);
  free(e->arms);
  free(e->seeds);
  free(e->name);
  free(e->config);
  free(e->train);
  free(e->eval);
  *e = (experiment){0};
}

char *exp_run_dir(const char *out, int64_t seed, const char *arm) {
  return agrl_xasprintf("%s/seed%lld/%s", out, (long long)seed, arm ? arm : "start");
}
