// SPDX-License-Identifier: Apache-2.0
// The configuration: table, binding with places, cross-key checks, overrides, dump and reload.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/conf/config.h"

static char file[] = "/tmp/agrl-conf-XXXXXX";

static agrl_rc load(const char *text, agrl_config *c, agrl_error *err) {
  assert_int_equal(agrl_file_write_atomic(file, text, strlen(text), NULL), AGRL_OK);
  return agrl_config_load(file, c, err);
}

static void refused(const char *text, agrl_rc want_rc, const char *want) {
  agrl_config c;
  agrl_error err = {0};
  agrl_rc rc = load(text, &c, &err);
  if (rc != want_rc || !strstr(err.msg, want) || strncmp(err.msg, file, strlen(file)) != 0) {
    fail_msg("%s\nwas %s \"%s\", expected %s \"%s\"", text, agrl_rc_name(rc), err.msg, agrl_rc_name(want_rc), want);
  }
}

static void accepted(const char *text) {
  agrl_config c;
  agrl_error err = {0};
  if (load(text, &c, &err)) fail_msg("%s\nrefused: %s", text, err.msg);
  agrl_config_release(&c);
}

static void table_is_sound(void **state) {
  for (size_t i = 0; i < agrl_config_table_len; i++) {
    const agrl_conf_key *k = &agrl_config_table[i];
    size_t help = strlen(k->help);
    if (!strchr(k->path, '.') || help < 10 || k->help[help - 1] != '.') fail_msg("row %s", k->path);
    if ((k->type == AGRL_CONF_ENUM) != (k->choices != NULL)) fail_msg("choices of %s", k->path);
    for (size_t j = 0; j < i; j++) {
      if (strcmp(k->path, agrl_config_table[j].path) == 0 || k->offset == agrl_config_table[j].offset) fail_msg("twice: %s", k->path);
    }
  }
  // Every byte of the struct but padding belongs to a row: fill the fields, nothing else may be left.
  agrl_config c;
  memset(&c, 0xA5, sizeof c);
  agrl_conf_defaults(agrl_config_table, agrl_config_table_len, &c);
  size_t covered = 0;
  static const size_t size_of[] = {sizeof(bool), 8, 8, 8, 8, sizeof(char *), sizeof(char *), sizeof(int)};
  for (size_t i = 0; i < agrl_config_table_len; i++) covered += size_of[agrl_config_table[i].type];
  assert_true(covered <= sizeof c && sizeof c - sizeof c.given - covered < 64);
  agrl_config_release(&c);
}

static void defaults_are_the_method_s(void **state) {
  agrl_config c;
  agrl_error err = {0};
  assert_int_equal(agrl_config_load(NULL, &c, &err), AGRL_OK);
  assert_true(c.replay.tau == 0.25 && c.replay.guide_warmup == 50 && c.grpo.group_size == 16 && c.grpo.kl_beta == 0.02);
  assert_true(c.replay.task_lease_ns == 60000000000u && c.replay.sync == AGRL_SYNC_SAFE && c.reward.gate == AGRL_GATE_RULE);
  assert_true(c.model.tied && c.replay.guided && c.obs.log_level == 2 && c.grpo.guided_loss == AGRL_GUIDED_GUIDE);
  assert_string_equal(c.obs.http_host, "127.0.0.1");
  agrl_config_release(&c);
  assert_null(c.run.name);
}

static void files_set_fields(void **state) {
  agrl_config c;
  agrl_error err = {0};
  const char *text =
      "run: {name: n1, dir: \"my dir\", seed: 9}\nreplay:\n  map_size: 64MiB\n  commit_interval: 2ms\n  guided: true\n  selector: uniform\n"
      "grpo:\n  lr: 1e-3\nmodel:\nnet:\n  replay:\n";
  assert_int_equal(load(text, &c, &err), AGRL_OK);
  assert_string_equal(c.run.dir, "my dir");
  assert_true(c.run.seed == 9 && c.replay.map_bytes == 64u << 20 && c.replay.commit_interval_ns == 2000000);
  assert_true(c.replay.guided && c.replay.selector == AGRL_SELECT_UNIFORM && c.grpo.lr == 1e-3 && c.model.layers == 4);
  agrl_config_release(&c);
}

