// SPDX-License-Identifier: Apache-2.0
// Checkpoint directories: round trips, the manifest's watch over every byte, refusals by name, atomicity, retention.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/ckpt/hf.h"
#include "common/model/weights.h"
#include "tests/lib/full_disk.h"
#include "tests/lib/model_check.h"

static char root[64];
static const char tokenizer[] = "{\"version\":\"1.0\"}";

static int make_root(void **state) {
  snprintf(root, sizeof root, "/tmp/agrl-ckpt-XXXXXX");
  return mkdtemp(root) == NULL;
}

static int remove_root(void **state) { return agrl_file_remove_tree(root, NULL) != AGRL_OK; }

static const char *in_root(const char *name) {
  static char path[4][256];
  static int turn;
  char *p = path[turn++ % 4];
  snprintf(p, sizeof path[0], "%s/%s", root, name);
  return p;
}

#define OK(call)                                                               \
  do {                                                                         \
    agrl_error err_ = {0}, *err = &err_;                                       \
    if ((call) != AGRL_OK) fail_msg("%s: %s", #call, err_.msg);                \
  } while (0)
#define REFUSED(code, word, call)                                                                            \
  do {                                                                                                       \
    agrl_error err_ = {0}, *err = &err_;                                                                     \
    const agrl_rc rc_ = (call);                                                                              \
    if (rc_ != (code) || strstr(err_.msg, word) == NULL) fail_msg("%s: %s: %s", #call, agrl_rc_name(rc_), err_.msg); \
  } while (0)

static void save(const char *dir, uint64_t version, uint64_t seed) {
  agrl_layout *l = mc_layout(0);
  float *p = mc_params(l, seed, true);
  const agrl_ckpt_extra extra = {"optimizer.bin", "moments", 7};
  OK(agrl_ckpt_save(dir, l, p, AGRL_DTYPE_BF16, tokenizer, strlen(tokenizer), version, &extra, 1, err));
  free(p);
  agrl_layout_free(l);
}

static float first_value(const char *dir, uint64_t *version) {
  agrl_layout *l;
  float *block;
  OK(agrl_ckpt_load(dir, &l, &block, version, err));
  const float v = block[l->tensors[l->layers[0].up].offset];
  agrl_block_free(block, l->n_elements * sizeof *block);
  agrl_layout_free(l);
  return v;
}

static void round_trip(void **state) {
  for (int v = 0; v < MC_VARIANTS * 2; v++) {
    const agrl_dtype dtype = v >= MC_VARIANTS ? AGRL_DTYPE_BF16 : AGRL_DTYPE_F32;
    const char *dir = in_root("model/");
    agrl_layout *l = mc_layout(v % MC_VARIANTS), *back;
    l->spec.start_id = 3;
    l->spec.end_id = v % 3 == 0 ? -1 : 5;
    if (v % 3 == 1) {
      l->spec.n_stops = 2;
      l->spec.stop_ids[0] = 9;
      l->spec.stop_ids[1] = 7;
    }
    if (v % 2 == 1) l->spec.rope = (agrl_rope_scaling){32, 1.5f, 4, 17};
    l->spec.norm_eps = 1e-6f;
    float *p = mc_params(l, 5, dtype == AGRL_DTYPE_BF16), *q;
    uint64_t version;
    OK(agrl_ckpt_save(dir, l, p, dtype, tokenizer, strlen(tokenizer), AGRL_VERSION(2, 7), NULL, 0, err));
    OK(agrl_ckpt_verify(dir, err));
    OK(agrl_ckpt_load(dir, &back, &q, &version, err));
    assert_int_equal(version, AGRL_VERSION(2, 7));
    assert_string_equal(back->spec.arch, l->spec.arch);
    assert_memory_equal(&back->spec, &l->spec, sizeof l->spec);
    assert_int_equal(back->n_elements, l->n_elements);
    tc_same("parameters", p, q, l->n_elements * sizeof *p);
    agrl_block_free(q, back->n_elements * sizeof *q);
    agrl_layout_free(back);
    agrl_layout_free(l);
    free(p);
  }
  agrl_buf b = {0};
  OK(agrl_file_read(in_root("model/config.json"), 1 << 20, &b, err));
  assert_non_null(strstr(b.data, "\"rms_norm_eps\":1e-06") ? "" : strstr(b.data, "\"rms_norm_eps\":1e-6"));
  assert_non_null(strstr(b.data, "Qwen3ForCausalLM"));
  OK(agrl_file_read(in_root("model/tokenizer.json"), 1 << 20, &b, err));
  assert_string_equal(b.data, tokenizer);
  agrl_buf_release(&b);
}

static void flip(const char *path, long at) {
  FILE *f = fopen(path, "r+");
  assert_non_null(f);
  fseek(f, at, at < 0 ? SEEK_END : SEEK_SET);
  const long pos = ftell(f);
  const int c = fgetc(f);
  fseek(f, pos, SEEK_SET);
  fputc(c ^ 1, f);
  fclose(f);
}

static void manifest_watches_every_file(void **state) {
  const char *dir = in_root("watched");
  const char *const files[] = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                               "tokenizer_config.json", "optimizer.bin"};
  agrl_layout *l;
  float *block;
  agrl_buf b = {0};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    char path[300];
    save(dir, 1, 5);
    OK(agrl_ckpt_verify(dir, err));
    snprintf(path, sizeof path, "%s/%s", dir, files[i]);
    flip(path, -2);
    REFUSED(AGRL_ECHECKSUM, files[i], agrl_ckpt_verify(dir, err));
    if (i == 0 || i == 2) REFUSED(AGRL_ECHECKSUM, files[i], agrl_ckpt_load(dir, &l, &block, NULL, err));
    save(dir, 1, 5);
    assert_int_equal(truncate(path, 3), 0);
    REFUSED(AGRL_ECHECKSUM, files[i], agrl_ckpt_verify(dir, err));
    assert_int_equal(unlink(path), 0);
    REFUSED(AGRL_ECHECKSUM, files[i], agrl_ckpt_verify(dir, err));
  }
  save(dir, 1, 5);
  OK(agrl_ckpt_read_extra(dir, "optimizer.bin", &b, err));
  assert_int_equal(b.len, 7);
  flip(in_root("watched/optimizer.bin"), 0);
  REFUSED(AGRL_ECHECKSUM, "optimizer.bin", agrl_ckpt_read_extra(dir, "optimizer.bin", &b, err));
  REFUSED(AGRL_ENOENT, "other", agrl_ckpt_read_extra(dir, "other", &b, err));
  REFUSED(AGRL_EINVAL, "../x", agrl_ckpt_read_extra(dir, "../x", &b, err));
  OK(agrl_file_write_atomic(in_root("watched/agrl_manifest.json"), "{\"format\":2}", 12, err));
  REFUSED(AGRL_EVERSION, "format", agrl_ckpt_verify(dir, err));
  assert_int_equal(unlink(in_root("watched/agrl_manifest.json")), 0);  // a checkpoint from elsewhere loads, but cannot be verified
  REFUSED(AGRL_ENOENT, "manifest", agrl_ckpt_verify(dir, err));
  uint64_t version = 9;
  first_value(dir, &version);
  assert_int_equal(version, 0);
  agrl_buf_release(&b);
}

