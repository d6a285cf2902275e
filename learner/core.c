// SPDX-License-Identifier: Apache-2.0
// Construction and release of the training core around a layout and its parameters.
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/ckpt/hf.h"
#include "common/conf/targets.h"
#include "learner/learner.h"

// Tokens of one forward/backward pass: what sft.batch_tokens says, but never less than the longest sequence, or pair of them.
static size_t pass_tokens(const learner_core *c) {
  int64_t context = c->layout->spec.context;
  if (c->config->model.context > 0 && context > c->config->model.context) context = c->config->model.context;
  if (c->config->run.method == AGRL_METHOD_DPO) context *= 2;
  int64_t batch = c->config->sft.batch_tokens;
  return (size_t)(batch > context ? batch : context);
}

agrl_rc learner_core_adopt(learner_core *c, agrl_layout *layout, const float *block, agrl_error *err) {
  c->layout = layout;
  c->start_id = layout->spec.start_id;
  c->end_id = layout->spec.end_id;
  learner_pack_init(&c->pack, pass_tokens(c));
  agrl_rc rc = agrl_trainer_new(layout, c->pool, pass_tokens(c), (agrl_recompute)c->config->learner.recompute, &c->trainer, err);
  if (rc != AGRL_OK) return rc;
  if (c->config->lora.rank == 0) return learner_optim_init(&c->optim, layout, c->pool, block, err);
  unsigned targets;
  rc = agrl_targets_parse(c->config->lora.targets, &targets, err);
  if (rc == AGRL_OK) rc = agrl_lora_new(layout, (size_t)c->config->lora.rank, c->config->lora.alpha, targets, &c->lora, err);
  if (rc == AGRL_OK) rc = agrl_trainer_adapt(c->trainer, c->lora, err);
  if (rc == AGRL_OK) rc = learner_optim_init_lora(&c->optim, c->lora, c->pool, block, (uint64_t)c->config->run.seed, err);
  return rc;
}

void learner_core_release(learner_core *c) {
  if (c->sft != NULL) {
    learner_sft_set_close(c->sft);
    free(c->sft);
  }
  agrl_weights_unref(c->reference);
  learner_optim_release(&c->optim);
  learner_pack_release(&c->pack);
  if (c->trainer != NULL) agrl_trainer_free(c->trainer);
  agrl_lora_free(c->lora);
  free(c->base_dir);
  if (c->layout != NULL) agrl_layout_free(c->layout);
  if (c->bpe != NULL) agrl_bpe_free(c->bpe);
  agrl_buf_release(&c->tokenizer_json);
  agrl_buf_release(&c->tokenizer_config);
  agrl_buf_release(&c->chat_template);
  memset(c, 0, sizeof *c);
}

static agrl_rc read_if_there(const char *dir, const char *name, agrl_buf *out, agrl_error *err) {
  char *path = agrl_path_join(dir, name);
  agrl_buf_clear(out);
  agrl_rc rc = agrl_file_exists(path) ? agrl_file_read(path, (size_t)256 << 20, out, err) : AGRL_OK;
  free(path);
  return rc;
}

agrl_rc learner_core_tokenizer(learner_core *c, const char *checkpoints, agrl_error *err) {
  char *path = agrl_path_join(checkpoints, "tokenizer.json");
  agrl_buf_clear(&c->tokenizer_json);
  agrl_rc rc = agrl_file_read(path, (size_t)256 << 20, &c->tokenizer_json, err);
  if (rc == AGRL_OK) rc = agrl_bpe_parse(c->tokenizer_json.data, c->tokenizer_json.len, path, &c->bpe, err);
  free(path);
  if (rc == AGRL_OK) rc = read_if_there(checkpoints, AGRL_CKPT_TOKENIZER_CONFIG, &c->tokenizer_config, err);
  if (rc == AGRL_OK) rc = read_if_there(checkpoints, AGRL_CKPT_CHAT_TEMPLATE, &c->chat_template, err);
  if (rc == AGRL_OK && c->sft != NULL) learner_sft_set_bind(c->sft, c->bpe, c->start_id, c->end_id);
  return rc;
}

agrl_rc learner_core_need_sft(learner_core *c, agrl_error *err) {
  if (c->sft == NULL) {
    learner_sft_set *s = agrl_xcalloc(1, sizeof *s);
    agrl_rc rc = learner_sft_set_open(s, c->config, err);
    if (rc != AGRL_OK) {
      free(s);
      return rc;
    }
    c->sft = s;
  }
  if (c->bpe != NULL) learner_sft_set_bind(c->sft, c->bpe, c->start_id, c->end_id);
  return AGRL_OK;
}
