// The block end on NVIDIA GPUs: passes Paddle's tensors to the kernels, which are in a library of their own (block_end_capi.h).
//
// Nothing here includes a header of CUDA's or defines Paddle's macro for it, under which Paddle's headers include more of
// CUDA's: so this file compiles beside every build of Paddle, with no CUDA or with any, and a library without kernels works
// on the CPU.
#include "block_end_capi.h"
#include "paddle_block_end.h"

// The stream of the current device. Only builds of Paddle for CUDA have it, and declare it only with their macro.
extern "C" __attribute__((weak)) void *stream_of(const paddle::Tensor *) __asm__("_ZNK6paddle6Tensor6streamEv");

namespace block_end {
namespace {

struct Kernels {
  decltype(&block_end_forward) forward = nullptr;
  decltype(&block_end_backward) backward = nullptr;
  decltype(&block_end_forward_workspace) forward_workspace = nullptr;
  decltype(&block_end_backward_workspace) backward_workspace = nullptr;
  decltype(&block_end_error) error = nullptr;
  bool on_cpu = false;
} kernels;

// The numbers of block_end_capi.h.
int number_of(paddle::DataType type) {
  switch (type) {
    case paddle::DataType::FLOAT32:
      return 0;
    case paddle::DataType::FLOAT16:
      return 1;
    case paddle::DataType::BFLOAT16:
      return 2;
    default:
      PD_THROW("block_end: on a GPU x must be float32, float16 or bfloat16");
  }
}

bool within_reach(const paddle::Tensor &tensor) { return kernels.on_cpu || tensor.is_gpu(); }

// The tensor's values; null where the tensor does not apply or is empty.
void *values(const paddle::Tensor &tensor) {
  if (!present(tensor) || tensor.numel() == 0) return nullptr;
  return const_cast<void *>(tensor.data());
}

// The same of a parameter, of a running statistic or of what was kept for the backward pass: always float32.
void *parameter(const paddle::Tensor &tensor) {
  PD_CHECK(!present(tensor) || tensor.dtype() == paddle::DataType::FLOAT32,
           "block_end: on a GPU parameters and running statistics must be float32");
  PD_CHECK(!present(tensor) || within_reach(tensor),
           "block_end: parameters and running statistics must be on the GPU of x");
  return values(tensor);
}

// Adds the six members of an Attention to the pointers of the C interface.
template <typename Tensors>
void add_attention(std::vector<void *> &pointers, const Tensors &t) {
  for (const paddle::Tensor *each : {&t.cweight, &t.cbias, &t.sweight, &t.sbias, &t.gamma, &t.beta}) {
    pointers.push_back(parameter(*each));
  }
}

paddle::Tensor empty(const std::vector<int64_t> &shape, paddle::DataType type, const paddle::Tensor &like) {
  return paddle::empty(shape, type, like.place());
}

paddle::Tensor empty_floats(const std::vector<int64_t> &shape, const paddle::Tensor &like) {
  return empty(shape, paddle::DataType::FLOAT32, like);
}

paddle::Tensor gradient_of(const paddle::Tensor &tensor, const paddle::Tensor &x) {
  return present(tensor) ? empty_floats(tensor.shape(), tensor) : absent_output(x);
}

// The feature maps must agree in shape and type: the kernels read all of them as if they were x.
void check_like(const paddle::Tensor &tensor, const paddle::Tensor &x) {
  if (!present(tensor)) return;
  PD_CHECK(within_reach(tensor) && tensor.dtype() == x.dtype() && tensor.shape() == x.shape(),
           "block_end: a feature map differs from x in its type, shape or device");
}

void check(int error) { PD_CHECK(error == 0, "block_end: CUDA error: ", kernels.error(error)); }

// What the C interface takes besides the tensors.
struct Call {
  int type;
  int64_t shape[5];
  int relu, batch_statistics;
  double numbers[3];
  void *stream;

