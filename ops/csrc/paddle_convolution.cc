// Registers the convolution with Paddle, alone and after batch norm, and the reordering to blocks of channels. The modules of
// Python ops/convolution.py, ops/norm_convolution.py and ops/channel_blocks.py call them and check their arguments.
#include <algorithm>
#include <vector>

#include "blocked_kernels.h"
#include "convolution.h"
#include "paddle_block_end.h"

namespace {

using paddle::Tensor;

convolution::Shape shape_of(const Tensor &x, const Tensor &weight, const Tensor &bias, const std::vector<int> &numbers,
                            bool bfloat16) {
  const std::vector<int64_t> maps = x.shape(), kernel = weight.shape();
  const bool blocked = maps.size() == 5;
  PD_CHECK((maps.size() == 4 || blocked) && kernel.size() == 4 && numbers.size() == 8,
           "convolution: four dimensions, or five for blocks of channels, and eight numbers");
  const int64_t groups = numbers[6], lanes = blocked ? maps[4] : 0, in = blocked ? maps[1] * lanes : maps[1];
  const int64_t lanes_after = blocked ? lanes : numbers[7];
  for (const int64_t each : {lanes, lanes_after}) {
    PD_CHECK(each == 0 || ((each == 8 || each == 16) && kernel[0] % each == 0), "convolution: blocks of 8 or 16 channels");
  }
  const convolution::Shape shape = {maps[0], in, maps[2], maps[3], kernel[0], groups, {kernel[2], kernel[3]},
                                    {numbers[0], numbers[1]}, {numbers[2], numbers[3]}, {numbers[4], numbers[5]},
                                    lanes, lanes_after, bfloat16, bias.numel() > 0};
  PD_CHECK(!shape.biased || bias.numel() == kernel[0], "convolution: the bias has another length");
  for (const Tensor *tensor : {&x, &weight, &bias}) {
    PD_CHECK(tensor->is_cpu() && tensor->dtype() == paddle::DataType::FLOAT32, "convolution: float32 on a CPU");
  }
  const bool numbers_fit = groups > 0 && shape.in % groups == 0 && shape.out % groups == 0 && kernel[1] == shape.in / groups;
  for (int axis : {0, 1}) {
    PD_CHECK(shape.stride[axis] > 0 && shape.dilation[axis] > 0 && shape.padding[axis] >= 0, "convolution: numbers");
    PD_CHECK(numbers_fit && shape.side(axis) > 0, "convolution: x and the weights do not fit together");
  }
  return shape;
}

std::vector<int64_t> shape_of_result(const convolution::Shape &s) {
  if (s.lanes_after) return {s.images, s.out / s.lanes_after, s.side(0), s.side(1), s.lanes_after};
  return {s.images, s.out, s.side(0), s.side(1)};
}

Tensor empty(std::vector<int64_t> shape, const Tensor &like) { return paddle::empty(shape, like.dtype(), like.place()); }

std::vector<Tensor> forward(const Tensor &x, const Tensor &weight, const Tensor &bias, const std::vector<int> &numbers, bool,
                            bool, bool bfloat16) {
  const convolution::Shape shape = shape_of(x, weight, bias, numbers, bfloat16);
  Tensor y = empty(shape_of_result(shape), x);
  const float *addends = shape.biased ? bias.data<float>() : nullptr;
  PD_CHECK(convolution::forward(shape, x.data<float>(), weight.data<float>(), addends, y.data<float>()),
           "convolution: it failed, perhaps for want of memory");
  return {y};
}

// A gradient that nobody asks for is left as it is. of_weight: or of the bias.
std::vector<Tensor> backward(const Tensor &x, const Tensor &weight, const Tensor &bias, const Tensor &dy,
                             const std::vector<int> &numbers, bool of_x, bool of_weight, bool bfloat16) {
  const convolution::Shape shape = shape_of(x, weight, bias, numbers, bfloat16);
  PD_CHECK(dy.shape() == shape_of_result(shape), "convolution: the gradient has another shape");
  Tensor dx = empty(x.shape(), x), dweight = empty(weight.shape(), weight);
  Tensor dbias = shape.biased ? empty(bias.shape(), bias) : block_end::absent_output(bias);
  const bool done = convolution::backward(shape, x.data<float>(), weight.data<float>(), dy.data<float>(),
                                          of_x ? dx.data<float>() : nullptr, of_weight ? dweight.data<float>() : nullptr,
                                          dbias.data<float>());
  PD_CHECK(done, "convolution: it failed, perhaps for want of memory");
  return {dx, dweight, dbias};
}

// y = convolution(relu(batch norm(x))), in blocks of channels. What is kept for the backward pass is x: it computes what is
// between the two a second time, one pass over x, so a network keeps one map where it would keep two.
struct Norm {
  block_end::Shape shape;
  block_end::Options options;
  const Tensor none;

