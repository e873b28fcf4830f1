// The C interface to the CUDA kernels.
#include "block_end_capi.h"

#include "block_end.cuh"

namespace {

using block_end::Attention;
using block_end::Backward;
using block_end::Forward;
using block_end::Options;
using block_end::Shape;

Shape shape_of(const int64_t *shape) { return {shape[0], shape[1], shape[2], shape[3]}; }

Options options_of(int relu, int batch_statistics, const double *values) {
  return {relu != 0, batch_statistics != 0, values[0], values[1], values[2]};
}

template <typename P>
P *at(void *const *pointers, int index) {
  return static_cast<P *>(pointers[index]);
}

template <typename P>
Attention<P> attention_at(void *const *p, int first) {
  return {at<P>(p, first), at<P>(p, first + 1), at<P>(p, first + 2), at<P>(p, first + 3), at<P>(p, first + 4),
          at<P>(p, first + 5)};
}

template <typename T>
int forward(const Shape &shape, const Options &options, void *const *p, float *workspace, cudaStream_t stream) {
  const Forward<T, float> data = {
      at<const T>(p, 0),     at<const T>(p, 1),  at<const float>(p, 2), at<const float>(p, 3),
      at<float>(p, 4),       at<float>(p, 5),    attention_at<const float>(p, 6),
      at<T>(p, 12),          at<float>(p, 13),   at<float>(p, 14)};
  return block_end::forward_cuda(shape, options, data, workspace, stream);
}

template <typename T>
int backward(const Shape &shape, const Options &options, void *const *p, float *workspace, cudaStream_t stream) {
  const Backward<T, float> data = {at<const T>(p, 0),
                                   at<const T>(p, 1),
                                   at<const T>(p, 2),
                                   at<const float>(p, 3),
                                   at<const float>(p, 4),
                                   attention_at<const float>(p, 5),
                                   at<const float>(p, 11),
                                   at<const float>(p, 12),
                                   at<T>(p, 13),
                                   at<T>(p, 14),
                                   at<float>(p, 15),
                                   at<float>(p, 16),
                                   attention_at<float>(p, 17)};
  return block_end::backward_cuda(shape, options, data, workspace, stream);
}

}  // namespace

extern "C" {

int block_end_forward(int dtype, const int64_t *shape, int relu, int batch_statistics, const double *values,
                      void *const *pointers, float *workspace, void *stream) {
  const Shape sizes = shape_of(shape);
  const Options options = options_of(relu, batch_statistics, values);
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  if (dtype == 0) return forward<float>(sizes, options, pointers, workspace, queue);
  if (dtype == 1) return forward<__half>(sizes, options, pointers, workspace, queue);
  if (dtype == 2) return forward<__nv_bfloat16>(sizes, options, pointers, workspace, queue);
  return cudaErrorInvalidValue;
}

int block_end_backward(int dtype, const int64_t *shape, int relu, int batch_statistics, const double *values,
                       void *const *pointers, float *workspace, void *stream) {
  const Shape sizes = shape_of(shape);
  const Options options = options_of(relu, batch_statistics, values);
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  if (dtype == 0) return backward<float>(sizes, options, pointers, workspace, queue);
  if (dtype == 1) return backward<__half>(sizes, options, pointers, workspace, queue);
  if (dtype == 2) return backward<__nv_bfloat16>(sizes, options, pointers, workspace, queue);
  return cudaErrorInvalidValue;
}

int64_t block_end_forward_workspace(const int64_t *shape) { return block_end::forward_workspace(shape_of(shape)); }
int64_t block_end_backward_workspace(const int64_t *shape) { return block_end::backward_workspace(shape_of(shape)); }

const char *block_end_error(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }
}