static void saving_again_replaces(void **state) {
  uint64_t version;
  save(in_root("again"), 1, 5);
  const float before = first_value(in_root("again"), NULL);
  save(in_root("again"), 2, 6);
  assert_true(first_value(in_root("again"), &version) != before);
  assert_int_equal(version, 2);
  assert_false(agrl_file_exists(in_root("again.tmp")));
  agrl_layout *l = mc_layout(0);
  float *p = mc_params(l, 1, true);
  const agrl_ckpt_extra bad[] = {{"config.json", "x", 1}, {"a/b", "x", 1}, {".hidden", "x", 1}, {"agrl_manifest.json", "x", 1}};
  for (size_t i = 0; i < 4; i++) REFUSED(AGRL_EINVAL, bad[i].name, agrl_ckpt_save(in_root("again"), l, p, AGRL_DTYPE_F32, NULL, 0,
                                                                                  3, &bad[i], 1, err));
  OK(agrl_ckpt_verify(in_root("again"), err));
  free(p);
  agrl_layout_free(l);
}

static void unsupported_configs_are_named(void **state) {
  static const char base[] = "{\"model_type\":\"llama\",\"hidden_size\":32,\"intermediate_size\":64,\"num_hidden_layers\":2,"
                             "\"num_attention_heads\":4,\"vocab_size\":100,\"max_position_embeddings\":64,\"rms_norm_eps\":1e-5,"
                             "\"rope_scaling\":null,\"eos_token_id\":[7,8]";
  const struct {
    const char *more, *word;
    agrl_rc code;
  } cases[] = {
      {"}", "", AGRL_OK},
      {",\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":5e5}}", "", AGRL_OK},
      {",\"rope_parameters\":{\"rope_type\":\"yarn\"}}", "rope_parameters type yarn is not supported", AGRL_EUNSUPPORTED},
      {",\"hidden_act\":\"gelu\"}", "hidden_act", AGRL_EUNSUPPORTED},
      {",\"attention_bias\":true}", "attention_bias", AGRL_EUNSUPPORTED},
      {",\"mlp_bias\":true}", "mlp_bias", AGRL_EUNSUPPORTED},
      {",\"use_sliding_window\":true,\"sliding_window\":8,\"max_window_layers\":1}", "use_sliding_window", AGRL_EUNSUPPORTED},
      {",\"layer_types\":[\"sliding_attention\"]}", "layer_types", AGRL_EUNSUPPORTED},
      {",\"quantization_config\":{}}", "quantization_config", AGRL_EUNSUPPORTED},
      {",\"num_key_value_heads\":3}", "kv_heads", AGRL_EPARSE},
      {",\"head_dim\":\"8\"}", "head_dim", AGRL_EPARSE},
      {",\"tie_word_embeddings\":1}", "tie_word_embeddings", AGRL_EPARSE},
      {",\"bos_token_id\":100}", "start token", AGRL_EPARSE},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[1024];
    agrl_spec s;
    const int n = snprintf(text, sizeof text, "%s%s", base, cases[i].more);
    REFUSED(cases[i].code, cases[i].word, agrl_ckpt_parse_config(text, (size_t)n, "config.json", &s, err));
    if (cases[i].code != AGRL_OK) continue;
    assert_int_equal(s.n_kv_heads, 4);
    assert_int_equal(s.head_dim, 8);
    assert_int_equal(s.end_id, 7);
    assert_true(agrl_spec_stops(&s, 7) && agrl_spec_stops(&s, 8) && !agrl_spec_stops(&s, 9) && !agrl_spec_stops(&s, -1));
    assert_true(s.rope_theta == (i == 0 ? 10000 : 500000));
  }
  agrl_spec s;
  REFUSED(AGRL_EUNSUPPORTED, "mixtral", agrl_ckpt_parse_config("{\"model_type\":\"mixtral\"}", 24, "c", &s, err));
  REFUSED(AGRL_EPARSE, "model_type", agrl_ckpt_parse_config("{}", 2, "c", &s, err));
  REFUSED(AGRL_EPARSE, "hidden_size", agrl_ckpt_parse_config("{\"model_type\":\"qwen3\"}", 22, "c", &s, err));
  const char scaled[] = "{\"model_type\":\"llama\",\"rope_scaling\":{\"type\":\"linear\"},\"hidden_size\":8,\"intermediate_size\":8,"
                        "\"num_hidden_layers\":1,\"num_attention_heads\":1,\"vocab_size\":9,\"max_position_embeddings\":9}";
  REFUSED(AGRL_EUNSUPPORTED, "rope_scaling type linear is not supported", agrl_ckpt_parse_config(scaled, strlen(scaled), "c", &s, err));
}

