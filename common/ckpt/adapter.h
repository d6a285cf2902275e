// SPDX-License-Identifier: Apache-2.0
// Adapters in the form of PEFT: a description (adapter_config.json there) and adapter_model.safetensors. A checkpoint keeps the
// description under a name of its own: beside a whole model, transformers would take adapter_config.json for an order to load the base
// and the adapters instead. The description also travels in announcements of weights. Format: github.com/huggingface/peft.
#ifndef AGRL_CKPT_ADAPTER_H
#define AGRL_CKPT_ADAPTER_H

#include "common/base/buf.h"
#include "common/model/lora.h"

#define AGRL_CKPT_ADAPTER_MODEL "adapter_model.safetensors"
#define AGRL_CKPT_ADAPTER_CONFIG "lora_config.json"   // in a checkpoint
#define AGRL_PEFT_ADAPTER_CONFIG "adapter_config.json"  // in a directory of adapters alone

// base: the model they belong to, a directory or "".
void agrl_adapter_write_config(const agrl_lora *l, const char *base, agrl_buf *out);
// The adapters described, on the model of that layout (borrowed). AGRL_EPARSE: not such a description; AGRL_ECONFIG: does not fit the
// model. name is used in messages.
agrl_rc agrl_adapter_parse_config(const char *text, size_t len, const char *name, const agrl_layout *model, agrl_lora **out, agrl_error *err);
// Appends the safetensors file (F32) of a block of l->layout.
void agrl_adapter_write(const agrl_lora *l, const float *block, agrl_buf *out);
// And back: every tensor of l->layout, nothing else. AGRL_EPARSE.
agrl_rc agrl_adapter_read(const agrl_lora *l, const void *data, size_t len, const char *name, float *block, agrl_error *err);

#endif
