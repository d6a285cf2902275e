// SPDX-License-Identifier: Apache-2.0
// agrlctl model import|export|inspect|chat: models from elsewhere, and checkpoints for elsewhere.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/file.h"
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
    "chat: one greedy answer to PROMPT by the model's chat template; --system takes the place of the template's own words.\n"
    "--dtype: of the weights written (default bf16, what actors serve).\n";

typedef struct options {
  agrl_dtype dtype;
  bool json, adapter;
  ctl_chat_options chat;
} options;

static agrl_rc write_dir(const ctl_model *m, const char *out, const options *o, uint64_t version, agrl_error *err) {
  agrl_ckpt_extra extra[2];
  size_t n = 0;
  if (m->tokenizer_config.len)
    extra[n++] = (agrl_ckpt_extra){AGRL_CKPT_TOKENIZER_CONFIG, m->tokenizer_config.data, m->tokenizer_config.len};
  if (m->chat_template.len) extra[n++] = (agrl_ckpt_extra){AGRL_CKPT_CHAT_TEMPLATE, m->chat_template.data, m->chat_template.len};
  ctl_model_note("%s: writing", out);
  agrl_rc rc = agrl_ckpt_save(out, m->layout, m->block, o->dtype, m->tokenizer_json.data, m->tokenizer_json.len, version, extra, n,
                              err);
  ctl_model_note("%s", "");
  return rc;
}

static int convert(const char *from, const char *out, const options *o, bool keep_version) {
  const uint64_t start_ns = agrl_mono_ns();
  ctl_model m = {0};
  agrl_error err = {0};
  agrl_rc rc = AGRL_OK;
  if (agrl_file_exists(out)) rc = agrl_fail(&err, AGRL_EEXIST, "%s: exists already; remove it or choose another place", out);
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
  if (agrl_file_exists(out)) rc = agrl_fail(&err, AGRL_EEXIST, "%s: exists already; remove it or choose another place", out);
  else if (!agrl_file_exists(description))
    rc = agrl_fail(&err, AGRL_ENOENT, "%s: has no adapters; it was trained with lora.rank 0", from);
  if (!rc) rc = agrl_file_mkdirs(out, &err);
  if (!rc) rc = copy_extra(from, AGRL_CKPT_ADAPTER_MODEL, out, AGRL_CKPT_ADAPTER_MODEL, &err);
  if (!rc) rc = copy_extra(from, AGRL_CKPT_ADAPTER_CONFIG, out, AGRL_PEFT_ADAPTER_CONFIG, &err);
  if (!rc) printf("agrlctl: %s: adapters for the model that its %s names\n", out, AGRL_PEFT_ADAPTER_CONFIG);
  free(description);
  return rc ? ctl_fail(&err) : 0;
}

static int run(int argc, char **argv) {
  static const struct option longs[] = {{"dtype", 1, 0, 'd'},   {"system", 1, 0, 's'}, {"max-new", 1, 0, 'm'},
                                        {"threads", 1, 0, 't'}, {"adapter", 0, 0, 'a'}, {"help", 0, 0, 'h'},   {0, 0, 0, 0}};
  options o = {.dtype = AGRL_DTYPE_BF16, .chat = {.max_new = 256, .threads = 2}};
  for (int k; (k = getopt_long(argc, argv, "o:h", longs, NULL)) != -1;) {
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
      default: return ctl_usage(&ctl_cmd_model, "unknown option");
    }
  }
  char **word = argv + optind;
  const int words = argc - optind;
  const char *verb = words > 0 ? word[0] : "";
  agrl_error err = {0};
  if (agrl_tensor_init(&err)) return ctl_fail(&err);
  if (!strcmp(verb, "import") && words == 3) return convert(word[1], word[2], &o, false);
  if (!strcmp(verb, "export") && words == 3 && o.adapter) return export_adapter(word[1], word[2]);
  if (!strcmp(verb, "export") && words == 3) return convert(word[1], word[2], &o, true);
  if (!strcmp(verb, "inspect") && words == 2) return ctl_model_inspect(word[1], o.json);
  o.chat.prompt = words == 3 ? word[2] : NULL;
  if (!strcmp(verb, "chat") && words == 3) return ctl_model_chat(word[1], &o.chat);
  return ctl_usage(&ctl_cmd_model, "expected: import SRC OUT, export CHECKPOINT OUT, inspect PATH, or chat PATH PROMPT");
}

const ctl_command ctl_cmd_model = {"model", "import, export, inspect a model, or ask it", usage, run};
