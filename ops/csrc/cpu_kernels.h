// The CPU kernels: they process one channel of all images at a time, so that the second pass finds the data in the cache.
#pragma once

#include "block_end.h"

namespace block_end {

constexpr int kPlaneSums = 4;    // values the backward pass keeps for each plane between its two passes
constexpr int kChannelSums = 2;  // and for each channel: its share of the attention parameters' gradients

template <typename T>
struct Kernels {
  // The whole of Forward for one channel.
  void (*forward)(const Shape &, const Options &, const Forward<T, T> &, int64_t channel);
  // The whole of Backward for one channel, except the gradients of the attention parameters: `channel_sums`
  // [kChannelSums] receives the channel's share of them. plane_sums: scratch, [images, kPlaneSums].
  void (*backward)(const Shape &, const Options &, const Backward<T, T> &, int64_t channel, T *plane_sums,
                   double *channel_sums);
};

// cpu_kernels.cc is compiled once for each instruction set, each time into its own namespace.
namespace generic {
extern const Kernels<float> kernels_float;
extern const Kernels<double> kernels_double;
}  // namespace generic
#ifdef HAVE_X86_LEVELS
namespace avx2 {
extern const Kernels<float> kernels_float;
extern const Kernels<double> kernels_double;
}  // namespace avx2
namespace avx512 {
extern const Kernels<float> kernels_float;
extern const Kernels<double> kernels_double;
}  // namespace avx512
#endif

}  // namespace block_end
