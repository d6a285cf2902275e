// SPDX-License-Identifier: Apache-2.0
// Gives a fuzz target the entry point libFuzzer calls.
#include <stddef.h>
#include <stdint.h>

int AGRL_FUZZ_FUNCTION(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) { return AGRL_FUZZ_FUNCTION(data, size); }
