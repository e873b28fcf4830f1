// The block end on the CPU: on all cores; the first call chooses the instruction set.
#include "blocked_kernels.h"
#include "cpu_kernels.h"
#include "openmp.h"
#include "paddle_block_end.h"
#include "processor_level.h"

namespace block_end {
namespace {

template <typename T>
T *data(const paddle::Tensor &tensor) {
  return present(tensor) ? const_cast<T *>(tensor.data<T>()) : nullptr;
}

template <typename T>
Kernels<T> pick(const Kernels<float> &of_float, const Kernels<double> &of_double) {
  if constexpr (std::is_same<T, float>::value) {
    return of_float;
  } else {
    return of_double;
  }
}

template <typename T>
Kernels<T> best_kernels() {
#ifdef HAVE_X86_LEVELS
  if (processor::level() == processor::Level::kAvx512) return pick<T>(avx512::kernels_float, avx512::kernels_double);
  if (processor::level() == processor::Level::kAvx2) return pick<T>(avx2::kernels_float, avx2::kernels_double);
#endif
  return pick<T>(generic::kernels_float, generic::kernels_double);
}

template <typename T>
const Kernels<T> &kernels() {
  static const Kernels<T> chosen = best_kernels<T>();
  return chosen;
}

template <typename T, typename Tensors>
Attention<const T> attention_of(const Tensors &t) {
  return {data<T>(t.cweight), data<T>(t.cbias), data<T>(t.sweight), data<T>(t.sbias), data<T>(t.gamma), data<T>(t.beta)};
}

paddle::Tensor empty(std::vector<int64_t> shape, const paddle::Tensor &like) {
  return paddle::empty(shape, like.dtype(), like.place());
}

paddle::Tensor gradient_of(const paddle::Tensor &tensor) {
  return present(tensor) ? empty(tensor.shape(), tensor) : absent_output(tensor);
}

// Calls first, second and third, one after the other, for all units of channels and images. A thread takes whole units where
// they come out about even, so that what it has just read is in its cache for the next of the steps; else images are shared
// out as well. The second is for a block of channels and all images.
template <typename First, typename Second, typename Third>
void share_out(const Shape &shape, int64_t lanes, First first, Second second, Third third) {
  const int64_t blocks = shape.channels / lanes, units = shape.half ? blocks / 2 : blocks;
  const Images all = {0, shape.images};
  const auto of_unit = [&](int64_t unit, auto work) {
    work(unit);
    if (shape.half) work(unit + units);
  };
  const int64_t threads = omp_get_max_threads();
  if (units % threads == 0 || units >= 4 * threads) {
#pragma omp parallel for schedule(static)
    for (int64_t unit = 0; unit < units; ++unit) {
      first(all, unit);
      of_unit(unit, second);
      third(all, unit);
    }
    return;
  }
  const int64_t tasks = units * shape.images;
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int64_t task = 0; task < tasks; ++task) {
      first(Images{task % shape.images, task % shape.images + 1}, task / shape.images);
    }
#pragma omp for schedule(static)
    for (int64_t unit = 0; unit < units; ++unit) of_unit(unit, second);
#pragma omp for schedule(static)
    for (int64_t task = 0; task < tasks; ++task) {
      third(Images{task % shape.images, task % shape.images + 1}, task / shape.images);
    }
  }
}

void forward_blocked(const BlockedKernels &k, const Shape &shape, const Options &options, const Forward<float, float> &f) {
  const bool norm = f.norm_weight != nullptr, statistics = shape.half || (norm && options.batch_statistics);
  const int64_t other = shape.channels / (2 * k.lanes);  // from a block to the other one of its unit
  std::vector<float> own(statistics && !shape.half ? 2 * shape.images * shape.channels : 0);
  float *stats = shape.half ? f.plane_stats : own.data();
  const auto measure = [&](Images images, int64_t unit) {
    if (!statistics) return;
    k.statistics(shape, f.x, stats, images, unit);
    if (shape.half) k.statistics(shape, f.x, stats, images, unit + other);
  };
  const auto normalise = [&](int64_t block) {
    if (norm) k.normalise(shape, options, f, stats, block);
  };
  share_out(shape, k.lanes, measure, normalise, [&](Images images, int64_t unit) { k.apply(shape, options, f, images, unit); });
}

void backward_blocked(const BlockedKernels &k, const Shape &shape, const Options &options, const Backward<float, float> &b,
                      double *channel_sums) {
  std::vector<float> sums(kBlockedSums * shape.images * shape.channels);
  share_out(
      shape, k.lanes, [&](Images images, int64_t unit) { k.sum(shape, options, b, sums.data(), images, unit); },
      [&](int64_t block) { k.combine(shape, options, b, sums.data(), block, channel_sums); },
      [&](Images images, int64_t unit) {
        k.finish(shape, b, sums.data(), images, unit);
        if (shape.half) k.finish(shape, b, sums.data(), images, unit + shape.channels / (2 * k.lanes));
      });
}

template <typename T>
Forward<T, T> pointers(const ForwardTensors &t, paddle::Tensor &out, const paddle::Tensor &plane_stats,
                       const paddle::Tensor &channel_stats) {
  return {data<T>(t.x),          data<T>(t.residual),     data<T>(t.norm_weight),      data<T>(t.norm_bias),
          data<T>(t.running_mean), data<T>(t.running_variance), attention_of<T>(t),    out.data<T>(),
          data<T>(plane_stats),  data<T>(channel_stats)};
}

