// The C interface to the CUDA kernels, compiled with them by nvcc and launched by CUDA's runtime.
#include "block_end_capi.h"

#include "block_end.cuh"
#include "block_end_launch.h"

// The tests, which run the kernels on a CPU, replace this definition.
#ifndef BLOCK_END_LAUNCH
#define BLOCK_END_LAUNCH(kernel, grid, block, stream, ...) kernel<<<grid, block, 0, stream>>>(__VA_ARGS__)
#endif

namespace {

using block_end::AttentionTask;
using block_end::BackwardTask;
using block_end::ChannelTask;
using block_end::ForwardTask;
using block_end::Grid;
using block_end::JoinTask;
using block_end::kReductionThreads;
using block_end::ParameterTask;

template <typename T, typename L>
__global__ void __launch_bounds__(L::block) forward_kernel(const ForwardTask<T> task) {
  block_end::forward<T, L>(task);
}

template <typename T, typename L>
__global__ void __launch_bounds__(L::block, block_end::kBackwardBlocks<T, L>) backward_kernel(const BackwardTask<T> task) {
  block_end::backward<T, L>(task);
}

__global__ void __launch_bounds__(kReductionThreads) channel_kernel(const ChannelTask task) {
  block_end::channel_statistics(task);
}

__global__ void __launch_bounds__(kReductionThreads) parameter_kernel(const ParameterTask task) {
  block_end::parameter_gradients(task);
}

__global__ void __launch_bounds__(kReductionThreads) attention_kernel(const AttentionTask task) {
  block_end::attention_gradients(task);
}

__global__ void __launch_bounds__(kReductionThreads) join_kernel(const JoinTask task) { block_end::join_chunks(task); }

struct RuntimeLauncher {
  using Float16 = __half;
  using BFloat16 = __nv_bfloat16;
  cudaStream_t stream;

  explicit RuntimeLauncher(void *queue) : stream(static_cast<cudaStream_t>(queue)) {}

  template <typename T, typename L>
  void forward(const Grid &grid, const ForwardTask<T> &task) {
    BLOCK_END_LAUNCH((forward_kernel<T, L>), dim3(grid.x, grid.y), grid.threads, stream, task);
  }
  template <typename T, typename L>
  void backward(const Grid &grid, const BackwardTask<T> &task) {
    BLOCK_END_LAUNCH((backward_kernel<T, L>), dim3(grid.x, grid.y), grid.threads, stream, task);
  }
  void channels(const Grid &grid, const ChannelTask &task) {
    BLOCK_END_LAUNCH(channel_kernel, dim3(grid.x, grid.y), grid.threads, stream, task);
  }
  void parameters(const Grid &grid, const ParameterTask &task) {
    BLOCK_END_LAUNCH(parameter_kernel, dim3(grid.x, grid.y), grid.threads, stream, task);
  }
  void attention(const Grid &grid, const AttentionTask &task) {
    BLOCK_END_LAUNCH(attention_kernel, dim3(grid.x, grid.y), grid.threads, stream, task);
  }
  void join(const Grid &grid, const JoinTask &task) {
    BLOCK_END_LAUNCH(join_kernel, dim3(grid.x, grid.y), grid.threads, stream, task);
  }
  int error() { return cudaGetLastError(); }
};

using Launcher = RuntimeLauncher;

}  // namespace

#include "block_end_entries.h"

extern "C" const char *block_end_error(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }
