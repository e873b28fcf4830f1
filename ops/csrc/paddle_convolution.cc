// Registers the convolution with Paddle. ops/convolution.py calls it and checks its arguments.
#include <vector>

#include "convolution.h"
#include "paddle/extension.h"

namespace {

using paddle::Tensor;

convolution::Shape shape_of(const Tensor &x, const Tensor &weight, const std::vector<int> &numbers) {
  const std::vector<int64_t> maps = x.shape(), kernel = weight.shape();
  PD_CHECK(maps.size() == 4 && kernel.size() == 4 && numbers.size() == 7, "convolution: four dimensions and seven numbers");
  const int64_t groups = numbers[6];
  const convolution::Shape shape = {maps[0], maps[1], maps[2], maps[3], kernel[0], groups, {kernel[2], kernel[3]},
                                    {numbers[0], numbers[1]}, {numbers[2], numbers[3]}, {numbers[4], numbers[5]}};
  for (const Tensor *tensor : {&x, &weight}) {
    PD_CHECK(tensor->is_cpu() && tensor->dtype() == paddle::DataType::FLOAT32, "convolution: float32 on a CPU");
  }
  const bool numbers_fit = groups > 0 && shape.in % groups == 0 && shape.out % groups == 0 && kernel[1] == shape.in / groups;
  for (int axis : {0, 1}) {
    PD_CHECK(shape.stride[axis] > 0 && shape.dilation[axis] > 0 && shape.padding[axis] >= 0, "convolution: numbers");
    PD_CHECK(numbers_fit && shape.side(axis) > 0, "convolution: x and the weights do not fit together");
  }
  return shape;
}

Tensor empty(std::vector<int64_t> shape, const Tensor &like) { return paddle::empty(shape, like.dtype(), like.place()); }

std::vector<Tensor> forward(const Tensor &x, const Tensor &weight, const std::vector<int> &numbers, bool, bool) {
  const convolution::Shape shape = shape_of(x, weight, numbers);
  Tensor y = empty({shape.images, shape.out, shape.side(0), shape.side(1)}, x);
  PD_CHECK(convolution::forward(shape, x.data<float>(), weight.data<float>(), y.data<float>()), "convolution: oneDNN failed");
  return {y};
}

// A gradient that nobody asks for is left as it is.
std::vector<Tensor> backward(const Tensor &x, const Tensor &weight, const Tensor &dy, const std::vector<int> &numbers,
                             bool of_x, bool of_weight) {
  const convolution::Shape shape = shape_of(x, weight, numbers);
  PD_CHECK(dy.shape() == std::vector<int64_t>({shape.images, shape.out, shape.side(0), shape.side(1)}),
           "convolution: the gradient has another shape");
  Tensor dx = empty(x.shape(), x), dweight = empty(weight.shape(), weight);
  const bool done = convolution::backward(shape, x.data<float>(), weight.data<float>(), dy.data<float>(),
                                          of_x ? dx.data<float>() : nullptr, of_weight ? dweight.data<float>() : nullptr);
  PD_CHECK(done, "convolution: oneDNN failed");
  return {dx, dweight};
}

}  // namespace

PD_BUILD_OP(onednn_convolution)
    .Inputs({"X", "Weight"})
    .Outputs({"Y"})
    .Attrs({"numbers: std::vector<int>", "of_x: bool", "of_weight: bool"})
    .SetKernelFn(PD_KERNEL(forward));

PD_BUILD_GRAD_OP(onednn_convolution)
    .Inputs({"X", "Weight", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Weight")})
    .Attrs({"numbers: std::vector<int>", "of_x: bool", "of_weight: bool"})
    .SetKernelFn(PD_KERNEL(backward));

// Why oneDNN cannot be used, or null.
extern "C" const char *convolution_obstacle() { return convolution::obstacle(); }
