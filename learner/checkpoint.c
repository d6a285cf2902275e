// SPDX-License-Identifier: Apache-2.0
// Checkpoints: a Hugging Face directory of the served weights (bf16), and beside it what exact continuation needs: master
// weights and moments (raw little-endian f32 in layout order), a refreshed reference and trainer_state.json. Hashes of all are in the manifest.
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/mem.h"
#include "common/ckpt/hf.h"
#include "learner/learner.h"

static const char STATE_FILE[] = "trainer_state.json";
static const char REFERENCE_FILE[] = "reference.bf16";  // with grpo.reference_every
static const char *const BLOCK_FILES[] = {"master.f32", "adam_m.f32", "adam_v.f32"};
enum { N_BLOCKS = 3 };

static void write_state(const learner_core *c, agrl_buf *out) {
  agrl_jw w;
  agrl_jw_init(&w, out);
  agrl_jw_obj(&w);
  agrl_jw_ku64(&w, "version", c->version);
  agrl_jw_ku64(&w, "step", AGRL_VERSION_STEP(c->version));
  agrl_jw_ku64(&w, "updates", c->optim.updates);
  agrl_jw_ku64(&w, "bad_steps", c->bad_steps);
  agrl_jw_ki64(&w, "sft_step", c->cursor.step);
  agrl_jw_ki64(&w, "sft_epoch", c->cursor.epoch);
  agrl_jw_ki64(&w, "sft_pos", c->cursor.pos);
  agrl_jw_end_obj(&w);
}

static agrl_rc read_state(learner_core *c, const char *dir, agrl_error *err) {
  agrl_buf text = {0};
  agrl_json *j = NULL;
  agrl_rc rc = agrl_ckpt_read_extra(dir, STATE_FILE, &text, err);
  if (rc == AGRL_OK) rc = agrl_json_parse(text.data, text.len, STATE_FILE, &j, err);
  if (rc == AGRL_OK) {
    int64_t version, updates, bad;
    bool ok = agrl_json_i64(agrl_json_get(j, "version"), &version) && agrl_json_i64(agrl_json_get(j, "updates"), &updates) &&
              agrl_json_i64(agrl_json_get(j, "bad_steps"), &bad) && agrl_json_i64(agrl_json_get(j, "sft_step"), &c->cursor.step) &&
              agrl_json_i64(agrl_json_get(j, "sft_epoch"), &c->cursor.epoch) &&
              agrl_json_i64(agrl_json_get(j, "sft_pos"), &c->cursor.pos) && version >= 0 && updates >= 0 && bad >= 0;
    if (ok) {
      c->version = (uint64_t)version;
      c->optim.updates = (uint64_t)updates;
      c->bad_steps = (uint32_t)bad;
    } else {
      rc = agrl_fail(err, AGRL_EPARSE, "%s/%s: expected version, updates, bad_steps, sft_step, sft_epoch, sft_pos", dir, STATE_FILE);
    }
  }
  agrl_json_free(j);
  agrl_buf_release(&text);
  return rc;
}

agrl_rc learner_checkpoint_save(const learner_core *c, const char *dir, agrl_error *err) {
  const float *blocks[N_BLOCKS] = {c->optim.master, c->optim.m, c->optim.v};
  agrl_ckpt_extra extra[N_BLOCKS + 4];
  size_t n = 0;
  agrl_buf state = {0};
  write_state(c, &state);
  for (size_t i = 0; i < N_BLOCKS; i++)
    extra[n++] = (agrl_ckpt_extra){BLOCK_FILES[i], blocks[i], c->layout->n_elements * sizeof(float)};
  extra[n++] = (agrl_ckpt_extra){STATE_FILE, state.data, state.len};
  if (c->config->grpo.reference_every > 0 && c->reference != NULL)
    extra[n++] = (agrl_ckpt_extra){REFERENCE_FILE, agrl_weights_block(c->reference), c->layout->n_elements * sizeof(uint16_t)};
  if (c->tokenizer_config.len > 0)
    extra[n++] = (agrl_ckpt_extra){AGRL_CKPT_TOKENIZER_CONFIG, c->tokenizer_config.data, c->tokenizer_config.len};
  if (c->chat_template.len > 0) extra[n++] = (agrl_ckpt_extra){AGRL_CKPT_CHAT_TEMPLATE, c->chat_template.data, c->chat_template.len};
  agrl_rc rc = agrl_ckpt_save(dir, c->layout, c->optim.master, AGRL_DTYPE_BF16, c->tokenizer_json.data, c->tokenizer_json.len,
                              c->version, extra, n, err);
  agrl_buf_release(&state);
  return rc;
}

