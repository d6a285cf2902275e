// SPDX-License-Identifier: Apache-2.0
// Inference: prefill a prompt once, share its keys and values between the members of a group, decode many sequences
// together. One agrl_decoder per engine thread; not thread-safe. After warm-up (agrl_decoder_new reserves for max_batch
// and max_tokens) a decode step does not allocate.
#ifndef AGRL_MODEL_DECODE_H
#define AGRL_MODEL_DECODE_H

#include "common/base/pool.h"
#include "common/base/rng.h"
#include "common/model/weights.h"

typedef struct agrl_decoder agrl_decoder;
typedef struct agrl_prefix agrl_prefix;  // a prompt's keys and values; reference-counted (same thread)
typedef struct agrl_seq agrl_seq;        // one sequence: a prefix reference and its own keys and values

// max_batch sequences in a step; max_prompt tokens in a prefill; max_new tokens per sequence. AGRL_ELIMIT when
// max_prompt + max_new exceeds the model's context. Tokens given to prefill and step must be below vocab (asserted).
agrl_rc agrl_decoder_new(const agrl_layout *l, agrl_pool *pool, size_t max_batch, size_t max_prompt, size_t max_new,
                         agrl_decoder **out, agrl_error *err);
void agrl_decoder_free(agrl_decoder *d);

// Prefills tokens (1..max_prompt). logits receives the last position's (V). NULL when out of prefix slots (max_batch of them).
agrl_prefix *agrl_decoder_prefill(agrl_decoder *d, const agrl_weights *w, const int32_t *tokens, size_t n, float *logits);
void agrl_prefix_unref(agrl_decoder *d, agrl_prefix *p);
// A sequence that continues p (takes its own reference). NULL when max_batch sequences are open.
agrl_seq *agrl_seq_open(agrl_decoder *d, agrl_prefix *p);
void agrl_seq_close(agrl_decoder *d, agrl_seq *s);
size_t agrl_seq_len(const agrl_seq *s);  // own tokens fed so far
// Feeds tokens[i] to seqs[i] for i < n; logits is (n,V). Sequences may have different lengths and weights may differ from
// those of earlier steps (in-flight update).
void agrl_decoder_step(agrl_decoder *d, const agrl_weights *w, agrl_seq *const *seqs, const int32_t *tokens, size_t n,
                       float *logits);
double agrl_decoder_kv_used_ratio(const agrl_decoder *d);

// Samples from softmax(logits/temperature) restricted to top_k (0: off) and then top_p (1: off); u in [0,1).
// temperature 0: argmax, log-prob 0-temperature is that of temperature 1. *logprob is that of the distribution sampled; NaN
// when the logits hold a NaN or no finite value. scratch: vocab floats.
int32_t agrl_sample(const float *logits, size_t vocab, double temperature, int top_k, double top_p, double u, float *scratch,
                    float *logprob);

#endif
