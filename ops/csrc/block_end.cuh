// The kernels for both layouts of feature maps: Layout is one of block_end_tasks.h's, Layout<...> or Columns<...>.
#pragma once

#include "block_end_columns.cuh"
#include "block_end_planes.cuh"

namespace block_end {

template <typename T, typename L>
__device__ __forceinline__ void forward(const ForwardTask<T> &task) {
  if constexpr (L::columns) {
    forward_columns<T, L>(task);
  } else {
    forward_planes<T, L>(task);
  }
}

template <typename T, typename L>
__device__ __forceinline__ void backward(const BackwardTask<T> &task) {
  if constexpr (L::columns) {
    backward_columns<T, L>(task);
  } else {
    backward_planes<T, L>(task);
  }
}

}  // namespace block_end