static void mistakes_are_named_with_their_place(void **state) {
  refused("replay:\n  tua: 0.3\n", AGRL_ECONFIG, ":2:8: unknown key replay.tua; did you mean replay.tau?");
  refused("replya:\n  tau: 0.3\n", AGRL_ECONFIG, ":2:3: unknown key replya; did you mean replay?");
  refused("grpo:\n  tau: 0.3\n", AGRL_ECONFIG, "unknown key grpo.tau; did you mean replay.tau?");
  refused("zzzzzz: 1\n", AGRL_ECONFIG, "unknown key zzzzzz");
  refused("replay:\n  tau: 1.5\n", AGRL_ECONFIG, ":2:8: replay.tau: \"1.5\": out of range, 0 to 1");
  refused("actor:\n  slots: 80x\n", AGRL_ECONFIG, "actor.slots: \"80x\": expected a whole number");
  refused("actor:\n  slots: '80'\n", AGRL_ECONFIG, "in quotes");
  refused("actor:\n  slots:\n", AGRL_ECONFIG, "actor.slots: has no value");
  refused("actor:\n  slots: [1]\n", AGRL_ECONFIG, "expected one value");
  refused("actor: 3\n", AGRL_ECONFIG, "actor: is a section");
  refused("- actor\n", AGRL_ECONFIG, ":1:1: expected sections");
  refused("actor:\n  ack_timeout: 5\n", AGRL_ECONFIG, "expected a duration such as 250ms");
  refused("actor:\n  ack_timeout: 1ms\n", AGRL_ECONFIG, "out of range, 10ms to 1h");
  refused("replay:\n  map_size: 64MB\n", AGRL_ECONFIG, "expected a size such as 64MiB");
  refused("replay:\n  guided: yes\n", AGRL_ECONFIG, "expected true or false");
  refused("replay:\n  sync: sfe\n", AGRL_ECONFIG, "expected one of safe nometa none; did you mean safe?");
  refused("run:\n  dir: \"a\\nb\"\n", AGRL_ECONFIG, "control character");
  refused("run: {seed: 1}\nrun: {seed: 2}\n", AGRL_ECONFIG, "twice");
  refused("run.seed: 1\nrun: {seed: 2}\n", AGRL_ECONFIG, ":2:13: key \"run.seed\" is here twice; it stands at line 1 already");
  accepted("run.seed: 1\nrun: {name: n}\n");
  agrl_config c;
  agrl_error err = {0};
  assert_int_equal(agrl_config_load("/nonexistent/agrl.yaml", &c, &err), AGRL_ENOENT);
}

static void keys_must_agree(void **state) {
  refused("model: {heads: 3}\n", AGRL_ECONFIG, "model.heads: 3 does not divide model.hidden 128");
  refused("model: {heads: 128, kv_heads: 1}\n", AGRL_ECONFIG, "must be even");
  refused("model: {kv_heads: 3}\n", AGRL_ECONFIG, "model.kv_heads: 3 does not divide model.heads 4");
  refused("actor: {max_new_tokens: 256}\n", AGRL_ECONFIG, "actor.max_new_tokens: 256 leaves no room");
  refused("grpo: {group_size: 1}\n", AGRL_ECONFIG, "grpo.group_size");
  refused("grpo: {group_size: 2}\n", AGRL_ECONFIG, "replay.guide_replace: a quarter of grpo.group_size 2 is none");
  accepted("run: {method: grpo-pr}\ngrpo: {group_size: 2}\n");
  accepted("grpo: {group_size: 2}\nreplay: {guide_replace: 1}\n");
  refused("replay: {guide_replace: 16}\n", AGRL_ECONFIG, "replay.guide_replace: 16 would replace a whole group");
  refused("grpo: {dual_clip: 0.5}\n", AGRL_ECONFIG, "grpo.dual_clip");
  accepted("grpo: {dual_clip: 0}\n");
  refused("replay: {accuracy_low: 0.95}\n", AGRL_ECONFIG, "replay.accuracy_low");
  refused("replay: {map_size: 1GiB, map_max: 512MiB}\n", AGRL_ECONFIG, "replay.map_max");
  refused("actor: {temperature: 0.7}\n", AGRL_ECONFIG, "actor.temperature: 0.7 must be 1 while grpo.versions is above 0");
  refused("actor: {top_p: 0.9}\n", AGRL_ECONFIG, "actor.top_p: 0.9 must be 1 while");
  refused("actor: {top_k: 40}\n", AGRL_ECONFIG, "actor.top_k: 40 must be 0 while");
  accepted("grpo: {versions: 0}\nactor: {temperature: 0.7, top_p: 0.9, top_k: 40}\n");
  refused("replay: {samples_per_insert: 2}\n", AGRL_ECONFIG, "replay.samples_per_insert: \"2\": out of range, 0.01 to 1");
  refused("actor: {max_unacked: 3}\n", AGRL_ECONFIG, "actor.max_unacked");
  refused("eval: {interval: 30}\n", AGRL_ECONFIG, "eval.interval: 30 is no multiple of learner.checkpoint_every 20; the nearest is 40");
  refused("eval: {interval: 3}\n", AGRL_ECONFIG, "eval.interval: 3 is no multiple of learner.checkpoint_every 20; the nearest is 20");
  accepted("eval: {interval: 60}\n");
  refused("run: {name: a/b}\n", AGRL_ECONFIG, "run.name: \"a/b\"");
  refused("run: {name: ''}\n", AGRL_ECONFIG, "run.name");
  refused("run: {dir: ''}\n", AGRL_ECONFIG, "run.dir");
  refused("obs: {http_port: 65530}\n", AGRL_ECONFIG, "obs.http_port");
  accepted("obs: {http_port: 0}\n");
}