// A directory whose config.json is of one shape and whose model.safetensors is of another.
static void tensors_must_match(void **state) {
  const int from[] = {1, 0, 2, 4, 0}, to[] = {0, 1, 0, 0, 0};
  const char *const words[] = {"lm_head.weight is missing", "lm_head.weight differs from model.embed_tokens.weight", "q_proj.bias is not part",
                               "norm.weight is not part",
                               "embed_tokens.weight has another shape"};
  for (size_t i = 0; i < 5; i++) {
    agrl_layout *a = mc_layout(from[i]), *b = mc_layout(to[i]), *l;
    if (i == 4) {  // the config of a vocabulary one smaller
      agrl_spec smaller = b->spec;
      smaller.vocab--;
      agrl_layout_free(b);
      OK(agrl_layout_new(&smaller, &b, err));
    }
    float *p = mc_params(a, 1, true), *q = mc_params(b, 1, true), *block;
    OK(agrl_ckpt_save(in_root("a"), a, p, AGRL_DTYPE_F32, NULL, 0, 0, NULL, 0, err));
    OK(agrl_ckpt_save(in_root("b"), b, q, AGRL_DTYPE_F32, NULL, 0, 0, NULL, 0, err));
    assert_int_equal(rename(in_root("b/config.json"), in_root("a/config.json")), 0);
    assert_int_equal(unlink(in_root("a/agrl_manifest.json")), 0);
    const agrl_rc code = i == 0 || i == 4 ? AGRL_EPARSE : AGRL_EUNSUPPORTED;
    REFUSED(code, words[i], agrl_ckpt_load(in_root("a"), &l, &block, NULL, err));
    assert_null(l);
    assert_null(block);
    agrl_layout_free(a);
    agrl_layout_free(b);
    free(p);
    free(q);
  }
  agrl_layout *l;
  float *block;
  assert_int_equal(unlink(in_root("a/model.safetensors")), 0);
  REFUSED(AGRL_ENOENT, "model.safetensors", agrl_ckpt_load(in_root("a"), &l, &block, NULL, err));
  OK(agrl_file_write_atomic(in_root("a/model.safetensors.index.json"), "{}", 2, err));
  REFUSED(AGRL_EPARSE, "weight_map is missing", agrl_ckpt_load(in_root("a"), &l, &block, NULL, err));
}

