// The end of a residual block on CUDA devices, feature maps [images, channels, plane]; block_end.h has the algebra.
//
// A group of threads owns one (image, channel) plane and keeps it in registers in the type of the feature maps, so that the
// statistics of a plane and their application cost one read of it. Planes too large for registers are read again, mostly
// from the cache. All arithmetic is float32. No sum uses atomics: every sum has a fixed order, and two runs give the same
// bits.
//
// Feature maps that pass through memory (each read or written whole; statistics and parameters are negligible), compared with
// the minimum for any implementation, which for batch statistics reads x twice since the statistics need all images:
//
//     forward   attention + residual                    x, residual -> out                                      3, least 3
//               batch norm, batch statistics            x; x (residual) -> out                                  4, least 4
//     backward  attention + residual + ReLU             x, dout, out -> dx, dresidual                           5, least 5
//               batch norm, batch statistics            x, dout, out -> dresidual; x, dresidual -> dx           7, least 7
//               the same without residual               x, dout; x, dout -> dx                                  5, least 5
//
// The kernel after a batch-wide reduction processes the images in the opposite order: what the first kernel read last is then
// still in the L2 cache.
#pragma once

#include "block_end_device.cuh"

namespace block_end {

// ---- How threads read a plane

// body(slot, index) for each vector of a plane that belongs to this thread.
template <typename L, typename Body>
__device__ __forceinline__ void for_vectors(int vectors, int thread, Body body) {
  if constexpr (L::loads > 0) {
#pragma unroll
    for (int slot = 0; slot < L::loads; ++slot) {
      const int index = slot * L::threads + thread;
      if (index < vectors) body(slot, index);
    }
  } else {
    for (int index = thread; index < vectors; index += L::threads) body(0, index);
  }
}

// One plane as its threads read it: from registers after load(), or from memory each time where the layout has none.
template <typename T, typename L>
struct Plane {
  using Values = Vector<T, L::vector>;
  const Values *source;
  Values kept[L::loads > 0 ? L::loads : 1];