static void adapters(void **state) {
  agrl_config c;
  agrl_error err = {0};
  refused("lora: {rank: 8, targets: [q_proj, v_porj]}\n", AGRL_ECONFIG, "lora.targets: \"v_porj\" is not one of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj; did you mean v_proj?");
  refused("lora: {rank: 8, targets: 'q_proj,,v_proj'}\n", AGRL_ECONFIG, "lora.targets: \"\" is not one of");
  refused("lora: {rank: 8, targets: 'q_proj,'}\n", AGRL_ECONFIG, "lora.targets: \"\" is not one of");
  refused("lora: {rank: 8, targets: [q_proj, q_proj]}\n", AGRL_ECONFIG, "lora.targets: q_proj is given twice");
  refused("lora: {rank: 8, targets: []}\n", AGRL_ECONFIG, "lora.targets: names no matrix");
  refused("lora: {rank: 8, targets: [[q_proj]]}\n", AGRL_ECONFIG, "lora.targets: expected a list of words");
  refused("lora: {rank: 8, targets: {q_proj: 1}}\n", AGRL_ECONFIG, "lora.targets: expected one value, not a list or map");
  refused("lora: {rank: 8, alpha: 0}\n", AGRL_ECONFIG, "lora.alpha: 0 must be above 0");
  refused("lora: {rank: -1}\n", AGRL_ECONFIG, "lora.rank: \"-1\": out of range");
  accepted("lora: {rank: 0, alpha: 0, targets: []}\n");
  refused("lora: {rank: 8}\n", AGRL_ECONFIG, "lora.rank: 8 needs model.init: adapters leave the model's own weights as they are");
  accepted("model: {init: m}\nlora: {rank: 8}\n");
  accepted("model: {init: m}\nlora: {rank: 8, targets: 'q_proj, down_proj'}\n");
  if (load("model:\n  init: m\nlora:\n  rank: 8\n  targets:\n    - q_proj\n    - v_proj\n", &c, &err)) fail_msg("%s", err.msg);
  assert_string_equal(c.lora.targets, "q_proj,v_proj");
  agrl_config_release(&c);
}

