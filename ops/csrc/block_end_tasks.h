// What one launch of a kernel gets: layout and task. The host fills them in (block_end_launch.h) and the device reads them
// (block_end.cuh), which are the work of two compilers where NVRTC compiles the
// kernels.
#pragma once

#include "block_end.h"

namespace block_end {

// ---- Layouts: how many threads share a plane, and how they read it

// THREADS threads a plane, VECTOR elements a load, LOADS loads a thread held in registers; LOADS = 0: the plane does not fit
// and is read again for each pass. A warp and less: several planes a block, so that small planes fill the device too.
template <int VECTOR, int THREADS, int LOADS>
struct Layout {
  static constexpr int vector = VECTOR, threads = THREADS, loads = LOADS;
  static constexpr int block = THREADS <= 32 ? 128 : THREADS;
  static constexpr int planes = block / THREADS;
  static constexpr int warps = THREADS <= 32 ? 1 : THREADS / 32;  // of a plane
};

// ---- Tasks

// The images [first_image, first_image + gridDim.y) are one launch's. Backwards: in the opposite order.
struct Geometry {
  int64_t first_image;
  int channels, plane, half;
  bool backwards;
};

// One launch over all planes. measure: take the statistics of each plane; apply: write the output. Both in one launch unless
// batch norm needs the statistics of all planes in between.
template <typename T>
struct ForwardTask {
  Forward<T, float> data;  // plane_stats: where measure without apply puts them even without attention
  Geometry geometry;
  float norm_epsilon, attention_epsilon;
  bool measure, apply, relu;
  bool running;  // batch norm with the running statistics
};

constexpr int kReductionThreads = 256;
constexpr int kChannelsPerBlock = kReductionThreads / 32;

struct ChannelTask {
  const float *plane_stats;
  float *running_mean, *running_variance, *channel_stats;
  int64_t images, plane;
  int channels;
  float momentum, rest, epsilon;  // rest = 1 - momentum
};

// What the first pass over a plane leaves, block_end.h's names. channel branch: sum_u is dB.
struct alignas(16) PlaneSums {
  float sum_u, sum_u_zhat, sum_dz, sum_dz_xc;
};

// One launch over all planes. reduce: take each plane's sums (and write the residual's gradient); differentiate: write dx.
template <typename T>
struct BackwardTask {
  Backward<T, float> data;
  PlaneSums *sums;
  Geometry geometry;
  float attention_epsilon;
  float per_element, per_value;  // 1 / plane and 1 / (images * plane)
  bool reduce, differentiate;
  bool by_out;   // ReLU let pass what is positive in the output
  bool by_sign;  // ReLU without residual: the output is positive where z is, as the gate is positive
  bool through_statistics;  // batch norm used the batch's own statistics
};

struct ParameterTask {
  const PlaneSums *sums;
  const float *plane_stats, *channel_stats, *norm_weight, *norm_bias;
  Attention<const float> attention;
  float *dnorm_weight, *dnorm_bias;
  Attention<float> dattention;
  int64_t images;
  int channels, half;
  int channel_blocks;  // the first blocks are batch norm's, a warp a channel; the others the attention's, one a parameter
};

// Both compilers must see the same bytes.
static_assert(sizeof(ForwardTask<float>) == 160 && sizeof(BackwardTask<float>) == 240, "the layout of the tasks");
static_assert(sizeof(ChannelTask) == 64 && sizeof(ParameterTask) == 176, "the layout of the tasks");

}  // namespace block_end
