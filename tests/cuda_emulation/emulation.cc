// The C interface of the CUDA kernels, run on a CPU.
#include "emulation.h"

#include "../../ops/csrc/block_end_capi.cu"

// Compiled with -fsanitize=alignment, the kernels call this for an address that is not aligned to its type. A GPU stops there.
extern "C" void __ubsan_handle_type_mismatch_v1(void *, void *) { emulation::error = cudaErrorMisalignedAddress; }

// 1: blocks and threads take turns in the opposite order.
extern "C" void emulation_reverse(int reversed) { emulation::reversed = reversed != 0; }