static void addresses_stay_on_this_machine(void **state) {
  static const char *const open[] = {"tcp://0.0.0.0:7001", "tcp://*:7001", "tcp://10.0.0.1:7001", "tcp://example.org:7001", "tcp://[::]:7001",
                                     "tcp://127.0.0.1.example.org:7001", "tcp://eth0:7001", "tcp://[::ffff:10.0.0.1]:7001", "tcp://10.0.0.1:1;127.0.0.1:7001", "tcp://localhost.:7001"};
  char text[200];
  for (size_t i = 0; i < sizeof open / sizeof *open; i++) {
    snprintf(text, sizeof text, "net:\n  replay: \"%s\"\n", open[i]);
    refused(text, AGRL_EPERM, "net.replay: \"tcp://");
    refused(text, AGRL_EPERM, "refused until CURVE is configured");
  }
  static const char *const bad[] = {"127.0.0.1:7001", "udp://127.0.0.1:7001", "tcp://127.0.0.1", "tcp://127.0.0.1:0", "tcp://127.0.0.1:70000", "tcp://127.0.0.1:x", "ipc://", "inproc://x"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    snprintf(text, sizeof text, "net:\n  announce: \"%s\"\n", bad[i]);
    refused(text, AGRL_ECONFIG, "net.announce: ");
  }
  static const char *const fine[] = {"tcp://127.0.0.1:7001", "tcp://127.3.2.1:7001", "tcp://[::1]:7001", "tcp://localhost:7001", "ipc:///run/x"};
  for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
    snprintf(text, sizeof text, "net:\n  control: \"%s\"\n", fine[i]);
    accepted(text);
  }
  refused("net: {replay: 'ipc:///a', reward: 'ipc:///a'}\n", AGRL_ECONFIG, "net.reward: \"ipc:///a\" is the endpoint of net.replay already");
  refused("obs: {http_host: 0.0.0.0}\n", AGRL_EPERM, "obs.http_host");
  accepted("obs: {http_host: '::1'}\n");
}

static void overrides_are_checked(void **state) {
  agrl_config c;
  agrl_error err = {0};
  agrl_config_load(NULL, &c, NULL);
  assert_int_equal(agrl_config_set(&c, "actor.count", "5", &err), AGRL_OK);
  assert_int_equal(agrl_config_set(&c, "run.name", "other", &err), AGRL_OK);
  assert_true(c.actor.count == 5 && strcmp(c.run.name, "other") == 0);
  assert_int_equal(agrl_config_set(&c, "actor.count", "-1", &err), AGRL_ECONFIG);
  assert_int_equal(agrl_config_set(&c, "actor.cuont", "1", &err), AGRL_ECONFIG);
  assert_string_equal(err.msg, "unknown key actor.cuont; did you mean actor.count?");
  assert_int_equal(c.actor.count, 5);
  agrl_config_release(&c);
}

