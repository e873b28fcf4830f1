// Registers the operators with Paddle. ops/batch_norm.py calls them and checks its arguments; this file only checks again what
// could read beyond the end of a tensor.
//
// Two operators share the code: `block_end` has a residual and ends in ReLU, and its backward pass uses the sign of the
// output; `block_norm` has no residual and keeps no output in memory for the backward pass.
#include "paddle_block_end.h"

namespace {

using block_end::Options;
using block_end::present;
using block_end::Shape;
using paddle::Tensor;

constexpr double kAttentionEpsilon = 1e-5;  // of Shuffle Attention's group norm; EPSILON in ops/shuffle_functional.py

Shape shape_of(const Tensor &x, int half, bool channels_last) {
  const std::vector<int64_t> dims = x.shape();
  if (dims.size() == 5) {  // [N, C / lanes, H, W, lanes]
    const int64_t blocks = dims[1], lanes = dims[4], channels = blocks * lanes;
    const bool kernels = x.is_cpu() && x.dtype() == paddle::DataType::FLOAT32 && block_end::blocked_kernels(lanes) &&
                         !block_end::for_kernels(x);  // the kernels of GPUs know planes alone
    PD_CHECK(kernels && !channels_last, "block_end: no kernel for these blocks of channels");
    PD_CHECK(half >= 0 && (half == 0 || (channels % (2 * half) == 0 && blocks % 2 == 0)), "block_end: C and half do not fit");
    return {dims[0], channels, dims[2] * dims[3], half, false};
  }
  PD_CHECK(dims.size() == 4, "block_end: x must have the shape [N, C, H, W] or [N, H, W, C]");
  const int64_t channels = channels_last ? dims[3] : dims[1], plane = channels_last ? dims[1] * dims[2] : dims[2] * dims[3];
  PD_CHECK(half >= 0 && (half == 0 || channels % (2 * half) == 0), "block_end: C must be a multiple of 2 * half");
  return {dims[0], channels, plane, half, channels_last};
}

Tensor absent(const Tensor &like) { return paddle::empty({0}, like.dtype(), like.place()); }

void check_size(const Tensor &tensor, int64_t size, const char *name) {
  PD_CHECK(!present(tensor) || tensor.numel() == size, "block_end: ", name, " has the wrong size");
}

std::vector<Tensor> forward(const Tensor &x, const Tensor &residual, const Tensor &norm_weight, const Tensor &norm_bias,
                            const Tensor &running_mean, const Tensor &running_variance, const Tensor &cweight,
                            const Tensor &cbias, const Tensor &sweight, const Tensor &sbias, const Tensor &gamma,
                            const Tensor &beta, const Options &options, int half, bool channels_last) {
  const Shape shape = shape_of(x, half, channels_last);
  PD_CHECK(!present(residual) || residual.shape() == x.shape(), "block_end: residual must have the shape of x");
  for (const Tensor *parameter : {&norm_weight, &norm_bias, &running_mean, &running_variance}) {
    check_size(*parameter, shape.channels, "batch norm's parameter");
  }
  for (const Tensor *parameter : {&cweight, &cbias, &sweight, &sbias, &gamma, &beta}) {
    PD_CHECK(present(*parameter) == (half > 0), "block_end: six parameters of the attention, or none");
    check_size(*parameter, half, "the attention's parameter");
  }
  const block_end::ForwardTensors tensors = {x,       residual, norm_weight, norm_bias, running_mean, running_variance,
                                             cweight, cbias,    sweight,     sbias,     gamma,        beta};
  if (block_end::for_kernels(x)) return block_end::forward_gpu(shape, options, tensors);
  PD_CHECK(x.is_cpu() && !channels_last, "block_end: no kernel for this device and layout");
  return block_end::forward_cpu(shape, options, tensors);
}

std::vector<Tensor> backward(const Shape &shape, const Options &options, const block_end::BackwardTensors &tensors) {
  if (block_end::for_kernels(tensors.x)) return block_end::backward_gpu(shape, options, tensors);
  return block_end::backward_cpu(shape, options, tensors);
}

std::vector<Tensor> block_end_forward(const Tensor &x, const Tensor &residual, const Tensor &norm_weight,
                                      const Tensor &norm_bias, const Tensor &running_mean, const Tensor &running_variance,
                                      const Tensor &cweight, const Tensor &cbias, const Tensor &sweight,
                                      const Tensor &sbias, const Tensor &gamma, const Tensor &beta, int half,
                                      bool batch_statistics, float momentum, float epsilon, bool channels_last) {
  const Options options = {true, batch_statistics, momentum, epsilon, kAttentionEpsilon};
  return forward(x, residual, norm_weight, norm_bias, running_mean, running_variance, cweight, cbias, sweight, sbias, gamma,
                 beta, options, half, channels_last);
}

std::vector<Tensor> block_end_backward(const Tensor &x, const Tensor &out, const Tensor &norm_weight,
                                       const Tensor &norm_bias, const Tensor &cweight, const Tensor &cbias,
                                       const Tensor &sweight, const Tensor &sbias, const Tensor &gamma, const Tensor &beta,
                                       const Tensor &plane_stats, const Tensor &channel_stats, const Tensor &dout, int half,
                                       bool batch_statistics, float momentum, float epsilon, bool channels_last) {
  const Options options = {true, batch_statistics, momentum, epsilon, kAttentionEpsilon};
  const block_end::BackwardTensors tensors = {x,       out,   dout,  norm_weight, norm_bias,   cweight,       cbias,
                                              sweight, sbias, gamma, beta,        plane_stats, channel_stats, true};
  return backward(shape_of(x, half, channels_last), options, tensors);
}

std::vector<Tensor> block_norm_forward(const Tensor &x, const Tensor &norm_weight, const Tensor &norm_bias,
                                       const Tensor &running_mean, const Tensor &running_variance, const Tensor &cweight,
                                       const Tensor &cbias, const Tensor &sweight, const Tensor &sbias, const Tensor &gamma,
                                       const Tensor &beta, int half, bool relu, bool batch_statistics, float momentum,
                                       float epsilon, bool channels_last) {
  const Options options = {relu, batch_statistics, momentum, epsilon, kAttentionEpsilon};
  return forward(x, absent(x), norm_weight, norm_bias, running_mean, running_variance, cweight, cbias, sweight, sbias, gamma,
                 beta, options, half, channels_last);
}

std::vector<Tensor> block_norm_backward(const Tensor &x, const Tensor &norm_weight, const Tensor &norm_bias,
                                        const Tensor &cweight, const Tensor &cbias, const Tensor &sweight,
                                        const Tensor &sbias, const Tensor &gamma, const Tensor &beta,
                                        const Tensor &plane_stats, const Tensor &channel_stats, const Tensor &dout, int half,
                                        bool relu, bool batch_statistics, float momentum, float epsilon, bool channels_last) {
  const Options options = {relu, batch_statistics, momentum, epsilon, kAttentionEpsilon};
  const Tensor none = absent(x);
  const block_end::BackwardTensors tensors = {x,       none,  dout,  norm_weight, norm_bias,   cweight,       cbias,
                                              sweight, sbias, gamma, beta,        plane_stats, channel_stats, false};
  std::vector<Tensor> gradients = backward(shape_of(x, half, channels_last), options, tensors);
  gradients.erase(gradients.begin() + 1);  // that of the residual
  return gradients;
}

}  // namespace

