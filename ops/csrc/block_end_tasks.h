// What one launch of a kernel gets: layout and task. The host fills them in (block_end_launch.h) and the device reads them
// (block_end_device.cuh), which are the work of two compilers where NVRTC compiles the kernels.
#pragma once

#include "block_end.h"

namespace block_end {

// ---- Layouts: how many threads share a plane, and how they read it

// THREADS threads a plane, VECTOR elements a load, LOADS loads a thread held in registers; LOADS = 0: the plane does not fit
// and is read again for each pass. A warp and less: several planes a block, so that small planes fill the device too.
template <int VECTOR, int THREADS, int LOADS>
struct Layout {
  static constexpr bool columns = false;
  static constexpr int vector = VECTOR, threads = THREADS, loads = LOADS;
  static constexpr int block = THREADS <= 32 ? 128 : THREADS;
  static constexpr int planes = block / THREADS;
  static constexpr int warps = THREADS <= 32 ? 1 : THREADS / 32;  // of a plane
};

// For feature maps [images, plane, channels]: a thread has VECTOR neighbouring channels, or with attention so many of each half
// of the channels, which the shuffle makes neighbours, and goes down the plane. A block has `width` such threads beside each
// other, and as many rows of them as its threads allow; it works on a chunk of one image's plane.
template <int VECTOR, bool ATTENTION>
struct Columns {
  static constexpr bool columns = true, attention = ATTENTION;
  static constexpr int vector = VECTOR, threads = 0, loads = ATTENTION;  // the latter two tell them from other layouts
  static constexpr int parts = ATTENTION ? 2 : 1, channels = VECTOR * parts;  // of a thread
  static constexpr int block = 256, max_width = 32;
};

// How many blocks of the backward kernel a multiprocessor shall hold at least; 0: the compiler chooses. Four of Columns leave a
// thread 64 registers, and a few bytes of it in memory. For 16-bit elements more threads are worth more than that, on an H100
// up to 15% of the backward pass; float32 loses 2%, and Layout, with a hundred bytes, 5 to 16%.
template <typename T, typename L>
constexpr int kBackwardBlocks = L::columns && sizeof(T) == 2 ? 4 : 0;

// ---- Tasks

// The images [first_image, first_image + gridDim.y) are one launch's. Backwards: in the opposite order. chunk, width: Columns'
// positions of a block, and threads beside each other, a power of two.
struct Geometry {
  int64_t first_image;
  int channels, plane, half;
  int chunk, width;
  bool backwards;
};

// One launch over all planes. measure: take the statistics of each plane; apply: write the output. Both in one launch unless
// batch norm needs the statistics of all planes in between; with Columns never, and where a plane has several chunks,
// plane_stats is [images, chunks, channels, 2] for the launch that measures.
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

// One launch over all planes. reduce: take each plane's sums (and write the residual's gradient); differentiate: write dx. With
// Columns never both in one launch, and where a plane has several chunks, sums is [images, chunks, channels] for the first.
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
  float *dnorm_weight, *dnorm_bias;
  float *channel_sums;  // [channels, 2]: the channel's share of the attention's gradients
  int64_t images;
  int channels, half;
};

struct AttentionTask {
  const float *channel_sums;
  Attention<const float> attention;
  Attention<float> dattention;
  int channels, half;
};

// Joins what the chunks of each plane left, [images, chunks, channels, 2] statistics or [images, chunks, channels] PlaneSums,
// to one for each plane.
struct JoinTask {
  const float *of_chunks;
  float *joined;
  int64_t planes;
  int channels, plane, chunk;
  bool statistics;
};

// Both compilers must see the same bytes.
static_assert(sizeof(ForwardTask<float>) == 168 && sizeof(BackwardTask<float>) == 248, "the layout of the tasks");
static_assert(sizeof(ChannelTask) == 64 && sizeof(ParameterTask) == 80, "the layout of the tasks");
static_assert(sizeof(AttentionTask) == 112 && sizeof(JoinTask) == 40, "the layout of the tasks");

}  // namespace block_end