static void a_method_is_one_line(void **state) {
  agrl_config c;
  agrl_error err = {0};
  static const struct {
    const char *text;
    int method, mode;
    bool guided;
    int64_t versions;
  } rows[] = {
      {"run: {method: sft}\ngrpo: {versions: 7}\n", AGRL_METHOD_SFT, AGRL_REWARD_SHAPED, false, 0},
      {"run: {method: dpo}\ngrpo: {versions: 7}\n", AGRL_METHOD_DPO, AGRL_REWARD_SHAPED, false, 7},
      {"run: {method: grpo}\n", AGRL_METHOD_GRPO, AGRL_REWARD_SPARSE, false, 200},
      {"run: {method: grpo-pr}\n", AGRL_METHOD_GRPO_PR, AGRL_REWARD_SHAPED, false, 200},
      {"run: {method: agrl}\n", AGRL_METHOD_AGRL, AGRL_REWARD_SHAPED, true, 200},
      {"run: {seed: 1}\n", AGRL_METHOD_AGRL, AGRL_REWARD_SHAPED, true, 200},
      {"reward: {mode: sparse}\nreplay: {guided: false}\nrun: {method: grpo}\n", AGRL_METHOD_GRPO, AGRL_REWARD_SPARSE, false, 200},
      {"reward: {mode: sparse}\nrun: {method: dpo}\n", AGRL_METHOD_DPO, AGRL_REWARD_SPARSE, false, 200},
      {"reward: {gate: both}\nrun: {method: agrl}\n", AGRL_METHOD_AGRL, AGRL_REWARD_SHAPED, true, 200},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    if (load(rows[i].text, &c, &err)) fail_msg("%s", err.msg);
    if (c.run.method != rows[i].method || c.reward.mode != rows[i].mode || c.replay.guided != rows[i].guided || agrl_config_versions(&c) != rows[i].versions)
      fail_msg("%s gives method %d mode %d guided %d versions %d", rows[i].text, c.run.method, c.reward.mode, c.replay.guided, (int)agrl_config_versions(&c));
    agrl_buf dump = {0}, again = {0};  // what a daemon reads
    agrl_config_dump(&c, false, &dump);
    agrl_config_release(&c);
    if (load(dump.data, &c, &err)) fail_msg("%s", err.msg);
    agrl_config_dump(&c, false, &again);
    assert_string_equal(dump.data, again.data);
    agrl_buf_release(&dump), agrl_buf_release(&again);
    agrl_config_release(&c);
  }
  // From the command line: the last method counts, before or after keys of its own, which it must agree with in the end.
  assert_int_equal(load("replay: {tau: 0.3}\n", &c, &err), AGRL_OK);
  assert_int_equal(agrl_config_set(&c, "run.method", "grpo", &err), AGRL_OK);
  assert_true(c.reward.mode == AGRL_REWARD_SPARSE && !c.replay.guided && c.replay.tau == 0.3);
  assert_int_equal(agrl_config_set(&c, "reward.mode", "shaped", &err), AGRL_OK);
  assert_int_equal(c.reward.mode, AGRL_REWARD_SHAPED);
  assert_int_equal(agrl_config_set(&c, "run.method", "agrl", &err), AGRL_OK);
  assert_true(c.replay.guided);
  assert_int_equal(agrl_config_set(&c, "run.method", "grpo", &err), AGRL_OK);
  assert_true(c.reward.mode == AGRL_REWARD_SHAPED && !c.replay.guided);
  assert_int_equal(agrl_config_check(&c, &err), AGRL_ECONFIG);
  assert_string_equal(err.msg, "reward.mode: contradicts run.method grpo, which stands for reward.mode sparse; leave reward.mode out, or choose another run.method");
  assert_int_equal(agrl_config_set(&c, "run.method", "agrll", &err), AGRL_ECONFIG);
  assert_non_null(strstr(err.msg, "did you mean agrl?"));
  agrl_config_release(&c);
  refused("run: {method: dpo}\nreplay: {guided: true}\n", AGRL_ECONFIG, "replay.guided: contradicts run.method dpo, which stands for replay.guided false");
  refused("run: {method: grpo}\nreplay: {guided: true}\n", AGRL_ECONFIG, "replay.guided: contradicts run.method grpo");
  refused("replay: {guided: false}\n", AGRL_ECONFIG, "replay.guided: contradicts run.method agrl, which stands for replay.guided true");
  refused("grpo: {overlong: soft, overlong_buffer: 97}\n", AGRL_ECONFIG, "grpo.overlong_buffer: 97 is more than actor.max_new_tokens 96");
  accepted("run: {method: sft}\nactor: {temperature: 0.7}\n");
}

// The example file and what is made of it: another method is one line, whatever else the file states.
static void a_method_is_one_line_of_the_example(void **state) {
  agrl_buf have = {0};
  agrl_config c;
  agrl_error err = {0};
  if (agrl_file_read(AGRL_TEST_DIR "/../deploy/etc/agrl.yaml", 1 << 20, &have, &err)) fail_msg("%s", err.msg);
  agrl_buf_addc(&have, '\0');
  static const char line[] = "  method: agrl\n";
  const char *at = strstr(have.data, line);
  assert_non_null(at);
  static const struct {
    const char *method;
    int mode;
    bool guided;
  } rows[] = {{"grpo", AGRL_REWARD_SPARSE, false}, {"grpo-pr", AGRL_REWARD_SHAPED, false}, {"dpo", AGRL_REWARD_SHAPED, false}, {"agrl", AGRL_REWARD_SHAPED, true}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    agrl_buf edited = {0}, with_help = {0};
    agrl_buf_addf(&edited, "%.*s  method: %s\n%s", (int)(at - have.data), have.data, rows[i].method, at + sizeof line - 1);
    if (load(edited.data, &c, &err)) fail_msg("%s", err.msg);
    if (c.reward.mode != rows[i].mode || c.replay.guided != rows[i].guided) fail_msg("%s: mode %d guided %d", rows[i].method, c.reward.mode, c.replay.guided);
    agrl_config_dump(&c, true, &with_help);  // of that, too
    assert_non_null(strstr(with_help.data, "\n  # guided: "));
    assert_null(strstr(with_help.data, "\n  guided: "));
    agrl_config_release(&c);
    agrl_buf_release(&edited), agrl_buf_release(&with_help);
  }
  agrl_buf_release(&have);
}