// Shapes and types of the outputs come from the kernels: the operators are used in dynamic mode only.
PD_BUILD_OP(block_end)
    .Inputs({"X", "Residual", "NormWeight", "NormBias", "RunningMean", "RunningVariance", "CWeight", "CBias", "SWeight",
             "SBias", "Gamma", "Beta"})
    .Outputs({"Out", "PlaneStats", "ChannelStats"})
    .Attrs({"half: int", "batch_statistics: bool", "momentum: float", "epsilon: float", "channels_last: bool"})
    .SetKernelFn(PD_KERNEL(block_end_forward));

PD_BUILD_GRAD_OP(block_end)
    .Inputs({"X", "Out", "NormWeight", "NormBias", "CWeight", "CBias", "SWeight", "SBias", "Gamma", "Beta", "PlaneStats",
             "ChannelStats", paddle::Grad("Out")})
    .Outputs({paddle::Grad("X"), paddle::Grad("Residual"), paddle::Grad("NormWeight"), paddle::Grad("NormBias"),
              paddle::Grad("CWeight"), paddle::Grad("CBias"), paddle::Grad("SWeight"), paddle::Grad("SBias"),
              paddle::Grad("Gamma"), paddle::Grad("Beta")})
    .Attrs({"half: int", "batch_statistics: bool", "momentum: float", "epsilon: float", "channels_last: bool"})
    .SetKernelFn(PD_KERNEL(block_end_backward));

PD_BUILD_OP(block_norm)
    .Inputs({"X", "NormWeight", "NormBias", "RunningMean", "RunningVariance", "CWeight", "CBias", "SWeight", "SBias", "Gamma",
             "Beta"})
    .Outputs({"Out", "PlaneStats", "ChannelStats"})
    .Attrs({"half: int", "relu: bool", "batch_statistics: bool", "momentum: float", "epsilon: float", "channels_last: bool"})
    .SetKernelFn(PD_KERNEL(block_norm_forward));

PD_BUILD_GRAD_OP(block_norm)
    .Inputs({"X", "NormWeight", "NormBias", "CWeight", "CBias", "SWeight", "SBias", "Gamma", "Beta", "PlaneStats",
             "ChannelStats", paddle::Grad("Out")})
    .Outputs({paddle::Grad("X"), paddle::Grad("NormWeight"), paddle::Grad("NormBias"), paddle::Grad("CWeight"),
              paddle::Grad("CBias"), paddle::Grad("SWeight"), paddle::Grad("SBias"), paddle::Grad("Gamma"),
              paddle::Grad("Beta")})
    .Attrs({"half: int", "relu: bool", "batch_statistics: bool", "momentum: float", "epsilon: float", "channels_last: bool"})
    .SetKernelFn(PD_KERNEL(block_norm_backward));
