// SPDX-License-Identifier: Apache-2.0
// agrlctl model import|export|inspect|chat: models from elsewhere, and checkpoints for elsewhere.
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/num.h"
#include "common/ckpt/adapter.h"
#include "common/tensor/tensor.h"
#include "deploy/ctl/ctl.h"
#include "deploy/ctl/model.h"

static const char usage[] =
    "usage: agrlctl model import SRC OUT [--dtype bf16|f32]\n"
    "       agrlctl model export CHECKPOINT OUT [--dtype bf16|f32] [--adapter]\n"
    "       agrlctl model inspect PATH [-o json]\n"
    "       agrlctl model chat PATH PROMPT [--system TEXT] [--max-new N] [--threads N]\n"
    "import: makes a directory that model.init takes out of SRC, a .gguf file or a Hugging Face directory (llama, qwen2, qwen3).\n"
    "export: writes a checkpoint as a plain Hugging Face directory, without what training keeps beside the weights. Adapters are\n"
    "merged in it; --adapter writes them alone instead, as PEFT reads them.\n"
    "inspect: architecture, shape, parameters, tensors, tokenizer, end tokens, size, and whether the manifest's hashes hold.\n"
    "chat: one greedy answer to PROMPT by the model's chat template, of at most --max-new tokens (256, or what its context holds);\n"
    "--system takes the place of the template's own words.\n"
    "--dtype: of the weights written (default bf16, what actors serve).\n";

typedef struct options {
  agrl_dtype dtype;
  bool json, adapter;
  ctl_chat_options chat;
} options;

// OUT is made beside its place, under a name that no other process takes, and put there in one step: never over what stands
// there, whoever made it meanwhile.
static agrl_rc begin_dir(const char *out, char **tmp, agrl_error *err) {
  size_t n = strlen(out);
  while (n > 1 && out[n - 1] == '/') n--;
  if (n == 0) return agrl_fail(err, AGRL_EINVAL, "OUT is empty; name a directory");
  if (agrl_file_exists(out)) return agrl_fail(err, AGRL_EEXIST, "%s: exists already; remove it or choose another place", out);
  char *parent = agrl_path_dir(out);
  agrl_rc rc = agrl_file_mkdirs(parent, err);
  free(parent);
  if (rc) return rc;
  *tmp = agrl_xasprintf("%.*s.tmp.%ld", (int)n, out, (long)getpid());
  if (mkdir(*tmp, 0755) == 0) return AGRL_OK;
  rc = agrl_fail(err, errno == EACCES || errno == EROFS ? AGRL_EPERM : AGRL_EIO, "%s: cannot make %s: %s", out, *tmp, strerror(errno));
  free(*tmp);
  *tmp = NULL;
  return rc;
}

// A message names the place that was asked for, not the one beside it.
static void name_out(agrl_error *err, const char *out, const char *tmp) {
  const char *at = strstr(err->msg, tmp), *rest = at ? at + strlen(tmp) : NULL;
  if (!at) return;
  if (!strncmp(rest, ".tmp", 4)) rest += 4;  // agrl_ckpt_save's own
  agrl_fail(err, err->code, "%.*s%s%s", (int)(at - err->msg), err->msg, out, rest);
}

// Returns rc, or why it cannot take its place; then nothing is left.
static agrl_rc end_dir(const char *out, char *tmp, agrl_rc rc, agrl_error *err) {
  if (!tmp) return rc;
  if (!rc && renameat2(AT_FDCWD, tmp, AT_FDCWD, out, RENAME_NOREPLACE)) {
    // A file system without this kind of rename: the plain one replaces nothing but an empty directory.
    bool taken = errno == EEXIST || errno == ENOTEMPTY || (errno == EINVAL && agrl_file_exists(out));
    if (taken) rc = agrl_fail(err, AGRL_EEXIST, "%s: exists already; remove it or choose another place", out);
    else if (errno != EINVAL || rename(tmp, out)) rc = agrl_fail(err, AGRL_EIO, "%s: rename: %s", out, strerror(errno));
  } else if (rc) {
    name_out(err, out, tmp);
  }
  if (rc) agrl_file_remove_tree(tmp, NULL);
  char *parent = agrl_path_dir(out);
  if (!rc) rc = agrl_file_sync_dir(parent, err);
  free(parent);
  free(tmp);
  return rc;
}

