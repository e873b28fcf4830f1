// The block end on NVIDIA GPUs: passes Paddle's tensors to the kernels of block_end.cuh.
#include <type_traits>

#include "block_end.cuh"
#include "paddle_block_end.h"

namespace block_end {
namespace {

// The CUDA types of Paddle's types. Parameters and statistics are always float32.
template <typename T>
struct OnDevice {
  using Type = T;
};
template <>
struct OnDevice<phi::dtype::float16> {
  using Type = __half;
};
template <>
struct OnDevice<phi::dtype::bfloat16> {
  using Type = __nv_bfloat16;
};

// The tensor's values; null where the tensor does not apply or is empty. T is one of Paddle's types.
template <typename T>
typename OnDevice<T>::Type *values(const paddle::Tensor &tensor) {
  if (!present(tensor) || tensor.numel() == 0) return nullptr;
  return reinterpret_cast<typename OnDevice<T>::Type *>(const_cast<T *>(tensor.data<T>()));
}

// The same of a parameter or a running statistic.
float *parameter(const paddle::Tensor &tensor) {
  PD_CHECK(!present(tensor) || tensor.dtype() == paddle::DataType::FLOAT32,
           "block_end: on a GPU parameters and running statistics must be float32");
  PD_CHECK(!present(tensor) || tensor.is_gpu(), "block_end: parameters and running statistics must be on the GPU of x");
  return values<float>(tensor);
}

template <typename Tensors>
Attention<const float> attention_of(const Tensors &t) {
  return {parameter(t.cweight), parameter(t.cbias), parameter(t.sweight),
          parameter(t.sbias),   parameter(t.gamma), parameter(t.beta)};
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
  PD_CHECK(tensor.is_gpu() && tensor.dtype() == x.dtype() && tensor.shape() == x.shape(),
           "block_end: a feature map differs from x in its type, shape or device");
}

void check(cudaError_t error) { PD_CHECK(error == cudaSuccess, "block_end: CUDA error: ", cudaGetErrorString(error)); }

// call(T()) with the type of the feature maps.
template <typename Call>
void with_type(const paddle::Tensor &x, Call call) {
  switch (x.dtype()) {
    case paddle::DataType::FLOAT32:
      return call(float());
    case paddle::DataType::FLOAT16:
      return call(phi::dtype::float16());
    case paddle::DataType::BFLOAT16:
      return call(phi::dtype::bfloat16());
    default:
      PD_THROW("block_end: on a GPU x must be float32, float16 or bfloat16");
  }
}

}  // namespace

std::vector<paddle::Tensor> forward_gpu(const Shape &shape, const Options &options, const ForwardTensors &t) {
  const bool norm = present(t.norm_weight), attention = shape.half > 0;
  check_like(t.residual, t.x);
  paddle::Tensor out = empty(t.x.shape(), t.x.dtype(), t.x);
  paddle::Tensor plane_stats = attention ? empty_floats({shape.images, shape.channels, 2}, t.x) : absent_output(t.x);
  paddle::Tensor channel_stats = norm ? empty_floats({shape.channels, 2}, t.x) : absent_output(t.x);
  const bool alone = norm && options.batch_statistics && !attention;  // only batch norm uses the statistics of the planes
  paddle::Tensor workspace = empty_floats({alone ? forward_workspace(shape) : 0}, t.x);
  with_type(t.x, [&](auto type) {
    using T = decltype(type);
    const Forward<typename OnDevice<T>::Type, float> data = {values<T>(t.x),
                                                             values<T>(t.residual),
                                                             parameter(t.norm_weight),
                                                             parameter(t.norm_bias),
                                                             parameter(t.running_mean),
                                                             parameter(t.running_variance),
                                                             attention_of(t),
                                                             values<T>(out),
                                                             attention ? values<float>(plane_stats) : nullptr,
                                                             norm ? values<float>(channel_stats) : nullptr};
    check(forward_cuda(shape, options, data, values<float>(workspace), t.x.stream()));
  });
  return {out, plane_stats, channel_stats};
}

std::vector<paddle::Tensor> backward_gpu(const Shape &shape, const Options &options, const BackwardTensors &t) {
  const bool norm = present(t.norm_weight), attention = shape.half > 0;
  check_like(t.out, t.x);
  check_like(t.dout, t.x);
  paddle::Tensor dx = empty(t.x.shape(), t.x.dtype(), t.x);
  paddle::Tensor dresidual = t.has_residual ? empty(t.x.shape(), t.x.dtype(), t.x) : absent_output(t.x);
  std::vector<paddle::Tensor> results = {dx, dresidual};
  for (const paddle::Tensor *each :
       {&t.norm_weight, &t.norm_bias, &t.cweight, &t.cbias, &t.sweight, &t.sbias, &t.gamma, &t.beta}) {
    results.push_back(gradient_of(*each, t.x));
  }
  float *gradients[8];  // of the parameters
  for (int i = 0; i < 8; ++i) gradients[i] = (i < 2 ? norm : attention) ? values<float>(results[2 + i]) : nullptr;
  paddle::Tensor workspace = empty_floats({backward_workspace(shape)}, t.x);
  with_type(t.x, [&](auto type) {
    using T = decltype(type);
    const Backward<typename OnDevice<T>::Type, float> data = {
        values<T>(t.x),
        values<T>(t.out),
        values<T>(t.dout),
        parameter(t.norm_weight),
        parameter(t.norm_bias),
        attention_of(t),
        attention ? values<float>(t.plane_stats) : nullptr,
        norm ? values<float>(t.channel_stats) : nullptr,
        values<T>(dx),
        t.has_residual ? values<T>(dresidual) : nullptr,
        gradients[0],
        gradients[1],
        {gradients[2], gradients[3], gradients[4], gradients[5], gradients[6], gradients[7]}};
    check(backward_cuda(shape, options, data, values<float>(workspace), t.x.stream()));
  });
  return results;
}

}  // namespace block_end
