// SPDX-License-Identifier: Apache-2.0
// The beginning of a run: weights and tokenizer from model.init, or a tokenizer trained on the data and fresh weights of the
// configured shape. Both are functions of the configuration and the seed, so dying here and starting over changes nothing.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/ckpt/hf.h"
#include "learner/learner.h"

static const float NORM_EPS = 1e-5f;

static agrl_rc copy_file(const char *from_dir, const char *to_dir, const char *name, bool required, agrl_error *err) {
  char *from = agrl_path_join(from_dir, name), *to = agrl_path_join(to_dir, name);
  agrl_buf text = {0};
  agrl_rc rc = AGRL_OK;
  if (required || agrl_file_exists(from)) {
    rc = agrl_file_read(from, (size_t)256 << 20, &text, err);
    if (rc == AGRL_OK) rc = agrl_file_write_atomic(to, text.data, text.len, err);
  }
  agrl_buf_release(&text);
  free(from);
  free(to);
  return rc;
}

static agrl_rc from_directory(learner_core *c, const char *checkpoints, agrl_error *err) {
  const char *dir = c->config->model.init;
  agrl_layout *layout = NULL;
  float *block = NULL;
  uint64_t version;
  agrl_rc rc = copy_file(dir, checkpoints, "tokenizer.json", true, err);
  if (rc == AGRL_OK) rc = copy_file(dir, checkpoints, AGRL_CKPT_TOKENIZER_CONFIG, false, err);
  if (rc == AGRL_OK) rc = copy_file(dir, checkpoints, AGRL_CKPT_CHAT_TEMPLATE, false, err);
  if (rc == AGRL_OK) rc = agrl_ckpt_load(dir, &layout, &block, &version, err);
  if (rc != AGRL_OK) return rc;
  rc = learner_core_adopt(c, layout, block, err);
  agrl_block_free(block, layout->n_elements * sizeof(float));
  return rc;
}

static agrl_spec configured_spec(const agrl_config *c, const agrl_bpe *bpe) {
  agrl_spec s = {.n_layers = (int32_t)c->model.layers,
                 .hidden = (int32_t)c->model.hidden,
                 .ffn = (int32_t)c->model.ffn,
                 .n_heads = (int32_t)c->model.heads,
                 .n_kv_heads = (int32_t)c->model.kv_heads,
                 .head_dim = (int32_t)(c->model.hidden / c->model.heads),
                 .vocab = (int32_t)((agrl_bpe_vocab(bpe) + 31) / 32 * 32),
                 .context = (int32_t)c->model.context,
                 .rope_theta = (float)c->model.rope_theta,
                 .norm_eps = NORM_EPS,
                 .tied = c->model.tied,
                 .start_id = agrl_bpe_special(bpe, AGRL_TOK_START),
                 .end_id = agrl_bpe_special(bpe, AGRL_TOK_END)};
  snprintf(s.arch, sizeof s.arch, "llama");
  return s;
}

static agrl_rc fresh(learner_core *c, const char *tokenizer_path, agrl_error *err) {
  agrl_rc rc = learner_core_need_sft(c, err);
  agrl_bpe *bpe = NULL;
  if (rc == AGRL_OK) rc = learner_sft_set_tokenizer(c->sft, (size_t)c->config->model.vocab, &bpe, err);
  if (rc != AGRL_OK) return rc;
  agrl_spec spec = configured_spec(c->config, bpe);
  rc = agrl_bpe_save(bpe, tokenizer_path, err);
  agrl_bpe_free(bpe);
  agrl_layout *layout = NULL;
  if (rc == AGRL_OK) rc = agrl_layout_new(&spec, &layout, err);
  if (rc != AGRL_OK) return rc;
  float *block = agrl_block_alloc(layout->n_elements * sizeof *block);
  if (block == NULL) {
    rc = agrl_fail(err, AGRL_ENOMEM, "no memory for %zu parameters", layout->n_elements);
    agrl_layout_free(layout);
    return rc;
  }
  agrl_params_init(layout, block, (uint64_t)c->config->run.seed);
  rc = learner_core_adopt(c, layout, block, err);
  agrl_block_free(block, layout->n_elements * sizeof *block);
  return rc;
}

agrl_rc learner_core_create(learner_core *c, const char *checkpoints, agrl_error *err) {
  char *path = agrl_path_join(checkpoints, "tokenizer.json");
  bool init = c->config->model.init != NULL && c->config->model.init[0] != '\0';
  agrl_rc rc = init ? from_directory(c, checkpoints, err) : fresh(c, path, err);
  free(path);
  if (rc == AGRL_OK) rc = learner_core_tokenizer(c, checkpoints, err);
  if (rc == AGRL_OK && c->lora != NULL) rc = learner_base_save(c, err);
  if (rc != AGRL_OK) return rc;
  if (c->end_id < 0)
    return agrl_fail(err, AGRL_ECONFIG, "model.init %s names no end token (eos_token_id): completions could not end", c->config->model.init);
  if (agrl_bpe_vocab(c->bpe) > (size_t)c->layout->spec.vocab)
    return agrl_fail(err, AGRL_ECONFIG, "model.init %s: the tokenizer has %zu ids, the model %d", c->config->model.init,
                     agrl_bpe_vocab(c->bpe), c->layout->spec.vocab);
  agrl_logi("model created params=%zu trained=%zu vocab=%d context=%d init=%s", agrl_layout_params(c->layout),
            agrl_layout_params(c->optim.trained), c->layout->spec.vocab, c->layout->spec.context, init ? c->config->model.init : "random");
  return AGRL_OK;
}