static agrl_rc write_dir(const ctl_model *m, const char *out, const options *o, uint64_t version, agrl_error *err) {
  agrl_ckpt_extra extra[2];
  size_t n = 0;
  char *tmp = NULL;
  if (m->tokenizer_config.len)
    extra[n++] = (agrl_ckpt_extra){AGRL_CKPT_TOKENIZER_CONFIG, m->tokenizer_config.data, m->tokenizer_config.len};
  if (m->chat_template.len) extra[n++] = (agrl_ckpt_extra){AGRL_CKPT_CHAT_TEMPLATE, m->chat_template.data, m->chat_template.len};
  ctl_model_note("%s: writing", out);
  agrl_rc rc = begin_dir(out, &tmp, err);
  if (!rc)
    rc = agrl_ckpt_save(tmp, m->layout, m->block, o->dtype, m->tokenizer_json.data, m->tokenizer_json.len, version, extra, n, err);
  ctl_model_note("%s", "");
  return end_dir(out, tmp, rc, err);
}

static int convert(const char *from, const char *out, const options *o, bool keep_version) {
  const uint64_t start_ns = agrl_mono_ns();
  ctl_model m = {0};
  agrl_error err = {0};
  agrl_rc rc = AGRL_OK;
  if (agrl_file_exists(out)) rc = agrl_fail(&err, AGRL_EEXIST, "%s: exists already; remove it or choose another place", out);  // soon told
  if (!rc) rc = ctl_model_open(from, &m, &err);
  if (!rc) rc = write_dir(&m, out, o, keep_version ? m.version : 0, &err);
  if (!rc)
    printf("agrlctl: %s: %s, %zu parameters in %s, %zu tokens, %s chat template; %.1f s\n", out, m.layout->spec.arch,
           agrl_layout_params(m.layout), o->dtype == AGRL_DTYPE_F32 ? "f32" : "bf16", agrl_bpe_vocab(m.bpe),
           m.chat_template.len ? "with its" : "no", agrl_since_s(start_ns));
  ctl_model_release(&m);
  return rc ? ctl_fail(&err) : 0;
}

static agrl_rc copy_extra(const char *from, const char *name, const char *out, const char *as, agrl_error *err) {
  agrl_buf b = {0};
  char *path = agrl_path_join(out, as);
  agrl_rc rc = agrl_ckpt_read_extra(from, name, &b, err);
  if (!rc) rc = agrl_file_write_atomic(path, b.data, b.len, err);
  free(path);
  agrl_buf_release(&b);
  return rc;
}

// The description under the name that PEFT looks for: beside whole weights it has another.
static int export_adapter(const char *from, const char *out) {
  agrl_error err = {0};
  agrl_rc rc = AGRL_OK;
  char *description = agrl_path_join(from, AGRL_CKPT_ADAPTER_CONFIG);
  char *tmp = NULL;
  if (!agrl_file_exists(description)) rc = agrl_fail(&err, AGRL_ENOENT, "%s: has no adapters; it was trained with lora.rank 0", from);
  if (!rc) rc = begin_dir(out, &tmp, &err);
  if (!rc) rc = copy_extra(from, AGRL_CKPT_ADAPTER_MODEL, tmp, AGRL_CKPT_ADAPTER_MODEL, &err);
  if (!rc) rc = copy_extra(from, AGRL_CKPT_ADAPTER_CONFIG, tmp, AGRL_PEFT_ADAPTER_CONFIG, &err);
  rc = end_dir(out, tmp, rc, &err);
  if (!rc) printf("agrlctl: %s: adapters for the model that its %s names\n", out, AGRL_PEFT_ADAPTER_CONFIG);
  free(description);
  return rc ? ctl_fail(&err) : 0;
}