  __device__ __forceinline__ void load(const T *start, int vectors, int thread) {
    source = reinterpret_cast<const Values *>(start);
    if constexpr (L::loads > 0) for_vectors<L>(vectors, thread, [&](int slot, int index) { kept[slot] = source[index]; });
  }
  __device__ __forceinline__ Values at(int slot, int index) const {
    if constexpr (L::loads > 0) {
      Values values = kept[slot];
      values.forget_origin();
      return values;
    }
    return source[index];
  }
};

// Sums each value over the threads of a plane; all threads receive the sums. No earlier call may still be using `shared`.
template <typename L, int COUNT>
__device__ __forceinline__ void sum_over_plane(float (&values)[COUNT], float (*shared)[COUNT]) {
  constexpr int kWidth = L::threads < 32 ? L::threads : 32;
#pragma unroll
  for (int step = kWidth / 2; step > 0; step /= 2) {
#pragma unroll
    for (int v = 0; v < COUNT; ++v) values[v] += __shfl_xor_sync(0xffffffffu, values[v], step);
  }
  if constexpr (L::warps > 1) {
    if (threadIdx.x % 32 == 0) {
      for (int v = 0; v < COUNT; ++v) shared[threadIdx.x / 32][v] = values[v];
    }
    __syncthreads();
#pragma unroll
    for (int v = 0; v < COUNT; ++v) {
      values[v] = 0;
      for (int warp = 0; warp < L::warps; ++warp) values[v] += shared[warp][v];
    }
  }
}

// ---- Where a thread works

struct PlaceInPlane : Place {
  int thread;
  int vectors;  // of the plane; 0 where the block reaches beyond the last channel
  bool leader;  // writes what is one value a plane
};

template <typename L>
__device__ __forceinline__ PlaceInPlane locate(const Geometry &g) {
  const unsigned channel = blockIdx.x * L::planes + threadIdx.x / L::threads;
  const bool exists = channel < static_cast<unsigned>(g.channels);
  const int thread = threadIdx.x % L::threads;
  return {place_of(g, image_of_block(g), exists ? static_cast<int>(channel) : 0), thread, exists ? g.plane / L::vector : 0,
          exists && thread == 0};
}

// ---- Forward

// Mean and biased variance of a plane: the mean first, so that the squares are of small numbers.
template <typename T, typename L>
__device__ __forceinline__ float2 measure_plane(const Plane<T, L> &x, const PlaceInPlane &place, int plane) {
  __shared__ float of_sum[L::warps][1], of_squares[L::warps][1];
  float sum[1] = {0.f}, squares[1] = {0.f};
  for_vectors<L>(place.vectors, place.thread, [&](int slot, int index) {
    const auto values = x.at(slot, index);
#pragma unroll
    for (int e = 0; e < L::vector; ++e) sum[0] += values.get(e);
  });
  sum_over_plane<L>(sum, of_sum);
  const float mean = sum[0] / plane;
  for_vectors<L>(place.vectors, place.thread, [&](int slot, int index) {
    const auto values = x.at(slot, index);
#pragma unroll
    for (int e = 0; e < L::vector; ++e) {
      const float deviation = values.get(e) - mean;
      squares[0] = fmaf(deviation, deviation, squares[0]);
    }
  });
  sum_over_plane<L>(squares, of_squares);
  return make_float2(mean, squares[0] / plane);
}

// out = z * gate (+ residual) (then ReLU, in which NaN stays NaN).
template <bool SPATIAL, typename T, typename L>
__device__ __forceinline__ void apply_plane(const Plane<T, L> &x, const Plane<T, L> &residual, bool has_residual, bool relu,
                                            const Gate &gate, const PlaceInPlane &place, T *out) {
  using Values = Vector<T, L::vector>;
  for_vectors<L>(place.vectors, place.thread, [&](int slot, int index) {
    const Values values = x.at(slot, index);
    Values added, result;
    if (has_residual) added = residual.at(slot, index);
#pragma unroll
    for (int e = 0; e < L::vector; ++e) {
      const float xc = values.get(e) - gate.center;
      float y = gate.z(xc) * (SPATIAL ? gate(xc) : gate.constant);
      if (has_residual) y += added.get(e);
      if (relu && y < 0.f) y = 0.f;
      result.set(e, y);
    }
    reinterpret_cast<Values *>(out)[index] = result;
  });
}

template <typename T, typename L>
__device__ __forceinline__ void forward_planes(const ForwardTask<T> &task) {
  const Forward<T, float> &data = task.data;
  const PlaceInPlane place = locate<L>(task.geometry);
  const int64_t plane = task.geometry.plane;
  const bool has_residual = task.apply && data.residual != nullptr;

  // The residual is read along with x, though needed last: no second wait for memory
  Plane<T, L> x, residual;
  x.load(data.x + place.input * plane, place.vectors, place.thread);
  if (has_residual) residual.load(data.residual + place.output * plane, place.vectors, place.thread);

  const Norm norm = task.apply ? forward_norm(task, place, place.leader && place.input == place.channel) : Norm{};
  const Parameters parameters = task.apply ? parameters_of(data.attention, place) : Parameters{};
  float2 *stats = reinterpret_cast<float2 *>(data.plane_stats) + place.input;
  float2 moments = make_float2(norm.mean, 0.f);  // without attention: any center will do
  if (task.measure) {
    moments = measure_plane(x, place, task.geometry.plane);
    if (place.leader && data.plane_stats != nullptr) *stats = moments;
  } else if (task.geometry.half > 0) {
    moments = *stats;
  }
  if (!task.apply) return;

  const Gate gate = gate_of(parameters, task.geometry, place, norm, moments, task.attention_epsilon);
  T *out = data.out + place.output * plane;
  if (place.spatial) {
    apply_plane<true>(x, residual, has_residual, task.relu, gate, place, out);
  } else {
    apply_plane<false>(x, residual, has_residual, task.relu, gate, place, out);
  }
}

// ---- Backward

// What ReLU let pass: where there is a residual, that is seen in the output, else in z, as the gate is positive.
enum class Mask { kNone, kByOutput, kByZ };

// d = dout where ReLU let it pass, kept in `gradient`, and handed on to the residual where there is one. A layout without
// registers takes d from the residual's gradient later, or else masks it each time.
template <Mask MASK, typename T, typename L>
__device__ __forceinline__ void mask_gradient(Plane<T, L> &gradient, const Plane<T, L> &signs, const Gate &gate,
                                              const PlaceInPlane &place, T *dresidual) {
  using Values = Vector<T, L::vector>;
  for_vectors<L>(place.vectors, place.thread, [&](int slot, int index) {
    Values values = gradient.at(slot, index);
    if (MASK != Mask::kNone) {
      const Values of_signs = signs.at(slot, index);
#pragma unroll
      for (int e = 0; e < L::vector; ++e) {
        float sign = of_signs.get(e);
        if (MASK == Mask::kByZ) sign = gate.z(sign - gate.center);
        if (!(sign > 0.f)) values.clear(e);
      }
      values.forget_origin();
      if constexpr (L::loads > 0) gradient.kept[slot] = values;
    }
    if (MASK != Mask::kByZ && dresidual != nullptr) reinterpret_cast<Values *>(dresidual)[index] = values;
  });
  if (L::loads == 0 && dresidual != nullptr) gradient.source = reinterpret_cast<const Values *>(dresidual);
}

// Whether mask_gradient left an element that ReLU did not let pass.
template <typename L>
__device__ __forceinline__ bool still_masked(bool by_sign, const Gate &gate, float xc) {
  return L::loads == 0 && by_sign && !(gate.z(xc) > 0.f);
}

// sums = sum(u), sum(u xc) and rest = sum(d g), sum(d g xc); where the gate is constant, sums = sum(d), sum(d xc) only.
template <bool SPATIAL, typename T, typename L>
__device__ __forceinline__ void accumulate(const Plane<T, L> &x, const Plane<T, L> &gradient, bool by_sign, const Gate &gate,
                                           const PlaceInPlane &place, float (&sums)[2], float (&rest)[2]) {
  for_vectors<L>(place.vectors, place.thread, [&](int slot, int index) {
    const auto values = x.at(slot, index);
    const auto gradients = gradient.at(slot, index);
#pragma unroll
    for (int e = 0; e < L::vector; ++e) {
      const float xc = values.get(e) - gate.center;
      float d = gradients.get(e);
      if (still_masked<L>(by_sign, gate, xc)) d = 0.f;
      if (SPATIAL) {
        const float g = gate(xc), dg = d * g, dgz = dg * gate.z(xc);
        rest[0] += dg;
        rest[1] = fmaf(dg, xc, rest[1]);
        d = fmaf(-dgz, g, dgz);  // u
      }
      sums[0] += d;
      sums[1] = fmaf(d, xc, sums[1]);
    }
  });
}

template <typename T, typename L>
__device__ __forceinline__ PlaneSums reduce_plane(const Plane<T, L> &x, const Plane<T, L> &gradient,
                                                  const BackwardTask<T> &task, const Gate &gate,
                                                  const PlaceInPlane &place) {
  __shared__ float of_sums[L::warps][2], of_rest[L::warps][2];
  float sums[2] = {0.f, 0.f}, rest[2] = {0.f, 0.f};
  if (place.spatial) {
    accumulate<true>(x, gradient, task.by_sign, gate, place, sums, rest);
  } else {
    accumulate<false>(x, gradient, task.by_sign, gate, place, sums, rest);
  }
  sum_over_plane<L>(sums, of_sums);
  if (task.data.norm_weight != nullptr) sum_over_plane<L>(rest, of_rest);  // only batch norm's gradients need these
  if (place.spatial) return spatial_sums(sums, rest, gate, task.attention_epsilon);
  const float g = gate.constant;
  const float db = g * (1.f - g) * fmaf(gate.scale, sums[1], gate.mean_z * sums[0]);  // 0 without attention, as g is 1
  return {db, 0.f, fmaf(db, gate.cweight, g * sums[0]), g * sums[1]};
}

// dx = scale * (d g + A (u - line)) + line, the first of these lines the gate's, the second the rest.
template <bool SPATIAL, typename T, typename L>
__device__ __forceinline__ void differentiate(const Plane<T, L> &x, const Plane<T, L> &gradient, bool by_sign,
                                              const Gate &gate, const PlaceInPlane &place, const GradientLines &lines,
                                              T *dx) {
  using Values = Vector<T, L::vector>;
  const float whole_plane = gate.scale * gate.constant;
  for_vectors<L>(place.vectors, place.thread, [&](int slot, int index) {
    const Values values = x.at(slot, index), gradients = gradient.at(slot, index);
    Values result;
#pragma unroll
    for (int e = 0; e < L::vector; ++e) {
      const float xc = values.get(e) - gate.center;
      float d = gradients.get(e), derivative;
      if (still_masked<L>(by_sign, gate, xc)) d = 0.f;
      if (SPATIAL) {
        const float g = gate(xc), dg = d * g, dgz = dg * gate.z(xc), u = fmaf(-dgz, g, dgz);
        derivative = fmaf(gate.slope, u - lines.gate(xc), fmaf(gate.scale, dg, lines.rest(xc)));
      } else {
        derivative = fmaf(whole_plane, d, lines.rest(xc));
      }
      result.set(e, derivative);
    }
    reinterpret_cast<Values *>(dx)[index] = result;
  });
}

template <typename T, typename L>
__device__ __forceinline__ void backward_planes(const BackwardTask<T> &task) {
  const Backward<T, float> &data = task.data;
  const PlaceInPlane place = locate<L>(task.geometry);
  const int64_t input = place.input * task.geometry.plane, output = place.output * task.geometry.plane;

  Plane<T, L> x, gradient, out;
  x.load(data.x + input, place.vectors, place.thread);
  const bool masked = !task.reduce && data.dresidual != nullptr;  // the first launch wrote d there
  gradient.load((masked ? data.dresidual : data.dout) + output, place.vectors, place.thread);
  const bool by_out = task.by_out && !masked;
  if (by_out) out.load(data.out + output, place.vectors, place.thread);

  const Parameters parameters = parameters_of(data.attention, place);
  const Norm norm = norm_of(data.norm_weight, data.norm_bias, data.channel_stats, place.channel);
  float2 moments = make_float2(norm.mean, 0.f);  // without attention: any center will do
  if (task.geometry.half > 0) moments = reinterpret_cast<const float2 *>(data.plane_stats)[place.input];
  const Gate gate = gate_of(parameters, task.geometry, place, norm, moments, task.attention_epsilon);

  T *dresidual = task.reduce && data.dresidual != nullptr ? data.dresidual + output : nullptr;
  if (by_out) {
    mask_gradient<Mask::kByOutput>(gradient, out, gate, place, dresidual);
  } else if (task.by_sign) {
    mask_gradient<Mask::kByZ>(gradient, x, gate, place, dresidual);
  } else if (dresidual != nullptr) {
    mask_gradient<Mask::kNone>(gradient, x, gate, place, dresidual);
  }

  PlaneSums sums;
  if (task.reduce) {
    sums = reduce_plane(x, gradient, task, gate, place);
    if (place.leader) task.sums[place.input] = sums;
  } else {
    sums = task.sums[place.input];
  }
  if (!task.differentiate) return;

  const GradientLines lines = gradient_lines(task, norm, gate, place, sums);
  if (place.spatial) {
    differentiate<true>(x, gradient, task.by_sign, gate, place, lines, data.dx + input);
  } else {
    differentiate<false>(x, gradient, task.by_sign, gate, place, lines, data.dx + input);
  }
}

}  // namespace block_end
