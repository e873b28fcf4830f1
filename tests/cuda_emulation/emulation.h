// CUDA's threads on a CPU, for testing the logic of kernels where there is no GPU. Linux only.
//
// The threads of a block are fibres of one system thread. Those of a warp take turns: each runs until it waits at a shuffle or
// a barrier or ends, then the next. One warp runs on to the barrier before the next begins, so that a missing barrier shows.
// A launch fails where the threads of a warp do not reach the same shuffles and barriers in the same order, and where an
// address is not aligned to its type. Reversed, blocks, warps and threads run in the opposite order: a kernel without data
// races gives the same bits both ways. Shared variables are static ones, kept from block to block.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <ucontext.h>

#include <cmath>
#include <cstdlib>
#include <functional>
#include <memory>
#include <vector>

#undef __shared__
#define __shared__ static
#undef __launch_bounds__
#define __launch_bounds__(...)

namespace emulation {

enum class Stop { kNone, kBarrier, kShuffle, kEnd };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  Stop stop = Stop::kNone;
};

constexpr int kMaxThreads = 1024, kStackBytes = 64 * 1024;

inline dim3 thread_index, block_index, grid_dimensions;
inline std::vector<Fiber> fibers(kMaxThreads);
inline ucontext_t scheduler;
inline std::function<void()> kernel;
inline float exchanged[2][kMaxThreads];  // what the threads hand to a shuffle, in turns of even and odd number
inline unsigned turn;
inline bool reversed;
inline void (*observe)(const char *kernel, unsigned x, unsigned y, unsigned threads, const void *task);  // null: nobody
inline cudaError_t error = cudaSuccess;

// Gives the turn to the next thread; returns when all others of the warp, or of the block, have come to a stop too.
inline void stop_at(Stop stop) {
  Fiber &fiber = fibers[thread_index.x];
  fiber.stop = stop;
  swapcontext(&fiber.context, &scheduler);
}

inline void run_kernels() {
  for (;;) {
    kernel();
    stop_at(Stop::kEnd);
  }
}

inline void prepare(Fiber &fiber) {
  fiber.stop = Stop::kNone;
  if (fiber.stack) return;
  fiber.stack.reset(new char[kStackBytes]);
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, run_kernels, 0);
}

inline unsigned in_order(unsigned i, unsigned count) { return reversed ? count - 1 - i : i; }

// Runs a warp to the next barrier or its end; kNone where its threads part.
inline Stop run_warp(unsigned first) {
  for (;; ++turn) {
    for (unsigned i = 0; i < 32; ++i) {
      thread_index = dim3(first + in_order(i, 32));
      swapcontext(&scheduler, &fibers[thread_index.x].context);
    }
    const Stop stop = fibers[first].stop;
    for (unsigned lane = 1; lane < 32; ++lane) {
      if (fibers[first + lane].stop != stop) return Stop::kNone;
    }
    if (stop != Stop::kShuffle) return stop;
  }
}

inline bool run_block(unsigned threads) {
  for (unsigned t = 0; t < threads; ++t) prepare(fibers[t]);
  for (bool running = true; running;) {
    running = false;
    for (unsigned i = 0; i < threads / 32; ++i) {
      const unsigned first = 32 * in_order(i, threads / 32);
      if (fibers[first].stop == Stop::kEnd) continue;
      const Stop stop = run_warp(first);
      if (stop == Stop::kNone) {
        for (Fiber &fiber : fibers) fiber.stack.reset();  // each starts anew
        return false;
      }
      running = running || stop == Stop::kBarrier;
    }
  }
  return true;
}

template <typename Function>
void launch(dim3 grid, unsigned threads, Function function) {
  const bool possible = grid.x > 0 && grid.y > 0 && grid.y <= 65535 && threads % 32 == 0 && threads <= kMaxThreads;
  if (!possible) error = cudaErrorInvalidConfiguration;
  if (error != cudaSuccess) return;
  kernel = function;
  grid_dimensions = grid;
  const unsigned blocks = grid.x * grid.y;
  for (unsigned i = 0; i < blocks; ++i) {
    const unsigned b = in_order(i, blocks);
    block_index = dim3(b % grid.x, b / grid.x);
    if (!run_block(threads)) error = cudaErrorLaunchFailure;
  }
}

// A launch through block_end_capi.h: where there is an observer, it is told, and nothing runs.
template <typename Task, typename Function>
void launch_or_tell(const char *kernel, dim3 grid, unsigned threads, const Task &task, Function function) {
  if (observe != nullptr) {
    observe(kernel, grid.x, grid.y, threads, &task);
  } else {
    launch(grid, threads, function);
  }
}

inline float shuffle_xor(float value, unsigned lane_mask) {
  const unsigned thread = thread_index.x;
  float *values = exchanged[turn % 2];  // of this turn: the next, in which the values are read, writes the other half
  values[thread] = value;
  stop_at(Stop::kShuffle);
  return values[thread ^ lane_mask];
}

inline cudaError_t last_error() {
  const cudaError_t last = error;
  error = cudaSuccess;
  return last;
}

}  // namespace emulation

#define threadIdx emulation::thread_index
#define blockIdx emulation::block_index
#define gridDim emulation::grid_dimensions
#define __syncthreads() emulation::stop_at(emulation::Stop::kBarrier)
#define __shfl_xor_sync(mask, value, lane_mask) emulation::shuffle_xor(value, lane_mask)
#define __fdividef(numerator, denominator) ((numerator) / (denominator))
#define rsqrtf(value) (1.f / std::sqrt(value))
#define cudaGetLastError() emulation::last_error()
#define cudaGetErrorString(error) ((error) == cudaSuccess ? "no error" : "error in emulation")

#define BLOCK_END_LAUNCH(kernel, grid, block, stream, task) \
  static_cast<void>(stream), emulation::launch_or_tell(#kernel, grid, block, task, [=] { kernel(task); })
#define BLOCK_END_MAX_GRID_Y 2  // so that few images make several launches