  Norm(const Tensor &x, const std::vector<const Tensor *> &parameters, bool batch_statistics, float momentum, float epsilon)
      : options{true, batch_statistics, momentum, epsilon, 0}, none(paddle::empty({0}, x.dtype(), x.place())) {
    const std::vector<int64_t> dims = x.shape();
    PD_CHECK(dims.size() == 5 && x.is_cpu() && x.dtype() == paddle::DataType::FLOAT32 && block_end::blocked_kernels(dims[4]),
             "norm_convolution: float32 on a CPU in blocks of channels");
    shape = {dims[0], dims[1] * dims[4], dims[2] * dims[3], 0, false};
    for (const Tensor *parameter : parameters) {
      PD_CHECK(parameter->numel() == shape.channels && parameter->dtype() == x.dtype(),
               "norm_convolution: a parameter of another size or type");
    }
  }

  block_end::ForwardTensors tensors(const Tensor &x, const Tensor &weight, const Tensor &bias, const Tensor &mean,
                                    const Tensor &variance) const {
    return {x, none, weight, bias, mean, variance, none, none, none, none, none, none};
  }
};

std::vector<Tensor> norm_convolution(const Tensor &x, const Tensor &norm_weight, const Tensor &norm_bias,
                                     const Tensor &running_mean, const Tensor &running_variance, const Tensor &weight,
                                     const Tensor &bias, const std::vector<int> &numbers, bool of_norm, bool of_weight,
                                     bool bfloat16, bool batch_statistics, float momentum, float epsilon) {
  const Norm norm(x, {&norm_weight, &norm_bias, &running_mean, &running_variance}, batch_statistics, momentum, epsilon);
  const auto tensors = norm.tensors(x, norm_weight, norm_bias, running_mean, running_variance);
  const std::vector<Tensor> normed = block_end::forward_cpu(norm.shape, norm.options, tensors);
  return {forward(normed[0], weight, bias, numbers, of_norm, of_weight, bfloat16)[0], normed[2]};
}

// of_norm: of x and of the parameters of batch norm.
std::vector<Tensor> norm_convolution_grad(const Tensor &x, const Tensor &norm_weight, const Tensor &norm_bias,
                                          const Tensor &channel_stats, const Tensor &weight, const Tensor &bias,
                                          const Tensor &dy, const std::vector<int> &numbers, bool of_norm, bool of_weight,
                                          bool bfloat16, bool batch_statistics, float momentum, float epsilon) {
  const Norm norm(x, {&norm_weight, &norm_bias}, batch_statistics, momentum, epsilon);
  const Tensor &none = norm.none;
  Tensor z = x;  // for the gradient of x alone its shape is enough
  if (of_weight) {
    const auto tensors = norm.tensors(x, norm_weight, norm_bias, none, none);
    z = block_end::apply_cpu(norm.shape, norm.options, tensors, channel_stats);
  }
  std::vector<Tensor> found = backward(z, weight, bias, dy, numbers, of_norm, of_weight, bfloat16);
  z = none;  // the memory of it goes
  if (!of_norm) {  // dz has been left as it is, and stands for dx
    return {found[0], empty(norm_weight.shape(), x), empty(norm_bias.shape(), x), found[1], found[2]};
  }
  const std::vector<Tensor> of_input = block_end::backward_cpu(
      norm.shape, norm.options,
      {x, none, found[0], norm_weight, norm_bias, none, none, none, none, none, none, none, channel_stats, false});
  return {of_input[0], of_input[2], of_input[3], found[1], found[2]};
}

// The same values in another order: [N, C, H, W] from or to [N, C / lanes, H, W, lanes].
Tensor reordered(const Tensor &x, int lanes) {
  std::vector<int64_t> dims = x.shape();
  const bool into = dims.size() == 4;
  const block_end::BlockedKernels *kernels = block_end::blocked_kernels(lanes);
  PD_CHECK(x.is_cpu() && x.dtype() == paddle::DataType::FLOAT32, "channel_blocks: float32 on a CPU");
  PD_CHECK(kernels != nullptr, "channel_blocks: no code for blocks of so many channels");
  PD_CHECK(into ? dims[1] % lanes == 0 : dims.size() == 5 && dims[4] == lanes, "channel_blocks: the shape does not fit");
  const int64_t plane = dims[2] * dims[3], tiles = x.numel() / std::max<int64_t>(plane * lanes, 1);
  if (into) {
    dims = {dims[0], dims[1] / lanes, dims[2], dims[3], lanes};
  } else {
    dims = {dims[0], dims[1] * lanes, dims[2], dims[3]};
  }
  Tensor y = empty(dims, x);
  const float *from = x.data<float>();
  float *to = y.data<float>();
#pragma omp parallel for schedule(static)
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int64_t begin = tile * plane * lanes;
    (into ? kernels->to_block : kernels->to_planes)(from + begin, to + begin, plane);
  }
  return y;
}