static void newest_whole_version_wins(void **state) {
  char name[32], *dir;
  uint64_t version;
  OK(agrl_file_mkdirs(in_root("run"), err));
  REFUSED(AGRL_ENOENT, "no whole checkpoint", agrl_ckpt_find_latest(in_root("run"), &dir, &version, err));
  agrl_ckpt_version_name(AGRL_VERSION(1, 20), name);
  assert_string_equal(name, "v00000001-00000020");
  save(in_root("run/v00000001-00000020"), AGRL_VERSION(1, 20), 5);
  save(in_root("run/v00000002-00000003"), AGRL_VERSION(2, 3), 6);
  OK(agrl_ckpt_set_latest(in_root("run"), "v00000002-00000003", err));
  // What a crash half way through a save leaves: a .tmp directory that is not whole. Strangers are ignored.
  OK(agrl_file_mkdirs(in_root("run/v00000002-00000009.tmp"), err));
  OK(agrl_file_write_atomic(in_root("run/v00000002-00000009.tmp/config.json"), "{", 1, err));
  OK(agrl_file_mkdirs(in_root("run/v3-4"), err));
  OK(agrl_ckpt_find_latest(in_root("run"), &dir, &version, err));
  assert_int_equal(version, AGRL_VERSION(2, 3));
  assert_string_equal(dir, in_root("run/v00000002-00000003"));
  free(dir);
  assert_true(first_value(in_root("run/latest"), NULL) == first_value(in_root("run/v00000002-00000003"), NULL));
  flip(in_root("run/v00000002-00000003/model.safetensors"), -1);
  OK(agrl_ckpt_find_latest(in_root("run"), &dir, &version, err));
  assert_int_equal(version, AGRL_VERSION(1, 20));
  free(dir);
}

