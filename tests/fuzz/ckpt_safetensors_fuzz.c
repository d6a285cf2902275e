// SPDX-License-Identifier: Apache-2.0
// Safetensors files. Of any bytes: what is accepted covers the data exactly, in order, with sizes that agree with shapes.
#include <math.h>
#include <stdlib.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "common/ckpt/safetensors.h"

int agrl_fuzz_ckpt_safetensors(const uint8_t *data, size_t size);

int agrl_fuzz_ckpt_safetensors(const uint8_t *data, size_t size) {
  agrl_st st;
  agrl_error err = {0};
  const agrl_rc rc = agrl_st_parse(data, size, "fuzz", &st, &err);
  if (rc != AGRL_OK) {
    AGRL_ASSERT(err.code == rc && err.msg[0] != 0 && st.tensors == NULL && st.n == 0);
    return 0;
  }
  const uint8_t *end = data + size;
  for (size_t i = st.n; i-- > 0;) {
    const agrl_st_tensor *t = &st.tensors[i];
    size_t elements = 1;
    for (size_t d = 0; d < t->n_dims; d++) elements *= t->shape[d];
    AGRL_ASSERT(elements == t->elements && t->bytes == elements * (t->dtype == AGRL_DTYPE_F32 ? 4 : 2));
    AGRL_ASSERT(t->data + t->bytes == end && t->data >= data + 8);
    end = t->data;
    float *values = agrl_xcalloc(t->elements + 1, sizeof *values);
    agrl_st_to_f32(t, values);
    AGRL_ASSERT(!(fabsf(values[t->elements]) > 0));  // nothing is written past the last
    free(values);
    AGRL_ASSERT(agrl_st_find(&st, t->name) == t);
  }
  agrl_st_release(&st);
  return 0;
}
