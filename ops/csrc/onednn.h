// The part of oneDNN's C interface (version 3, in which it is stable) that convolutions need. Paddle's packages bring the
// library but not all of its headers.
#pragma once

#include <cstdint>

namespace onednn {

using Dims = int64_t[12];
using Handle = void *;  // an engine, a stream, a memory, a descriptor or a primitive of the library

struct Argument {
  int which;
  Handle memory;
};

struct Version {
  int major, minor, patch;
};

constexpr int kSuccess = 0, kCpu = 1, kInOrder = 1, kBfloat16 = 2, kFloat32 = 3, kForwardTraining = 64, kDirect = 1;
constexpr int kAny = 1, kPlain1 = 2, kPlain4 = 5, kPlain5 = 6;  // format tags: the library's choice, a, abcd, abcde
constexpr int kBlocks8 = 102, kBlocks16 = 78;       // aBcd8b, aBcd16b
constexpr int kTiles8 = 107, kTiles16 = 79;         // ABcd8b8a, ABcd16b16a
constexpr int kQuerySource = 129, kQueryWeights = 131, kQueryTarget = 133;  // of a descriptor; of its gradients one more
constexpr int kQueryGradient = 1, kQueryImplementation = 8;  // the latter: its name
constexpr int kSource = 1, kTarget = 17, kWeights = 33, kBias = 41;
constexpr int kSourceGradient = 129, kTargetGradient = 145, kWeightsGradient = 161, kBiasGradient = 169;

// The functions, found in the library when it is opened.
struct Library {
  const Version *(*version)();
  int (*engine_create)(Handle *, int kind, size_t index);
  int (*stream_create)(Handle *, Handle engine, unsigned flags);
  int (*stream_wait)(Handle);
  int (*memory_desc_create_with_tag)(Handle *, int rank, const int64_t *dims, int type, int tag);
  int (*memory_desc_destroy)(Handle);
  int (*memory_desc_equal)(Handle, Handle);
  size_t (*memory_desc_get_size)(Handle);
  int (*memory_create)(Handle *, Handle descriptor, Handle engine, void *data);
  int (*memory_set_data_handle)(Handle, void *data);
  int (*memory_get_memory_desc)(Handle, Handle *descriptor);
  int (*memory_destroy)(Handle);
  Handle (*primitive_desc_query_md)(Handle, int which, int index);
  int (*primitive_desc_query)(Handle, int what, int index, void *result);
  int (*primitive_desc_destroy)(Handle);
  int (*primitive_create)(Handle *, Handle descriptor);
  int (*primitive_execute)(Handle, Handle stream, int count, const Argument *);
  int (*primitive_destroy)(Handle);
  int (*reorder_primitive_desc_create)(Handle *, Handle from, Handle engine, Handle to, Handle its_engine, Handle attributes);
  int (*convolution_forward_primitive_desc_create)(Handle *, Handle engine, int kind, int algorithm, Handle source,
                                                   Handle weights, Handle bias, Handle target, const int64_t *strides,
                                                   const int64_t *dilations, const int64_t *before, const int64_t *after,
                                                   Handle attributes);
  int (*convolution_backward_data_primitive_desc_create)(Handle *, Handle engine, int algorithm, Handle source,
                                                         Handle weights, Handle target, const int64_t *strides,
                                                         const int64_t *dilations, const int64_t *before,
                                                         const int64_t *after, Handle forward, Handle attributes);
  int (*convolution_backward_weights_primitive_desc_create)(Handle *, Handle engine, int algorithm, Handle source,
                                                            Handle weights, Handle bias, Handle target,
                                                            const int64_t *strides, const int64_t *dilations,
                                                            const int64_t *before, const int64_t *after, Handle forward,
                                                            Handle attributes);
};

}  // namespace onednn
