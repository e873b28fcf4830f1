// The host's half of the CUDA kernels: which are launched, in what order, on what grid, with what layout and task.
//
// How a launch is made is a Launcher's business, since there are two ways: by CUDA's runtime (block_end_capi.cu) and by its
// driver (block_end_driver.cc). A Launcher has the types Float16 and BFloat16 and
//
//     forward<T, L>(grid, task), backward<T, L>(grid, task)   queue the kernel for elements T in the layout L
//     channels, parameters, attention, join (grid, task)      queue the kernel of block_end_cubin.cu of that name
//     error()                                                 what went wrong, as block_end_error knows it; 0: nothing
//
// Nothing here needs a header of CUDA's.
#pragma once

#include <algorithm>
#include <climits>
#include <cstdint>

#include "block_end_tasks.h"

// The tests, which run the kernels on a CPU, replace this definition.
#ifndef BLOCK_END_MAX_GRID_Y
#define BLOCK_END_MAX_GRID_Y 65535
#endif

namespace block_end {

constexpr int kInvalidValue = 1;  // cudaErrorInvalidValue and CUDA_ERROR_INVALID_VALUE

inline int blocks_for(int64_t count, int each) { return static_cast<int>((count + each - 1) / each); }

// use(Layout) with a layout for planes of this many values. The layouts are few, as each costs compile time, and chosen for
// the planes of ResNets: 56 * 56, 28 * 28, 14 * 14 and 7 * 7 are 49 times a power of two, which seven loads by a power of two
// of threads, or four by twice as many, cover with few threads idle. Four where 16-bit elements come by the eight: seven
// would need so many registers that too few threads fit on a multiprocessor to hide the wait for memory.
template <typename T, int VECTOR, typename Use>
void with_threads(int plane, Use use) {
  const int vectors = plane / VECTOR;
  if constexpr (VECTOR == 8) {
    if (vectors <= 4 * 32) return use(Layout<VECTOR, 32, 4>());    // 28 * 28
    if (vectors <= 4 * 128) return use(Layout<VECTOR, 128, 4>());  // 56 * 56
  } else if constexpr (VECTOR * sizeof(T) == 16) {
    if (vectors <= 4 * 16) return use(Layout<VECTOR, 16, 4>());    // 14 * 14
    if (vectors <= 4 * 64) return use(Layout<VECTOR, 64, 4>());    // 28 * 28
    if (vectors <= 4 * 256) return use(Layout<VECTOR, 256, 4>());  // 56 * 56
  } else {
    if (vectors <= 7 * 8) return use(Layout<VECTOR, 8, 7>());      // 7 * 7; in fours 14 * 14
    if (vectors <= 7 * 32) return use(Layout<VECTOR, 32, 7>());
    if (VECTOR == 1 && vectors <= 7 * 256) return use(Layout<VECTOR, VECTOR == 1 ? 256 : 32, 7>());
  }
  use(Layout<VECTOR, 256, 0>());
}

// The same, given the pointers' bits or-ed: loads of 16 bytes where planes and pointers allow and planes are not too small
// for them, of 8 bytes for 16-bit elements, else of one element. (A plane of 4 k + 2 float32 values is too rare for more.)
template <typename T, typename Use>
void with_layout(int plane, uintptr_t alignment, Use use) {
  constexpr int kWide = 16 / sizeof(T);
  if constexpr (sizeof(T) == 2) {
    const bool wide = plane % kWide == 0 && alignment % 16 == 0 && plane >= 32 * kWide;
    if (!wide && plane % 4 == 0 && alignment % 8 == 0) return with_threads<T, 4>(plane, use);
  }
  if (plane % kWide == 0 && alignment % 16 == 0) return with_threads<T, kWide>(plane, use);
  with_threads<T, 1>(plane, use);
}

// Columns for feature maps [images, plane, channels], likewise: several channels a thread where channels and pointers allow.
template <typename T, bool ATTENTION, typename Use>
void with_columns(int channels, uintptr_t alignment, Use use) {
  if (channels % 4 == 0 && alignment % (4 * sizeof(T)) == 0) return use(Columns<ATTENTION ? 2 : 4, ATTENTION>());
  use(Columns<1, ATTENTION>());
}

// use(layout) with the layout for feature maps of this shape.
template <typename T, typename Use>
void with_layout_of(const Shape &shape, uintptr_t alignment, Use use) {
  if (!shape.channels_last) return with_layout<T>(static_cast<int>(shape.plane), alignment, use);
  const int channels = static_cast<int>(shape.channels);
  shape.half > 0 ? with_columns<T, true>(channels, alignment, use) : with_columns<T, false>(channels, alignment, use);
}

inline uintptr_t address(const void *pointer) { return reinterpret_cast<uintptr_t>(pointer); }

inline bool valid(const Shape &shape) {
  const bool sizes = shape.images >= 0 && shape.channels > 0 && shape.channels < INT_MAX / 2 && shape.plane > 0 &&
                     shape.plane <= INT_MAX - 512 && shape.half >= 0;
  return sizes && (shape.half == 0 || shape.channels % (2 * shape.half) == 0);
}

// The size of a launch. No kernel takes dynamic shared memory.
struct Grid {
  unsigned x, y, threads;  // blocks, and threads of each
};

// launch(grid, geometry) as often as the grid's limit of images makes it necessary.
template <typename Launch>
void over_images(const Shape &shape, Grid grid, Geometry geometry, Launch launch) {
  for (int64_t first = 0; first < shape.images; first += BLOCK_END_MAX_GRID_Y) {
    geometry.first_image = first;
    grid.y = static_cast<unsigned>(std::min<int64_t>(shape.images - first, BLOCK_END_MAX_GRID_Y));
    launch(grid, geometry);
  }
}

inline Geometry geometry_of(const Shape &shape, bool backwards) {
  return {0, static_cast<int>(shape.channels), static_cast<int>(shape.plane), static_cast<int>(shape.half), 0, 0, backwards};
}

// Into how many chunks Columns cut a plane, with `rows` of threads: 16 positions a thread are enough for what it computes
// before the first and after the last to weigh little, and few enough that the planes of one photograph make many blocks.
inline int chunks_of(int64_t plane, int rows) { return blocks_for(plane, 16 * rows); }

// The same: the layout's own grid and geometry.
template <typename L, typename Launch>
void over_blocks(const Shape &shape, bool backwards, Launch launch) {
  Geometry geometry = geometry_of(shape, backwards);
  if constexpr (L::columns) {
    const int columns = geometry.channels / L::channels;
    for (geometry.width = 1; geometry.width < columns && geometry.width < L::max_width;) geometry.width *= 2;
    geometry.chunk = blocks_for(shape.plane, chunks_of(shape.plane, L::block / geometry.width));
    const int chunks = blocks_for(shape.plane, geometry.chunk);
    over_images(shape, {static_cast<unsigned>(blocks_for(columns, geometry.width) * chunks), 1, L::block}, geometry, launch);
  } else {
    over_images(shape, {static_cast<unsigned>(blocks_for(shape.channels, L::planes)), 1, L::block}, geometry, launch);
  }
}

// each(grid, geometry, figures) over all planes, which leaves its figures, one set a plane, in `figures`. Where a plane has
// several chunks, each leaves its own in of_chunks, and they are joined.
template <typename L, typename Each, typename Launcher>
void launch_and_join(const Shape &shape, float *joined, float *of_chunks, bool statistics, Launcher &launcher, Each each) {
  JoinTask join = {of_chunks, joined, shape.images * shape.channels, static_cast<int>(shape.channels),
                   static_cast<int>(shape.plane), 0, statistics};
  over_blocks<L>(shape, false, [&](const Grid &grid, const Geometry &geometry) {
    join.chunk = geometry.chunk;
    each(grid, geometry, L::columns && geometry.chunk < geometry.plane ? of_chunks : joined);
  });
  if (!L::columns || join.planes == 0 || join.chunk == join.plane) return;
  launcher.join(Grid{static_cast<unsigned>(blocks_for(join.planes, kReductionThreads)), 1, kReductionThreads}, join);
}

// of_chunks: workspace for a launch that measures.
template <typename T, typename Launcher>
void launch_forward(const Shape &shape, ForwardTask<T> task, bool backwards, float *of_chunks, Launcher &launcher) {
  const uintptr_t alignment = address(task.data.x) | address(task.data.residual) | address(task.data.out);
  with_layout_of<T>(shape, alignment, [&](auto layout) {
    using L = decltype(layout);
    const auto launch = [&](const Grid &grid, const Geometry &geometry) {
      task.geometry = geometry;
      launcher.template forward<T, L>(grid, task);
    };
    if (task.apply) return over_blocks<L>(shape, backwards, launch);
    launch_and_join<L>(shape, task.data.plane_stats, of_chunks, true, launcher,
                       [&](const Grid &grid, const Geometry &geometry, float *stats) {
                         task.data.plane_stats = stats;
                         launch(grid, geometry);
                       });
  });
}

// The same for a launch that reduces.
template <typename T, typename Launcher>
void launch_backward(const Shape &shape, BackwardTask<T> task, bool backwards, float *of_chunks, Launcher &launcher) {
  const Backward<T, float> &data = task.data;
  const uintptr_t alignment =
      address(data.x) | address(data.out) | address(data.dout) | address(data.dx) | address(data.dresidual);
  with_layout_of<T>(shape, alignment, [&](auto layout) {
    using L = decltype(layout);
    const auto launch = [&](const Grid &grid, const Geometry &geometry) {
      task.geometry = geometry;
      launcher.template backward<T, L>(grid, task);
    };
    if (task.differentiate) return over_blocks<L>(shape, backwards, launch);
    launch_and_join<L>(shape, reinterpret_cast<float *>(task.sums), of_chunks, false, launcher,
                       [&](const Grid &grid, const Geometry &geometry, float *sums) {
                         task.sums = reinterpret_cast<PlaneSums *>(sums);
                         launch(grid, geometry);
                       });
  });
}

// How many floats of workspace, aligned to 16 bytes, the passes need: for each plane `per_plane`, and as many for each of its
// chunks where they are several. A thread of every width counts as one of the greatest, which makes the most chunks.
inline int64_t plane_workspace(const Shape &shape, int64_t per_plane) {
  using Widest = Columns<1, false>;
  const int chunks = shape.channels_last ? chunks_of(shape.plane, Widest::block / Widest::max_width) : 1;
  return per_plane * shape.images * shape.channels * (chunks > 1 ? 1 + chunks : 1);
}

// The forward pass uses its workspace only where it measures, and NCHW feature maps only with batch statistics and without
// Forward.plane_stats.
inline int64_t forward_workspace(const Shape &shape) { return plane_workspace(shape, 2); }
inline int64_t backward_workspace(const Shape &shape) {
  return plane_workspace(shape, sizeof(PlaneSums) / sizeof(float)) + (shape.half > 0 ? 2 * shape.channels : 0);
}

// A warp for each of `count`.
inline Grid grid_of_warps(int64_t count) {
  return {static_cast<unsigned>(blocks_for(count, kChannelsPerBlock)), 1, kReductionThreads};
}

// The forward pass. Every pointer is one to device memory, to whole elements at least; 16-byte alignment is fastest. Returns
// kInvalidValue for a shape that cannot be, else what the launches returned.
template <typename T, typename Launcher>
int forward_pass(const Shape &shape, const Options &options, const Forward<T, float> &data, float *workspace,
                 Launcher &launcher) {
  if (!valid(shape)) return kInvalidValue;
  const bool norm = data.norm_weight != nullptr, own = norm && options.batch_statistics, attention = shape.half > 0;
  const bool apart = own || (attention && shape.channels_last);  // a launch that only measures
  float *of_chunks = workspace + 2 * shape.images * shape.channels;
  ForwardTask<T> task = {data, {}, static_cast<float>(options.norm_epsilon), static_cast<float>(options.attention_epsilon),
                         attention, true, options.relu, norm && !own};
  if (apart) {
    if (data.plane_stats == nullptr) task.data.plane_stats = workspace;
    task.measure = true;
    task.apply = false;
    launch_forward(shape, task, false, of_chunks, launcher);
    task.measure = false;
    task.apply = true;
  }
  if (norm && (own || shape.images == 0)) {
    const ChannelTask channels = {task.data.plane_stats,
                                  data.running_mean,
                                  data.running_variance,
                                  data.channel_stats,
                                  shape.images,
                                  shape.plane,
                                  static_cast<int>(shape.channels),
                                  static_cast<float>(options.momentum),
                                  static_cast<float>(1 - options.momentum),
                                  static_cast<float>(options.norm_epsilon)};
    launcher.channels(grid_of_warps(shape.channels), channels);
  }
  launch_forward(shape, task, apart, of_chunks, launcher);
  return launcher.error();
}

// The backward pass, likewise; every gradient is written, none added to.
template <typename T, typename Launcher>
int backward_pass(const Shape &shape, const Options &options, const Backward<T, float> &data, float *workspace,
                  Launcher &launcher) {
  if (!valid(shape)) return kInvalidValue;
  const bool norm = data.norm_weight != nullptr, own = norm && options.batch_statistics, attention = shape.half > 0;
  const bool apart = own || shape.channels_last;  // a launch that only reduces, then one that only differentiates
  const bool by_out = options.relu && data.out != nullptr;
  const int64_t floats = static_cast<int64_t>(sizeof(PlaneSums) / sizeof(float)) * shape.images * shape.channels;
  float *channel_sums = workspace + plane_workspace(shape, sizeof(PlaneSums) / sizeof(float));
  PlaneSums *sums = reinterpret_cast<PlaneSums *>(workspace);
  BackwardTask<T> task = {data,
                          sums,
                          {},
                          static_cast<float>(options.attention_epsilon),
                          1.f / static_cast<float>(shape.plane),
                          1.f / (static_cast<float>(shape.images) * static_cast<float>(shape.plane)),
                          true,
                          !apart,
                          by_out,
                          options.relu && !by_out,
                          own};
  launch_backward(shape, task, false, workspace + floats, launcher);
  if (norm || attention) {
    const ParameterTask parameters = {sums,
                                      data.plane_stats,
                                      data.channel_stats,
                                      data.norm_weight,
                                      data.norm_bias,
                                      data.dnorm_weight,
                                      data.dnorm_bias,
                                      channel_sums,
                                      shape.images,
                                      static_cast<int>(shape.channels),
                                      static_cast<int>(shape.half)};
    launcher.parameters(grid_of_warps(shape.channels), parameters);
  }
  if (apart) {
    task.reduce = false;
    task.differentiate = true;
    launch_backward(shape, task, true, nullptr, launcher);
  }
  if (attention) {  // last: nothing waits for it
    const AttentionTask task = {channel_sums, data.attention, data.dattention, static_cast<int>(shape.channels),
                                static_cast<int>(shape.half)};
    launcher.attention(grid_of_warps(shape.half), task);
  }
  return launcher.error();
}

// ---- The functions of block_end_capi.h

inline Shape shape_of(const int64_t *shape) { return {shape[0], shape[1], shape[2], shape[3], shape[4] != 0}; }

inline Options options_of(int relu, int batch_statistics, const double *values) {
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
Forward<T, float> forward_at(void *const *p) {
  return {at<const T>(p, 0), at<const T>(p, 1),  at<const float>(p, 2), at<const float>(p, 3),
          at<float>(p, 4),   at<float>(p, 5),    attention_at<const float>(p, 6),
          at<T>(p, 12),      at<float>(p, 13),   at<float>(p, 14)};
}

template <typename T>
Backward<T, float> backward_at(void *const *p) {
  return {at<const T>(p, 0),
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
}

// use(T()) with the type of this number; kInvalidValue where there is none.
template <typename Launcher, typename Use>
int with_type(int dtype, Use use) {
  if (dtype == 0) return use(float());
  if (dtype == 1) return use(typename Launcher::Float16());
  if (dtype == 2) return use(typename Launcher::BFloat16());
  return kInvalidValue;
}

template <typename Launcher>
int forward(Launcher &launcher, int dtype, const int64_t *shape, int relu, int batch_statistics, const double *values,
            void *const *pointers, float *workspace) {
  return with_type<Launcher>(dtype, [&](auto element) {
    return forward_pass(shape_of(shape), options_of(relu, batch_statistics, values),
                        forward_at<decltype(element)>(pointers), workspace, launcher);
  });
}

template <typename Launcher>
int backward(Launcher &launcher, int dtype, const int64_t *shape, int relu, int batch_statistics, const double *values,
             void *const *pointers, float *workspace) {
  return with_type<Launcher>(dtype, [&](auto element) {
    return backward_pass(shape_of(shape), options_of(relu, batch_statistics, values),
                         backward_at<decltype(element)>(pointers), workspace, launcher);
  });
}

}  // namespace block_end