static void what_a_method_needs(void **state) {
  agrl_config c;
  agrl_error err = {0};
  assert_int_equal(load("grpo: {kl_beta: 0}\n", &c, &err), AGRL_OK);
  assert_true(agrl_config_needs_reference(&c) && !agrl_config_needs_traces(&c));
  agrl_config_set(&c, "grpo.sft_weight", "0.1", &err);
  assert_true(agrl_config_needs_reference(&c) && agrl_config_needs_traces(&c));
  agrl_config_set(&c, "grpo.sft_weight", "0", &err);
  agrl_config_set(&c, "run.method", "dpo", &err);
  assert_true(agrl_config_needs_reference(&c) && agrl_config_needs_traces(&c));
  agrl_config_set(&c, "grpo.versions", "0", &err);  // no RL updates
  assert_false(agrl_config_needs_reference(&c) || agrl_config_needs_traces(&c));
  agrl_config_set(&c, "grpo.versions", "9", &err);
  agrl_config_set(&c, "run.method", "sft", &err);
  assert_false(agrl_config_needs_reference(&c) || agrl_config_needs_traces(&c));
  agrl_config_release(&c);
}

static void dump_loads_to_the_same(void **state) {
  agrl_config c;
  agrl_error err = {0};
  agrl_config_load(NULL, &c, NULL);
  agrl_config_set(&c, "run.dir", "with space: and #\"quotes\" caf\xc3\xa9", &err);
  agrl_config_set(&c, "data.train", "-", &err);
  agrl_config_set(&c, "grpo.lr", "0.00012345678901234567", &err);
  agrl_config_set(&c, "replay.commit_interval", "1234567ns", &err);
  agrl_config_set(&c, "replay.map_size", "1048577", &err);
  for (int help = 0; help < 2; help++) {
    agrl_buf first = {0}, second = {0};
    agrl_config again;
    agrl_config_dump(&c, help, &first);
    if (load(first.data, &again, &err)) fail_msg("%s", err.msg);
    agrl_config_dump(&again, help, &second);
    assert_string_equal(first.data, second.data);
    assert_string_equal(again.run.dir, c.run.dir);
    assert_true(again.replay.commit_interval_ns == 1234567 && again.replay.map_bytes == 1048577 && again.grpo.lr == c.grpo.lr);
    assert_true((strstr(first.data, " Range ") != NULL) == help);
    // What `agrlctl up` wrote for one method, with another one set.
    assert_int_equal(agrl_config_set(&again, "run.method", "grpo", &err), AGRL_OK);
    if (agrl_config_check(&again, &err)) fail_msg("%s", err.msg);
    assert_true(again.reward.mode == AGRL_REWARD_SPARSE && !again.replay.guided);
    agrl_config_release(&again);
    agrl_buf_release(&first), agrl_buf_release(&second);
  }
  agrl_config_release(&c);
}

// deploy/etc/agrl.yaml is the dump with help behind a comment; make it again with: agrlctl config dump --help-text
static void example_file_is_the_table(void **state) {
  agrl_config c;
  agrl_buf want = {0}, have = {0};
  agrl_error err = {0};
  agrl_config_load(NULL, &c, NULL);
  agrl_config_dump(&c, true, &want);
  if (agrl_file_read(AGRL_TEST_DIR "/../deploy/etc/agrl.yaml", 1 << 20, &have, &err)) fail_msg("%s", err.msg);
  const char *body = have.data;
  while (*body == '#') body += strcspn(body, "\n") + 1;
  assert_string_equal(body, want.data);
  agrl_buf_release(&want), agrl_buf_release(&have);
  agrl_config_release(&c);
}

static void reload_refuses_what_needs_a_restart(void **state) {
  agrl_config a, b;
  agrl_error err = {0};
  agrl_config_load(NULL, &a, NULL), agrl_config_load(NULL, &b, NULL);
  agrl_config_set(&b, "obs.log_level", "debug", NULL);
  assert_int_equal(agrl_conf_reloadable(agrl_config_table, agrl_config_table_len, &a, &b, &err), AGRL_OK);
  agrl_config_set(&b, "model.layers", "5", NULL);
  assert_int_equal(agrl_conf_reloadable(agrl_config_table, agrl_config_table_len, &a, &b, &err), AGRL_EPERM);
  assert_string_equal(err.msg, "model.layers: cannot change from 4 to 5 while running; restart for it");
  agrl_config_release(&a), agrl_config_release(&b);
}