// A process killed at any moment of its saves leaves a newest version that is whole, and "latest" pointing to a whole one.
static void kill_at_any_moment(void **state) {
  agrl_rng r;
  agrl_rng_init(&r, 3, 3);
  OK(agrl_file_mkdirs(in_root("killed"), err));
  save(in_root("killed/v00000000-00000001"), 1, 1);
  OK(agrl_ckpt_set_latest(in_root("killed"), "v00000000-00000001", err));
  uint64_t newest = 1;
  for (int round = 0; round < 8; round++) {
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
      for (uint64_t v = newest + 1;; v++) {
        char name[32], path[64];
        agrl_ckpt_version_name(v, name);
        snprintf(path, sizeof path, "killed/%s", name);
        save(in_root(path), v, v);
        if (agrl_ckpt_set_latest(in_root("killed"), name, NULL) || agrl_ckpt_retain(in_root("killed"), 2, NULL)) _exit(1);
      }
    }
    char next[64];
    snprintf(next, sizeof next, "killed/v00000000-%08u", (unsigned)newest + 1);
    for (int wait = 0; wait < 5000 && !agrl_file_exists(in_root(next)); wait++) usleep(1000);  // one save got through
    usleep(agrl_rng_below(&r, 60000));
    assert_int_equal(kill(child, SIGKILL), 0);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    char *dir;
    uint64_t version;
    OK(agrl_ckpt_find_latest(in_root("killed"), &dir, &version, err));
    assert_true(version >= newest);
    char path[64];  // the newest name is whole: nothing had to be skipped
    snprintf(path, sizeof path, "killed/v00000000-%08u", (unsigned)version + 1);
    assert_false(agrl_file_exists(in_root(path)));
    OK(agrl_ckpt_verify(in_root("killed/latest"), err));
    newest = version;
    free(dir);
  }
  assert_true(newest >= 9);  // the children came round to saving
}

// Every point at which the disk may be full: the save is refused by the file's path, the checkpoint before it stays the
// newest and whole, nothing half-written is left, and the same save works once there is room.
static void full_disk(void **state) {
  const char old[] = "full/v00000001-00000001", new[] = "full/v00000001-00000002";
  OK(agrl_file_mkdirs(in_root("full"), err));
  save(in_root(old), AGRL_VERSION(1, 1), 1);
  OK(agrl_ckpt_set_latest(in_root("full"), "v00000001-00000001", err));
  struct stat st;
  assert_int_equal(stat(in_root("full/latest/model.safetensors"), &st), 0);
  const rlim_t room[] = {0, 100, 1000, (rlim_t)st.st_size / 2, (rlim_t)st.st_size - 1};
  const char *const into[] = {new, old};  // a new name; the name of a checkpoint that is there
  agrl_layout *l = mc_layout(0);
  float *p = mc_params(l, 2, true);
  for (size_t i = 0; i < 2 * (sizeof room / sizeof *room); i++) {
    const char *name = into[i % 2], *dir = in_root(name);
    agrl_error why = {0};
    assert_int_equal(full_disk_limit(room[i / 2]), 0);
    const agrl_rc rc = agrl_ckpt_save(dir, l, p, AGRL_DTYPE_BF16, tokenizer, strlen(tokenizer), AGRL_VERSION(1, 2), NULL, 0, &why);
    assert_int_equal(full_disk_end(), 0);
    if (rc != AGRL_EFULL || strstr(why.msg, dir) == NULL) fail_msg("room %zu: %s: %s", (size_t)room[i / 2], agrl_rc_name(rc), why.msg);
    assert_false(agrl_file_exists(in_root(new)));
    char tmp[64];
    snprintf(tmp, sizeof tmp, "%s.tmp", name);
    assert_false(agrl_file_exists(in_root(tmp)));
    char *latest;
    uint64_t version;
    OK(agrl_ckpt_find_latest(in_root("full"), &latest, &version, err));
    assert_int_equal(version, AGRL_VERSION(1, 1));
    free(latest);
    OK(agrl_ckpt_verify(in_root("full/latest"), err));
  }
  OK(agrl_ckpt_save(in_root(new), l, p, AGRL_DTYPE_BF16, tokenizer, strlen(tokenizer), AGRL_VERSION(1, 2), NULL, 0, err));
  OK(agrl_ckpt_set_latest(in_root("full"), "v00000001-00000002", err));
  uint64_t version;
  first_value(in_root("full/latest"), &version);
  assert_int_equal(version, AGRL_VERSION(1, 2));
  free(p);
  agrl_layout_free(l);
}

