// A C interface to the CUDA kernels, which knows neither Paddle nor CUDA: the binding to Paddle calls it, and tests and
// benchmarks do through ctypes.
//
// dtype: 0 float32, 1 float16, 2 bfloat16. shape: images, channels, plane, half, and channels_last: 1 for feature maps
// [images, plane, channels], 0 for [images, channels, plane]. relu and batch_statistics: 0 or 1. values:
// momentum, batch norm's epsilon, the attention's epsilon. pointers: the members of Forward or Backward in order, with the six
// members of an Attention in its place; null where block_end.h says so. stream: a cudaStream_t or CUstream, which are one. The
// functions return an error that block_end_error knows: 0 for none.
//
// A pass allocates no memory on the device, copies nothing and waits for nothing: it queues kernels on its stream, and a CUDA
// graph can hold it, once a first call or block_end_prepare has loaded the kernels.
//
// block_end_capi.cu and block_end_driver.cc are two libraries that have these functions.
#pragma once

#include <cstdint>

extern "C" {

int block_end_forward(int dtype, const int64_t *shape, int relu, int batch_statistics, const double *values,
                      void *const *pointers, float *workspace, void *stream);
int block_end_backward(int dtype, const int64_t *shape, int relu, int batch_statistics, const double *values,
                       void *const *pointers, float *workspace, void *stream);

// Floats that the caller allocates for the workspace.
int64_t block_end_forward_workspace(const int64_t *shape);
int64_t block_end_backward_workspace(const int64_t *shape);

// The message for what block_end_forward and block_end_backward return.
const char *block_end_error(int error);
}
