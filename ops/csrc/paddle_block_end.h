// What the Paddle binding passes to the code for each kind of device.
//
// An input that does not apply (no residual, no attention, no batch norm) has the shape [0]. An output that does not apply
// has the shape [1], because Paddle 2.6 treats an empty output as missing.
#pragma once

#include <vector>

#include "block_end.h"
// not paddle/extension.h, which takes twice as long to compile
#include "paddle/phi/api/ext/op_meta_info.h"
#include "paddle/phi/api/ext/tensor_compat.h"

namespace block_end {

inline bool present(const paddle::Tensor &tensor) { return !(tensor.shape().size() == 1 && tensor.shape()[0] == 0); }

inline paddle::Tensor absent_output(const paddle::Tensor &like) { return paddle::empty({1}, like.dtype(), like.place()); }

struct ForwardTensors {
  const paddle::Tensor &x, &residual, &norm_weight, &norm_bias, &running_mean, &running_variance;
  const paddle::Tensor &cweight, &cbias, &sweight, &sbias, &gamma, &beta;
};

struct BackwardTensors {
  const paddle::Tensor &x, &out, &dout, &norm_weight, &norm_bias;  // out: [0] where its sign is not needed
  const paddle::Tensor &cweight, &cbias, &sweight, &sbias, &gamma, &beta;
  const paddle::Tensor &plane_stats, &channel_stats;
  bool has_residual;
};

// Whether the kernels for GPUs are to process x; throws where x needs them and they are not loaded.
bool for_kernels(const paddle::Tensor &x);

// The CPU's kernels for feature maps in blocks of so many channels, [N, C / lanes, H, W, lanes]; null: none.
struct BlockedKernels;
const BlockedKernels *blocked_kernels(int64_t lanes);

// {out, plane_stats, channel_stats}; the running statistics are updated in place.
std::vector<paddle::Tensor> forward_cpu(const Shape &, const Options &, const ForwardTensors &);
std::vector<paddle::Tensor> forward_gpu(const Shape &, const Options &, const ForwardTensors &);

// The output alone, once more, of maps in blocks of channels without attention; channel_stats: of the first time. Nothing is
// updated.
paddle::Tensor apply_cpu(const Shape &, const Options &, const ForwardTensors &, const paddle::Tensor &channel_stats);

// {dx, dresidual, dnorm_weight, dnorm_bias, dcweight, dcbias, dsweight, dsbias, dgamma, dbeta}
std::vector<paddle::Tensor> backward_cpu(const Shape &, const Options &, const BackwardTensors &);
std::vector<paddle::Tensor> backward_gpu(const Shape &, const Options &, const BackwardTensors &);

}  // namespace block_end