static void retention(void **state) {
  char name[64];
  OK(agrl_file_mkdirs(in_root("keep"), err));
  for (unsigned i = 1; i <= 5; i++) {
    snprintf(name, sizeof name, "keep/v00000001-%08u", i);
    save(in_root(name), AGRL_VERSION(1, i), i);
  }
  OK(agrl_file_mkdirs(in_root("keep/v00000001-00000009.tmp"), err));
  OK(agrl_file_mkdirs(in_root("keep/mine.tmp"), err));
  OK(agrl_ckpt_set_latest(in_root("keep"), "v00000001-00000002", err));
  OK(agrl_ckpt_retain(in_root("keep"), 2, err));
  for (unsigned i = 1; i <= 5; i++) {
    snprintf(name, sizeof name, "keep/v00000001-%08u", i);
    assert_int_equal(agrl_file_exists(in_root(name)), i == 2 || i >= 4);  // the newest two, and what latest points to
  }
  assert_false(agrl_file_exists(in_root("keep/v00000001-00000009.tmp")));
  assert_true(agrl_file_exists(in_root("keep/mine.tmp")));
  OK(agrl_ckpt_verify(in_root("keep/latest"), err));
  OK(agrl_ckpt_set_link(in_root("keep"), "best", "v00000001-00000004", err));
  save(in_root("keep/v00000001-00000006"), AGRL_VERSION(1, 6), 6);
  OK(agrl_ckpt_set_latest(in_root("keep"), "v00000001-00000006", err));
  OK(agrl_ckpt_retain(in_root("keep"), 1, err));
  for (unsigned i = 1; i <= 6; i++) {
    snprintf(name, sizeof name, "keep/v00000001-%08u", i);
    assert_int_equal(agrl_file_exists(in_root(name)), i == 4 || i == 6);  // what best and latest point to
  }
  OK(agrl_ckpt_set_link(in_root("keep"), "best", "v00000001-00000006", err));
  OK(agrl_ckpt_retain(in_root("keep"), 1, err));
  assert_false(agrl_file_exists(in_root("keep/v00000001-00000004")));  // nobody keeps it any more
  REFUSED(AGRL_EINVAL, "../x", agrl_ckpt_set_latest(in_root("keep"), "../x", err));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(round_trip),          cmocka_unit_test(manifest_watches_every_file),
            cmocka_unit_test(saving_again_replaces),
      cmocka_unit_test(tensors_must_match),  cmocka_unit_test(unsupported_configs_are_named),
          cmocka_unit_test(newest_whole_version_wins),
      cmocka_unit_test(kill_at_any_moment),  cmocka_unit_test(full_disk),
          cmocka_unit_test(retention),
  };
  if (agrl_tensor_init(NULL) != AGRL_OK) return 70;
  return cmocka_run_group_tests(tests, make_root, remove_root);
}
