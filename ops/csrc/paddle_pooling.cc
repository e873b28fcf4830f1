// Registers max pooling of feature maps in blocks of channels, [N, C / lanes, H, W, lanes]. ops/pooling.py calls it. Paddle's
// own, of planes, takes one value after the other.
#include <cstdint>
#include <vector>

#include "blocked_kernels.h"
#include "paddle_block_end.h"

namespace {

using paddle::Tensor;

struct Maps {
  block_end::Pooling pooling;
  int64_t count, size, size_after;  // maps; values of one, and of one of the result
  std::vector<int64_t> result;      // its shape
  const block_end::BlockedKernels *kernels;

  Maps(const Tensor &x, const std::vector<int> &numbers) {
    const std::vector<int64_t> dims = x.shape();
    PD_CHECK(x.is_cpu() && x.dtype() == paddle::DataType::FLOAT32, "blocks_max_pooling: float32 on a CPU");
    PD_CHECK(dims.size() == 5 && numbers.size() == 6, "blocks_max_pooling: five dimensions and six numbers");
    kernels = block_end::blocked_kernels(dims[4]);
    PD_CHECK(kernels != nullptr, "blocks_max_pooling: no code for blocks of so many channels");
    block_end::Pooling &p = pooling;
    p.height = dims[2];
    p.width = dims[3];
    for (int axis : {0, 1}) {
      p.kernel[axis] = numbers[axis];
      p.stride[axis] = numbers[2 + axis];
      p.padding[axis] = numbers[4 + axis];
      const int64_t room = dims[2 + axis] + 2 * p.padding[axis] - p.kernel[axis];
      PD_CHECK(p.stride[axis] > 0 && p.padding[axis] >= 0 && p.padding[axis] < p.kernel[axis], "blocks_max_pooling: numbers");
      PD_CHECK(room >= 0, "blocks_max_pooling: the map is smaller than its window");
      p.after[axis] = room / p.stride[axis] + 1;
    }
    count = dims[0] * dims[1];
    size = p.height * p.width * dims[4];
    size_after = p.after[0] * p.after[1] * dims[4];
    result = {dims[0], dims[1], p.after[0], p.after[1], dims[4]};
  }
};

std::vector<Tensor> forward(const Tensor &x, const std::vector<int> &numbers) {
  const Maps maps(x, numbers);
  Tensor y = paddle::empty(maps.result, x.dtype(), x.place());
  const float *from = x.data<float>();
  float *to = y.data<float>();
#pragma omp parallel for schedule(static)
  for (int64_t map = 0; map < maps.count; ++map) {
    maps.kernels->pool(maps.pooling, from + map * maps.size, to + map * maps.size_after);
  }
  return {y};
}

std::vector<Tensor> backward(const Tensor &x, const Tensor &y, const Tensor &dy, const std::vector<int> &numbers) {
  const Maps maps(x, numbers);
  PD_CHECK(dy.shape() == maps.result && y.shape() == maps.result, "blocks_max_pooling: the gradient has another shape");
  Tensor dx = paddle::empty(x.shape(), x.dtype(), x.place());
  const float *from = x.data<float>(), *most = y.data<float>(), *gradient = dy.data<float>();
  float *to = dx.data<float>();
#pragma omp parallel for schedule(static)
  for (int64_t map = 0; map < maps.count; ++map) {
    const int64_t at = map * maps.size, after = map * maps.size_after;
    maps.kernels->pool_backward(maps.pooling, from + at, most + after, gradient + after, to + at);
  }
  return {dx};
}

}  // namespace

PD_BUILD_OP(blocks_max_pooling)
    .Inputs({"X"})
    .Outputs({"Y"})
    .Attrs({"numbers: std::vector<int>"})
    .SetKernelFn(PD_KERNEL(forward));

PD_BUILD_GRAD_OP(blocks_max_pooling)
    .Inputs({"X", "Y", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .Attrs({"numbers: std::vector<int>"})
    .SetKernelFn(PD_KERNEL(backward));