std::vector<Tensor> channel_blocks(const Tensor &x, int lanes) { return {reordered(x, lanes)}; }
std::vector<Tensor> channel_blocks_grad(const Tensor &dy, int lanes) { return {reordered(dy, lanes)}; }

}  // namespace

PD_BUILD_OP(onednn_convolution)
    .Inputs({"X", "Weight", "Bias"})
    .Outputs({"Y"})
    .Attrs({"numbers: std::vector<int>", "of_x: bool", "of_weight: bool", "bfloat16: bool"})
    .SetKernelFn(PD_KERNEL(forward));

PD_BUILD_GRAD_OP(onednn_convolution)
    .Inputs({"X", "Weight", "Bias", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Weight"), paddle::Grad("Bias")})
    .Attrs({"numbers: std::vector<int>", "of_x: bool", "of_weight: bool", "bfloat16: bool"})
    .SetKernelFn(PD_KERNEL(backward));

PD_BUILD_OP(norm_convolution)
    .Inputs({"X", "NormWeight", "NormBias", "RunningMean", "RunningVariance", "Weight", "Bias"})
    .Outputs({"Y", "ChannelStats"})
    .Attrs({"numbers: std::vector<int>", "of_norm: bool", "of_weight: bool", "bfloat16: bool", "batch_statistics: bool",
            "momentum: float", "epsilon: float"})
    .SetKernelFn(PD_KERNEL(norm_convolution));

PD_BUILD_GRAD_OP(norm_convolution)
    .Inputs({"X", "NormWeight", "NormBias", "ChannelStats", "Weight", "Bias", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X"), paddle::Grad("NormWeight"), paddle::Grad("NormBias"), paddle::Grad("Weight"),
              paddle::Grad("Bias")})
    .Attrs({"numbers: std::vector<int>", "of_norm: bool", "of_weight: bool", "bfloat16: bool", "batch_statistics: bool",
            "momentum: float", "epsilon: float"})
    .SetKernelFn(PD_KERNEL(norm_convolution_grad));

PD_BUILD_OP(channel_blocks).Inputs({"X"}).Outputs({"Y"}).Attrs({"lanes: int"}).SetKernelFn(PD_KERNEL(channel_blocks));

PD_BUILD_GRAD_OP(channel_blocks)
    .Inputs({paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .Attrs({"lanes: int"})
    .SetKernelFn(PD_KERNEL(channel_blocks_grad));

// In blocks of how many channels feature maps are to be kept from one convolution to the next; 0: as Paddle has them.
extern "C" int64_t convolution_lanes() {
  const int64_t lanes = convolution::lanes();
  return block_end::blocked_kernels(lanes) != nullptr ? lanes : 0;
}

// Why oneDNN cannot be used, or null.
extern "C" const char *convolution_obstacle() { return convolution::obstacle(); }

// When our own convolutions run, as in convolution.h.
extern "C" void convolution_choose_own(int when) { convolution::choose_own(convolution::Own(when)); }
