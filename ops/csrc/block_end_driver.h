// What block_end_driver.cc has besides the functions of block_end_capi.h.
#pragma once

#include <cstdint>

extern "C" {

// Gives the machine code of the kernels (block_end_cubin.cu) of a type and layout for GPUs of an architecture, such as 80, or,
// for type -1, that of the kernels that have neither; null where it cannot. dtype: as in block_end_capi.h. The code is read
// before the next call.
typedef const void *(*block_end_builder)(int dtype, int vector, int threads, int loads, int architecture);

// Opens CUDA's driver, a library, and takes machine code from `builder` from now on. Returns null or, where that fails, why.
const char *block_end_open(const char *driver, block_end_builder builder);

// Gets the kernels ready for feature maps of this shape (block_end_capi.h), in memory aligned to 16 bytes, on the GPU of the
// calling thread: others are built when a launch needs them. Returns what block_end_forward returns.
int block_end_prepare(int dtype, const int64_t *shape);
}