static agrl_rc read_block(const char *dir, const char *name, float *to, size_t n, agrl_error *err) {
  agrl_buf b = {0};
  agrl_rc rc = agrl_ckpt_read_extra(dir, name, &b, err);
  if (rc == AGRL_OK && b.len != n * sizeof *to)
    rc = agrl_fail(err, AGRL_EPARSE, "%s/%s: %zu bytes, expected %zu", dir, name, b.len, n * sizeof *to);
  if (rc == AGRL_OK) memcpy(to, b.data, b.len);
  agrl_buf_release(&b);
  return rc;
}

agrl_rc learner_checkpoint_load(learner_core *c, const char *dir, agrl_error *err) {
  agrl_layout *layout = NULL;
  float *block = NULL;
  uint64_t version;
  agrl_rc rc = agrl_ckpt_load(dir, &layout, &block, &version, err);
  if (rc != AGRL_OK) return rc;
  size_t n = layout->n_elements;
  rc = learner_core_adopt(c, layout, block, err);
  agrl_block_free(block, n * sizeof *block);
  float *blocks[N_BLOCKS] = {c->optim.master, c->optim.m, c->optim.v};
  for (size_t i = 0; rc == AGRL_OK && i < N_BLOCKS; i++) rc = read_block(dir, BLOCK_FILES[i], blocks[i], n, err);
  if (rc == AGRL_OK) rc = read_state(c, dir, err);
  if (rc == AGRL_OK) learner_optim_reserve(&c->optim, c->pool);
  return rc;
}

agrl_rc learner_reference_load(learner_core *c, const char *dir, agrl_error *err) {
  agrl_layout *layout = NULL;
  float *block = NULL;
  uint64_t version;
  agrl_rc rc = agrl_ckpt_load(dir, &layout, &block, &version, err);
  if (rc != AGRL_OK) return rc;
  if (layout->n_elements == c->layout->n_elements) {
    c->reference = agrl_weights_from_f32(c->layout, block, version);
    agrl_weights_pack(c->reference, c->pool);
  } else {
    rc = agrl_fail(err, AGRL_EPARSE, "%s: the reference has %zu parameters, the model %zu", dir, layout->n_elements, c->layout->n_elements);
  }
  agrl_block_free(block, layout->n_elements * sizeof(float));
  agrl_layout_free(layout);
  return rc;
}

agrl_rc learner_reference_resume(learner_core *c, const char *dir, const char *sft_dir, agrl_error *err) {
  char *path = agrl_path_join(dir, REFERENCE_FILE);
  bool kept = c->config->grpo.reference_every > 0 && agrl_file_exists(path);
  free(path);
  if (!kept) return learner_reference_load(c, sft_dir, err);
  agrl_buf b = {0};
  agrl_rc rc = agrl_ckpt_read_extra(dir, REFERENCE_FILE, &b, err);
  if (rc == AGRL_OK && b.len != c->layout->n_elements * sizeof(uint16_t))
    rc = agrl_fail(err, AGRL_EPARSE, "%s/%s: %zu bytes, expected %zu", dir, REFERENCE_FILE, b.len, c->layout->n_elements * sizeof(uint16_t));
  if (rc == AGRL_OK) {
    c->reference = agrl_weights_new(c->layout, (const uint16_t *)(const void *)b.data, c->version);
    agrl_weights_pack(c->reference, c->pool);
  }
  agrl_buf_release(&b);
  return rc;
}