  Call(const Shape &s, const Options &o, const paddle::Tensor &x)
      : type(number_of(x.dtype())), shape{s.images, s.channels, s.plane, s.half, s.channels_last}, relu(o.relu),
        batch_statistics(o.batch_statistics), numbers{o.momentum, o.norm_epsilon, o.attention_epsilon},
        stream(kernels.on_cpu ? nullptr : stream_of(&x)) {}
};

}  // namespace

bool for_kernels(const paddle::Tensor &x) {
  if (!within_reach(x)) return false;
  PD_CHECK(kernels.forward != nullptr, "block_end: the CUDA kernels are not loaded");
  PD_CHECK(kernels.on_cpu || stream_of != nullptr, "block_end: this build of Paddle does not name its CUDA stream");
  return true;
}

std::vector<paddle::Tensor> forward_gpu(const Shape &shape, const Options &options, const ForwardTensors &t) {
  const bool norm = present(t.norm_weight), attention = shape.half > 0;
  check_like(t.residual, t.x);
  const Call call(shape, options, t.x);
  paddle::Tensor out = empty(t.x.shape(), t.x.dtype(), t.x);
  paddle::Tensor plane_stats = attention ? empty_floats({shape.images, shape.channels, 2}, t.x) : absent_output(t.x);
  paddle::Tensor channel_stats = norm ? empty_floats({shape.channels, 2}, t.x) : absent_output(t.x);
  const bool measures = attention ? shape.channels_last : norm && options.batch_statistics;  // into the workspace
  paddle::Tensor workspace = empty_floats({measures ? kernels.forward_workspace(call.shape) : 0}, t.x);
  std::vector<void *> pointers = {values(t.x),
                                  values(t.residual),
                                  parameter(t.norm_weight),
                                  parameter(t.norm_bias),
                                  parameter(t.running_mean),
                                  parameter(t.running_variance)};
  add_attention(pointers, t);
  for (void *output : {values(out), attention ? values(plane_stats) : nullptr, norm ? values(channel_stats) : nullptr}) {
    pointers.push_back(output);
  }
  check(kernels.forward(call.type, call.shape, call.relu, call.batch_statistics, call.numbers, pointers.data(),
                        static_cast<float *>(values(workspace)), call.stream));
  return {out, plane_stats, channel_stats};
}

std::vector<paddle::Tensor> backward_gpu(const Shape &shape, const Options &options, const BackwardTensors &t) {
  const bool norm = present(t.norm_weight), attention = shape.half > 0;
  check_like(t.out, t.x);
  check_like(t.dout, t.x);
  const Call call(shape, options, t.x);
  paddle::Tensor dx = empty(t.x.shape(), t.x.dtype(), t.x);
  paddle::Tensor dresidual = t.has_residual ? empty(t.x.shape(), t.x.dtype(), t.x) : absent_output(t.x);
  std::vector<paddle::Tensor> results = {dx, dresidual};
  for (const paddle::Tensor *each :
       {&t.norm_weight, &t.norm_bias, &t.cweight, &t.cbias, &t.sweight, &t.sbias, &t.gamma, &t.beta}) {
    results.push_back(gradient_of(*each, t.x));
  }
  paddle::Tensor workspace = empty_floats({kernels.backward_workspace(call.shape)}, t.x);
  std::vector<void *> pointers = {values(t.x),
                                  values(t.out),
                                  values(t.dout),
                                  parameter(t.norm_weight),
                                  parameter(t.norm_bias)};
  add_attention(pointers, t);
  for (void *map : {attention ? parameter(t.plane_stats) : nullptr, norm ? parameter(t.channel_stats) : nullptr, values(dx),
                    t.has_residual ? values(dresidual) : nullptr}) {
    pointers.push_back(map);
  }
  for (int i = 0; i < 8; ++i) pointers.push_back((i < 2 ? norm : attention) ? values(results[2 + i]) : nullptr);
  check(kernels.backward(call.type, call.shape, call.relu, call.batch_statistics, call.numbers, pointers.data(),
                         static_cast<float *>(values(workspace)), call.stream));
  return results;
}

}  // namespace block_end

// Lets tensors on a GPU use these kernels, the functions of block_end_capi.h; with `on_cpu` tensors in the host's memory use
// them, as the tests want it, whose kernels run on the CPU. Null pointers take the kernels away again.
extern "C" void block_end_use_kernels(void *forward, void *backward, void *forward_workspace, void *backward_workspace,
                                      void *error, int on_cpu) {
  using block_end::kernels;
  kernels.forward = reinterpret_cast<decltype(kernels.forward)>(forward);
  kernels.backward = reinterpret_cast<decltype(kernels.backward)>(backward);
  kernels.forward_workspace = reinterpret_cast<decltype(kernels.forward_workspace)>(forward_workspace);
  kernels.backward_workspace = reinterpret_cast<decltype(kernels.backward_workspace)>(backward_workspace);
  kernels.error = reinterpret_cast<decltype(kernels.error)>(error);
  kernels.on_cpu = on_cpu != 0;
}