// What each verb takes: words with itself, options by their letters.
static const struct verb {
  const char *verb, *name;
  int words;
  const char *options;
  bool adapter;
} verbs[] = {{"import", "model import", 3, "d", false},
             {"export", "model export", 3, "d", false},
             {"export", "model export --adapter", 3, "a", true},
             {"inspect", "model inspect", 2, "o", false},
             {"chat", "model chat", 3, "smt", false}};

static const struct verb *find_verb(const char *verb, int words, bool adapter) {
  for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
    if (!strcmp(verbs[i].verb, verb) && verbs[i].words == words && (strcmp(verb, "export") || verbs[i].adapter == adapter)) return &verbs[i];
  return NULL;
}

static int run(int argc, char **argv) {
  static const struct option longs[] = {{"dtype", 1, 0, 'd'},   {"system", 1, 0, 's'}, {"max-new", 1, 0, 'm'},
                                        {"threads", 1, 0, 't'}, {"adapter", 0, 0, 'a'}, {"help", 0, 0, 'h'},   {0, 0, 0, 0}};
  options o = {.dtype = AGRL_DTYPE_BF16, .chat = {.threads = 2}};
  bool given[CTL_LETTERS] = {false};
  for (int k; (k = getopt_long(argc, argv, "o:h", longs, NULL)) != -1; given[k] = true) {
    uint64_t n = 0;
    switch (k) {
      case 'h': return ctl_help(&ctl_cmd_model);
      case 'd':
        if (strcmp(optarg, "bf16") && strcmp(optarg, "f32")) return ctl_usage(&ctl_cmd_model, "--dtype %s: expected bf16 or f32", optarg);
        o.dtype = strcmp(optarg, "f32") ? AGRL_DTYPE_BF16 : AGRL_DTYPE_F32;
        break;
      case 'o':
        if (strcmp(optarg, "json") && strcmp(optarg, "text")) return ctl_usage(&ctl_cmd_model, "-o %s: expected json or text", optarg);
        o.json = !strcmp(optarg, "json");
        break;
      case 'a': o.adapter = true; break;
      case 's': o.chat.system = optarg; break;
      case 'm':
        if (!agrl_parse_u64(optarg, &n) || !n || n > 65536) return ctl_usage(&ctl_cmd_model, "--max-new: '%s' is not 1 to 65536", optarg);
        o.chat.max_new = (size_t)n;
        break;
      case 't':
        if (!agrl_parse_u64(optarg, &n) || !n || n > 256) return ctl_usage(&ctl_cmd_model, "--threads: '%s' is not 1 to 256", optarg);
        o.chat.threads = (unsigned)n;
        break;
      default: return ctl_bad_option(&ctl_cmd_model);
    }
  }
  char **word = argv + optind;
  const int words = argc - optind;
  const char *verb = words > 0 ? word[0] : "";
  const struct verb *v = find_verb(verb, words, o.adapter);
  if (!v) return ctl_usage(&ctl_cmd_model, "expected: import SRC OUT, export CHECKPOINT OUT, inspect PATH, or chat PATH PROMPT");
  int code = ctl_only_options(&ctl_cmd_model, v->name, longs, given, v->options);
  if (code) return code;
  agrl_error err = {0};
  if (agrl_tensor_init(&err)) return ctl_fail(&err);
  if (!strcmp(verb, "import")) return convert(word[1], word[2], &o, false);
  if (!strcmp(verb, "export")) return o.adapter ? export_adapter(word[1], word[2]) : convert(word[1], word[2], &o, true);
  if (!strcmp(verb, "inspect")) return ctl_model_inspect(word[1], o.json);
  o.chat.prompt = word[2];
  return ctl_model_chat(word[1], &o.chat);
}

const ctl_command ctl_cmd_model = {"model", "import, export, inspect a model, or ask it", usage, run};