template <typename T>
std::vector<paddle::Tensor> forward(const Shape &shape, const Options &options, const ForwardTensors &t) {
  paddle::Tensor out = empty(t.x.shape(), t.x);
  paddle::Tensor plane_stats = shape.half ? empty({shape.images, shape.channels, 2}, t.x) : absent_output(t.x);
  paddle::Tensor channel_stats = present(t.norm_weight) ? empty({shape.channels, 2}, t.x) : absent_output(t.x);
  const Forward<T, T> f = pointers<T>(t, out, plane_stats, channel_stats);
  if constexpr (std::is_same<T, float>::value) {
    if (t.x.shape().size() == 5) {
      forward_blocked(*blocked_kernels(t.x.shape()[4]), shape, options, f);
      return {out, plane_stats, channel_stats};
    }
  }
  const Kernels<T> &k = kernels<T>();
#pragma omp parallel for schedule(static)
  for (int64_t channel = 0; channel < shape.channels; ++channel) k.forward(shape, options, f, channel);
  return {out, plane_stats, channel_stats};
}

// Adds the channels' shares in a fixed order, so that the result does not depend on the number of threads.
template <typename T>
void attention_gradients(const Shape &shape, const Attention<const T> &p, const std::vector<double> &sums,
                         const Attention<T> &gradients) {
  for (int64_t j = 0; j < shape.half; ++j) {
    double dcweight = 0, dcbias = 0, sum_u = 0, sum_u_zhat = 0;
    for (int64_t c = j; c < shape.channels; c += 2 * shape.half) {
      dcweight += sums[kChannelSums * c];
      dcbias += sums[kChannelSums * c + 1];
      sum_u += sums[kChannelSums * (c + shape.half)];
      sum_u_zhat += sums[kChannelSums * (c + shape.half) + 1];
    }
    gradients.cweight[j] = T(dcweight);
    gradients.cbias[j] = T(dcbias);
    gradients.sweight[j] = T(p.gamma[j] * sum_u_zhat + p.beta[j] * sum_u);
    gradients.sbias[j] = T(sum_u);
    gradients.gamma[j] = T(p.sweight[j] * sum_u_zhat);
    gradients.beta[j] = T(p.sweight[j] * sum_u);
  }
}

template <typename T>
std::vector<paddle::Tensor> backward(const Shape &shape, const Options &options, const BackwardTensors &t) {
  paddle::Tensor dx = empty(t.x.shape(), t.x);
  paddle::Tensor dresidual = t.has_residual ? empty(t.x.shape(), t.x) : absent_output(t.x);
  std::vector<paddle::Tensor> results = {dx, dresidual};
  for (const paddle::Tensor *parameter :
       {&t.norm_weight, &t.norm_bias, &t.cweight, &t.cbias, &t.sweight, &t.sbias, &t.gamma, &t.beta}) {
    results.push_back(gradient_of(*parameter));
  }
  const Attention<const T> attention = attention_of<T>(t);
  const Attention<T> dattention = {data<T>(results[4]), data<T>(results[5]), data<T>(results[6]),
                                   data<T>(results[7]), data<T>(results[8]), data<T>(results[9])};
  const Backward<T, T> f = {data<T>(t.x),           data<T>(t.out),         data<T>(t.dout),         data<T>(t.norm_weight),
                            data<T>(t.norm_bias),   attention,              data<T>(t.plane_stats),  data<T>(t.channel_stats),
                            dx.data<T>(),           t.has_residual ? data<T>(dresidual) : nullptr,
                            data<T>(results[2]),    data<T>(results[3]),    dattention};
  std::vector<double> channel_sums(kChannelSums * shape.channels);
  if constexpr (std::is_same<T, float>::value) {
    if (t.x.shape().size() == 5) {
      backward_blocked(*blocked_kernels(t.x.shape()[4]), shape, options, f, channel_sums.data());
      if (shape.half) attention_gradients<T>(shape, attention, channel_sums, dattention);
      return results;
    }
  }
  const Kernels<T> &k = kernels<T>();
#pragma omp parallel
  {
    std::vector<T> plane_sums(kPlaneSums * shape.images);
#pragma omp for schedule(static)
    for (int64_t channel = 0; channel < shape.channels; ++channel) {
      k.backward(shape, options, f, channel, plane_sums.data(), &channel_sums[kChannelSums * channel]);
    }
  }
  if (shape.half) attention_gradients<T>(shape, attention, channel_sums, dattention);
  return results;
}

}  // namespace

const BlockedKernels *blocked_kernels(int64_t lanes) {
#ifdef HAVE_X86_LEVELS
  return processor::with_lanes(lanes, avx2::blocked_kernels, avx512::blocked_kernels);
#else
  return nullptr;
#endif
}

std::vector<paddle::Tensor> forward_cpu(const Shape &shape, const Options &options, const ForwardTensors &tensors) {
  if (tensors.x.dtype() == paddle::DataType::FLOAT32) return forward<float>(shape, options, tensors);
  return forward<double>(shape, options, tensors);
}

paddle::Tensor apply_cpu(const Shape &shape, const Options &options, const ForwardTensors &tensors,
                         const paddle::Tensor &channel_stats) {
  const BlockedKernels &k = *blocked_kernels(tensors.x.shape()[4]);
  paddle::Tensor out = empty(tensors.x.shape(), tensors.x);
  const paddle::Tensor no_stats = paddle::empty({0}, out.dtype(), out.place());
  const Forward<float, float> f = pointers<float>(tensors, out, no_stats, channel_stats);
  const auto nothing = [](auto...) {};
  share_out(shape, k.lanes, nothing, nothing, [&](Images images, int64_t unit) { k.apply(shape, options, f, images, unit); });
  return out;
}

std::vector<paddle::Tensor> backward_cpu(const Shape &shape, const Options &options, const BackwardTensors &tensors) {
  if (tensors.x.dtype() == paddle::DataType::FLOAT32) return backward<float>(shape, options, tensors);
  return backward<double>(shape, options, tensors);
}

}  // namespace block_end
