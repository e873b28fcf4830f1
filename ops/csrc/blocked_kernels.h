// The CPU kernels for feature maps in oneDNN's blocked layout: [images, channels / lanes, plane, lanes].
//
// The lanes of a vector are channels, so a plane of four pixels costs no more for each value than one of thousands. A unit is
// a block of channels or, with attention, the two blocks that the channel shuffle puts into the same two blocks of the output:
// no other unit touches its input and output. Statistics and sums are kept for each image, and added up in the order of the
// images, so the result does not depend on how units and images are shared out among threads.
#pragma once

#include "block_end.h"

namespace block_end {

constexpr int kBlockedSums = 4;  // values that the backward pass keeps for each plane between its passes

struct Images {
  int64_t first, end;
};

// Max pooling of maps [height, width, lanes] to [after[0], after[1], lanes]. Pairs: of height and width.
struct Pooling {
  int64_t height, width;
  int64_t kernel[2], stride[2], padding[2], after[2];
};

struct BlockedKernels {
  int64_t lanes;
  // Mean and biased variance of x on each plane into stats, [images, channels / lanes, 2, lanes].
  void (*statistics)(const Shape &, const float *x, float *stats, Images, int64_t block);
  // From these, those of batch norm: running statistics, and channel_stats, [channels / lanes, 2, lanes]: mean and rstd.
  void (*normalise)(const Shape &, const Options &, const Forward<float, float> &, const float *stats, int64_t block);
  // The output.
  void (*apply)(const Shape &, const Options &, const Forward<float, float> &, Images, int64_t unit);
  // First pass of backward: sums, [images, channels / lanes, kBlockedSums, lanes], dresidual, and d g + A u into dx.
  void (*sum)(const Shape &, const Options &, const Backward<float, float> &, float *sums, Images, int64_t unit);
  // From these, the gradients of batch norm, the channels' shares of the attention's, channel_sums [channels, 2], and in place
  // of the sums, what the second pass multiplies by.
  void (*combine)(const Shape &, const Options &, const Backward<float, float> &, float *sums, int64_t block,
                  double *channel_sums);
  // Second pass: dx.
  void (*finish)(const Shape &, const Backward<float, float> &, const float *sums, Images, int64_t block);
  // One map. The gradient goes to the first of the largest values of a window; a NaN counts only where no other value of
  // the window follows. Both as in Paddle's own pooling.
  void (*pool)(const Pooling &, const float *x, float *y);
  void (*pool_backward)(const Pooling &, const float *x, const float *y, const float *dy, float *dx);
  // The values of one block of channels in the other order: [lanes, plane] to [plane, lanes], and back.
  void (*to_block)(const float *planes, float *block, int64_t plane);
  void (*to_planes)(const float *block, float *planes, int64_t plane);
};

// blocked_kernels.cc is compiled once for each of these instruction sets, each time into its own namespace.
#ifdef HAVE_X86_LEVELS
namespace avx2 {
extern const BlockedKernels blocked_kernels;
}
namespace avx512 {
extern const BlockedKernels blocked_kernels;
}
#endif

}  // namespace block_end