static void reload_touches_nothing_else(void **state) {
  agrl_config a, b;
  agrl_config_load(NULL, &a, NULL), agrl_config_load(NULL, &b, NULL);
  agrl_config before = a;
  agrl_config_set(&b, "obs.log_level", "debug", NULL);
  agrl_conf_swap_reloadable(agrl_config_table, agrl_config_table_len, &a, &b);
  assert_int_equal(b.obs.log_level, before.obs.log_level);
  assert_int_not_equal(a.obs.log_level, before.obs.log_level);
  a.obs.log_level = before.obs.log_level;
  assert_memory_equal(&a, &before, sizeof a);  // the same strings, too: others hold pointers to them
  agrl_config_release(&a), agrl_config_release(&b);
}

static char *endpoint_in(const char *dir, const char *service) {
  agrl_config c;
  agrl_config_load(NULL, &c, NULL);
  agrl_config_set(&c, "run.dir", dir, NULL);
  char *e = agrl_config_endpoint(&c, service);
  agrl_config_release(&c);
  return e;
}

static void endpoints_fit_a_socket_address(void **state) {
  char *e = endpoint_in("runs/a", "weights");
  assert_string_equal(e, "ipc://runs/a/sock/weights");
  free(e);
  char deep[200];
  memset(deep, 'd', sizeof deep);
  deep[0] = '/', deep[150] = '\0';
  char *x = endpoint_in(deep, "weights"), *again = endpoint_in(deep, "weights"), *y = endpoint_in(deep, "announce");
  deep[149] = 'e';
  char *z = endpoint_in(deep, "weights");
  assert_int_equal(strncmp(x, "ipc:///tmp/", 11), 0);
  assert_true(strlen(x) - 6 <= 107);
  assert_string_equal(x, again);
  assert_string_not_equal(x, y);
  assert_string_not_equal(x, z);
  free(x), free(again), free(y), free(z);
  agrl_config c;
  agrl_config_load(NULL, &c, NULL);
  agrl_config_set(&c, "net.replay", "tcp://127.0.0.1:7001", NULL);
  e = agrl_config_endpoint(&c, "replay");
  assert_string_equal(e, "tcp://127.0.0.1:7001");
  free(e);
  uint64_t id = agrl_config_run_id(&c);
  agrl_config_set(&c, "run.seed", "2", NULL);
  assert_true(agrl_config_run_id(&c) != id);
  agrl_config_release(&c);
}

static void nearest_word_is_near(void **state) {
  static const char *const words[] = {"alpha", "beta", "alphabet"};
  assert_string_equal(agrl_conf_nearest("alpah", words, 3), "alpha");
  assert_string_equal(agrl_conf_nearest("alphabte", words, 3), "alphabet");
  assert_null(agrl_conf_nearest("zzz", words, 3));
  assert_null(agrl_conf_nearest("x", words, 0));
}

static int set_up(void **state) {
  int fd = mkstemp(file);
  close(fd);
  return fd < 0 ? -1 : 0;
}
static int tear_down(void **state) { return unlink(file); }

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(table_is_sound),        cmocka_unit_test(defaults_are_the_method_s),
      cmocka_unit_test(files_set_fields),      cmocka_unit_test(mistakes_are_named_with_their_place),
      cmocka_unit_test(keys_must_agree), cmocka_unit_test(adapters),       cmocka_unit_test(addresses_stay_on_this_machine),
      cmocka_unit_test(overrides_are_checked), cmocka_unit_test(a_method_is_one_line), cmocka_unit_test(a_method_is_one_line_of_the_example), cmocka_unit_test(what_a_method_needs),
      cmocka_unit_test(dump_loads_to_the_same),
      cmocka_unit_test(example_file_is_the_table),
      cmocka_unit_test(nearest_word_is_near),  cmocka_unit_test(reload_refuses_what_needs_a_restart),
      cmocka_unit_test(reload_touches_nothing_else),
      cmocka_unit_test(endpoints_fit_a_socket_address),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
