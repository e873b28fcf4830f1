// The end of a residual block on CUDA devices; block_end.h has the algebra.
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

#ifdef __CUDACC_RTC__
#include "nvrtc_headers.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>
#endif

#include "block_end_tasks.h"

namespace block_end {

// ---- How threads read a plane

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(__half value) { return __half2float(value); }
__device__ __forceinline__ float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

template <typename T>
__device__ __forceinline__ T from_float(float value);
template <>
__device__ __forceinline__ float from_float<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ __half from_float<__half>(float value) {
  return __float2half_rn(value);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}

// VECTOR elements, which a thread loads and stores at once.
template <typename T, int VECTOR, bool IN_WORDS = sizeof(T) == 2 && (VECTOR > 1)>
struct alignas(sizeof(T) * VECTOR) Vector {
  T element[VECTOR];

  __device__ __forceinline__ float get(int e) const { return to_float(element[e]); }
  // In the order of the elements, from the first on.
  __device__ __forceinline__ void set(int e, float value) { element[e] = from_float<T>(value); }
  __device__ __forceinline__ void clear(int e) { element[e] = from_float<T>(0.f); }
  __device__ __forceinline__ void forget_origin() {}
};

// The same for 16-bit elements, two in a word. From sm_100 on, the compiler takes a vector of such elements for an integer of
// 64 bits, and its arithmetic on that takes twice as many registers.
template <typename T, int VECTOR>
struct alignas(sizeof(T) * VECTOR) Vector<T, VECTOR, true> {
  uint32_t word[VECTOR / 2];

  __device__ __forceinline__ float get(int e) const {
    const unsigned short bits = static_cast<unsigned short>(word[e / 2] >> (e % 2 * 16));
    T element;
    memcpy(&element, &bits, sizeof(bits));
    return to_float(element);
  }
  __device__ __forceinline__ void set(int e, float value) {
    const T element = from_float<T>(value);
    unsigned short bits;
    memcpy(&bits, &element, sizeof(bits));
    word[e / 2] = e % 2 == 0 ? bits : word[e / 2] | static_cast<uint32_t>(bits) << 16;
  }
  __device__ __forceinline__ void clear(int e) { word[e / 2] &= e % 2 == 0 ? 0xffff0000u : 0x0000ffffu; }
  // The compiler would otherwise convert a plane to float32 once for all passes over it, and hold each element in a register.
  __device__ __forceinline__ void forget_origin() {
#ifdef __CUDA_ARCH__
#pragma unroll
    for (uint32_t &each : word) asm volatile("" : "+r"(each));
#endif
  }
};

// 2^value with a relative error below 2^-22; what float32 cannot hold becomes 0 or infinity.
__device__ __forceinline__ float exp2_fast(float value) {
#ifdef __CUDA_ARCH__
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(value));
  return result;
#else
  return exp2f(value);
#endif
}

// sigmoid(v) of v times this: one multiplication an element less. Where the power overflows, the division gives the right
// limit, 0.
constexpr float kMinusLog2E = -1.44269504f;
__device__ __forceinline__ float sigmoid_scaled(float value) { return __fdividef(1.f, 1.f + exp2_fast(value)); }

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

struct Place {
  int64_t input, output;  // plane numbers: image * channels + channel, the channel shuffled for the output
  int channel, parameter;
  int thread;             // within the plane
  int vectors;            // of the plane; 0 where the block reaches beyond the last channel
  bool leader;            // writes what is one value a plane
  bool first;             // of the channel's planes
  bool spatial;           // the spatial branch of the attention
};

template <typename L>
__device__ __forceinline__ Place locate(const Geometry &g) {
  Place place;
  const unsigned channel = blockIdx.x * L::planes + threadIdx.x / L::threads;
  const bool exists = channel < static_cast<unsigned>(g.channels);
  place.channel = exists ? static_cast<int>(channel) : 0;
  place.thread = threadIdx.x % L::threads;
  place.vectors = exists ? g.plane / L::vector : 0;
  place.leader = exists && place.thread == 0;

  const int64_t image = g.first_image + (g.backwards ? gridDim.y - 1 - blockIdx.y : blockIdx.y);
  place.first = image == 0;
  place.input = place.output = image * g.channels + place.channel;
  place.parameter = 0;
  place.spatial = false;
  if (g.half > 0) {
    const int middle = g.channels / 2, c = place.channel;
    place.output += (c < middle ? 2 * c : 2 * (c - middle) + 1) - c;
    const unsigned part = static_cast<unsigned>(c) / static_cast<unsigned>(g.half);  // of the 2 * groups
    place.parameter = c - static_cast<int>(part) * g.half;
    place.spatial = part % 2 == 1;
  }
  return place;
}

// ---- Operations on the elements of a plane

// Batch norm of one channel: z = scale * (x - mean) + level. Without batch norm mean and level are 0 and scale is 1, so that
// z is x to the last bit.
struct Norm {
  float mean, rstd, scale, level;

  __device__ __forceinline__ float operator()(float x) const { return fmaf(scale, x - mean, level); }
};

__device__ __forceinline__ Norm norm_of(const float *weight, const float *bias, int channel, float mean, float rstd) {
  if (weight == nullptr) return {0.f, 1.f, 1.f, 0.f};
  return {mean, rstd, weight[channel] * rstd, bias[channel]};
}

__device__ __forceinline__ Norm norm_of(const float *weight, const float *bias, const float *channel_stats, int channel) {
  if (weight == nullptr) return {0.f, 1.f, 1.f, 0.f};
  return norm_of(weight, bias, channel, channel_stats[2 * channel], channel_stats[2 * channel + 1]);
}

// The attention's parameters of one plane: B = weight * mean(z) + bias in the channel branch, the gate
// sigmoid(weight * zhat + bias) in the spatial one. Read early, so that the wait for them overlaps that for the plane.
struct Parameters {
  float weight, bias;
};

__device__ __forceinline__ Parameters parameters_of(const Attention<const float> &p, const Place &place) {
  const int j = place.parameter;
  if (p.cweight == nullptr) return {0.f, 0.f};
  if (!place.spatial) return {p.cweight[j], p.cbias[j]};
  return {p.sweight[j] * p.gamma[j], fmaf(p.sweight[j], p.beta[j], p.sbias[j])};
}

// The gate of one plane, sigmoid(A * z + B), written in xc = x - center, where center is the plane's mean: sigmoid(slope * xc
// + offset). No digits are lost where a plane's mean is large against its deviation.
struct Gate {
  float center, mean_z;          // of x and of z on the plane
  float rs;                      // spatial branch: 1 / sqrt(var(z) + epsilon)
  float A, slope;                // spatial branch: with respect to z and to x
  float scaled_slope, scaled_offset;  // times kMinusLog2E
  float constant;                // channel branch: the gate of the whole plane; 1 without attention
  float cweight;                 // channel branch: how B depends on mean_z

  __device__ __forceinline__ float operator()(float xc) const {
    return sigmoid_scaled(fmaf(scaled_slope, xc, scaled_offset));
  }
};

__device__ __forceinline__ Gate gate_of(const Parameters &p, const Geometry &geometry, const Place &place, const Norm &norm,
                                        float2 moments, float epsilon) {
  Gate gate = {moments.x, fmaf(norm.scale, moments.x - norm.mean, norm.level), 0.f, 0.f, 0.f, 0.f, 0.f, 1.f, 0.f};
  if (place.spatial) {
    gate.rs = rsqrtf(fmaf(norm.scale * norm.scale, moments.y, epsilon));
    gate.A = p.weight * gate.rs;
    gate.slope = gate.A * norm.scale;
    gate.scaled_slope = kMinusLog2E * gate.slope;
    gate.scaled_offset = kMinusLog2E * p.bias;
  } else if (geometry.half > 0) {
    gate.cweight = p.weight;
    gate.constant = sigmoid_scaled(kMinusLog2E * fmaf(p.weight, gate.mean_z, p.bias));
  }
  return gate;
}

// ---- Forward

// Mean and biased variance of a plane: the mean first, so that the squares are of small numbers.
template <typename T, typename L>
__device__ __forceinline__ float2 measure_plane(const Plane<T, L> &x, const Place &place, int plane) {
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
                                            const Norm &norm, const Gate &gate, const Place &place, T *out) {
  using Values = Vector<T, L::vector>;
  for_vectors<L>(place.vectors, place.thread, [&](int slot, int index) {
    const Values values = x.at(slot, index);
    Values added, result;
    if (has_residual) added = residual.at(slot, index);
#pragma unroll
    for (int e = 0; e < L::vector; ++e) {
      const float element = values.get(e);
      float y = norm(element) * (SPATIAL ? gate(element - gate.center) : gate.constant);
      if (has_residual) y += added.get(e);
      if (relu && y < 0.f) y = 0.f;
      result.set(e, y);
    }
    reinterpret_cast<Values *>(out)[index] = result;
  });
}

template <typename T>
__device__ __forceinline__ Norm forward_norm(const ForwardTask<T> &task, const Place &place) {
  const Forward<T, float> &data = task.data;
  if (!task.running) return norm_of(data.norm_weight, data.norm_bias, data.channel_stats, place.channel);
  const float mean = data.running_mean[place.channel];
  const float rstd = 1.f / sqrtf(data.running_variance[place.channel] + task.norm_epsilon);
  if (place.first && place.leader) {
    data.channel_stats[2 * place.channel] = mean;
    data.channel_stats[2 * place.channel + 1] = rstd;
  }
  return norm_of(data.norm_weight, data.norm_bias, place.channel, mean, rstd);
}

template <typename T, typename L>
__device__ __forceinline__ void forward_planes(const ForwardTask<T> &task) {
  const Forward<T, float> &data = task.data;
  const Place place = locate<L>(task.geometry);
  const int64_t plane = task.geometry.plane;
  const bool has_residual = task.apply && data.residual != nullptr;

  // The residual is read along with x, though needed last: no second wait for memory
  Plane<T, L> x, residual;
  x.load(data.x + place.input * plane, place.vectors, place.thread);
  if (has_residual) residual.load(data.residual + place.output * plane, place.vectors, place.thread);

  const Norm norm = task.apply ? forward_norm(task, place) : Norm{};
  const Parameters parameters = task.apply ? parameters_of(data.attention, place) : Parameters{};
  float2 *stats = reinterpret_cast<float2 *>(data.plane_stats) + place.input;
  float2 moments = make_float2(0.f, 0.f);
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
    apply_plane<true>(x, residual, has_residual, task.relu, norm, gate, place, out);
  } else {
    apply_plane<false>(x, residual, has_residual, task.relu, norm, gate, place, out);
  }
}

// Sums over a warp, a fixed order of images within each lane: what the small kernels over channels add up.
__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

// A warp a channel: joins the statistics of the channel's planes by the formula of Chan, Golub and LeVeque (1979), which for
// planes of one size says that the variance is the mean of the variances plus the variance of the means. Without images the
// running statistics are taken for the batch's own and stay as they are.
__device__ __forceinline__ void channel_statistics(const ChannelTask &task) {
  const int lane = threadIdx.x % 32;
  const int64_t channel = static_cast<int64_t>(blockIdx.x) * kChannelsPerBlock + threadIdx.x / 32;
  if (channel >= task.channels) return;  // the whole warp
  const float2 *stats = reinterpret_cast<const float2 *>(task.plane_stats) + channel;
  float mean = task.images > 0 ? 0.f : task.running_mean[channel];
  float variance = task.images > 0 ? 0.f : task.running_variance[channel];
  if (task.images > 0) {
    for (int64_t n = lane; n < task.images; n += 32) mean += stats[n * task.channels].x;
    mean = warp_sum(mean) / task.images;
    for (int64_t n = lane; n < task.images; n += 32) {
      const float2 plane = stats[n * task.channels];
      variance += fmaf(plane.x - mean, plane.x - mean, plane.y);
    }
    variance = warp_sum(variance) / task.images;
  }
  if (lane != 0) return;
  task.channel_stats[2 * channel] = mean;
  task.channel_stats[2 * channel + 1] = 1.f / sqrtf(variance + task.epsilon);
  if (task.images == 0) return;
  // Paddle on a GPU trains batch norm by cuDNN, which puts the unbiased variance into the running one (Paddle on a CPU the
  // biased one). A single value has no unbiased variance; its biased one, 0, is taken.
  const float values = static_cast<float>(task.images) * static_cast<float>(task.plane);
  const float unbiased = variance * (values > 1.f ? values / (values - 1.f) : 1.f);
  task.running_mean[channel] = task.momentum * task.running_mean[channel] + task.rest * mean;
  task.running_variance[channel] = task.momentum * task.running_variance[channel] + task.rest * unbiased;
}

// ---- Backward

// What ReLU let pass: where there is a residual, that is seen in the output, else in z, as the gate is positive.
enum class Mask { kNone, kByOutput, kByZ };

// d = dout where ReLU let it pass, kept in `gradient`, and handed on to the residual where there is one. A layout without
// registers takes d from the residual's gradient later, or else masks it each time.
template <Mask MASK, typename T, typename L>
__device__ __forceinline__ void mask_gradient(Plane<T, L> &gradient, const Plane<T, L> &signs, const Norm &norm,
                                              const Place &place, T *dresidual) {
  using Values = Vector<T, L::vector>;
  for_vectors<L>(place.vectors, place.thread, [&](int slot, int index) {
    Values values = gradient.at(slot, index);
    if (MASK != Mask::kNone) {
      const Values of_signs = signs.at(slot, index);
#pragma unroll
      for (int e = 0; e < L::vector; ++e) {
        float sign = of_signs.get(e);
        if (MASK == Mask::kByZ) sign = norm(sign);
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
__device__ __forceinline__ bool still_masked(bool by_sign, const Norm &norm, float x) {
  return L::loads == 0 && by_sign && !(norm(x) > 0.f);
}

// sums = sum(u), sum(u xc) and rest = sum(d g), sum(d g xc); where the gate is constant, sums = sum(d), sum(d xc) only.
template <bool SPATIAL, typename T, typename L>
__device__ __forceinline__ void accumulate(const Plane<T, L> &x, const Plane<T, L> &gradient, bool by_sign, const Norm &norm,
                                           const Gate &gate, const Place &place, float (&sums)[2], float (&rest)[2]) {
  for_vectors<L>(place.vectors, place.thread, [&](int slot, int index) {
    const auto values = x.at(slot, index);
    const auto gradients = gradient.at(slot, index);
#pragma unroll
    for (int e = 0; e < L::vector; ++e) {
      const float element = values.get(e), xc = element - gate.center;
      float d = gradients.get(e);
      if (still_masked<L>(by_sign, norm, element)) d = 0.f;
      if (SPATIAL) {
        const float g = gate(xc), dg = d * g, dgz = dg * norm(element);
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
                                                  const BackwardTask<T> &task, const Norm &norm, const Gate &gate,
                                                  const Place &place) {
  __shared__ float of_sums[L::warps][2], of_rest[L::warps][2];
  float sums[2] = {0.f, 0.f}, rest[2] = {0.f, 0.f};
  if (place.spatial) {
    accumulate<true>(x, gradient, task.by_sign, norm, gate, place, sums, rest);
  } else {
    accumulate<false>(x, gradient, task.by_sign, norm, gate, place, sums, rest);
  }
  sum_over_plane<L>(sums, of_sums);
  if (task.data.norm_weight != nullptr) sum_over_plane<L>(rest, of_rest);  // only batch norm's gradients need these
  const float g = gate.constant;
  if (place.spatial) {
    const float loss = gate.A * task.attention_epsilon * gate.rs * gate.rs;
    return {sums[0], sums[1] * norm.scale * gate.rs, rest[0], fmaf(loss, sums[1], rest[1])};
  }
  const float db = g * (1.f - g) * fmaf(norm.scale, sums[1], gate.mean_z * sums[0]);  // 0 without attention, as g is 1
  return {db, 0.f, fmaf(db, gate.cweight, g * sums[0]), g * sums[1]};
}

// A straight line over a plane, at_center + per_xc * xc.
struct Line {
  float at_center, per_xc;

  __device__ __forceinline__ float operator()(float xc) const { return fmaf(per_xc, xc, at_center); }
};

// What dx has besides the part proportional to d. `gate`, spatial branch: what the group norm's statistics take from u; kept
// apart, since in a plane with little variance the slope is steep and the difference small. `rest`: all else.
struct GradientLines {
  Line gate, rest;
};

template <typename T>
__device__ __forceinline__ GradientLines gradient_lines(const BackwardTask<T> &task, const Norm &norm, const Gate &gate,
                                                        const Place &place, const PlaneSums &sums) {
  const float mean_u = sums.sum_u * task.per_element;
  GradientLines lines = {{0.f, 0.f}, {gate.cweight * mean_u, 0.f}};
  if (place.spatial) lines.gate = {mean_u, norm.scale * gate.rs * (sums.sum_u_zhat * task.per_element)};
  if (task.through_statistics) {
    const float along_xhat = norm.rstd * (task.data.dnorm_weight[place.channel] * task.per_value);
    const float mean_dz = task.data.dnorm_bias[place.channel] * task.per_value;
    lines.rest.at_center -= fmaf(along_xhat, gate.center - norm.mean, mean_dz);
    lines.rest.per_xc -= along_xhat;
  }
  lines.rest = {norm.scale * lines.rest.at_center, norm.scale * lines.rest.per_xc};
  return lines;
}

// dx = scale * (d g + A (u - line)) + line, the first of these lines the gate's, the second the rest.
template <bool SPATIAL, typename T, typename L>
__device__ __forceinline__ void differentiate(const Plane<T, L> &x, const Plane<T, L> &gradient, bool by_sign,
                                              const Norm &norm, const Gate &gate, const Place &place,
                                              const GradientLines &lines, T *dx) {
  using Values = Vector<T, L::vector>;
  const float whole_plane = norm.scale * gate.constant;
  for_vectors<L>(place.vectors, place.thread, [&](int slot, int index) {
    const Values values = x.at(slot, index), gradients = gradient.at(slot, index);
    Values result;
#pragma unroll
    for (int e = 0; e < L::vector; ++e) {
      const float element = values.get(e), xc = element - gate.center;
      float d = gradients.get(e), derivative;
      if (still_masked<L>(by_sign, norm, element)) d = 0.f;
      if (SPATIAL) {
        const float g = gate(xc), dg = d * g, dgz = dg * norm(element), u = fmaf(-dgz, g, dgz);
        derivative = fmaf(gate.slope, u - lines.gate(xc), fmaf(norm.scale, dg, lines.rest(xc)));
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
  const Place place = locate<L>(task.geometry);
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
    mask_gradient<Mask::kByOutput>(gradient, out, norm, place, dresidual);
  } else if (task.by_sign) {
    mask_gradient<Mask::kByZ>(gradient, x, norm, place, dresidual);
  } else if (dresidual != nullptr) {
    mask_gradient<Mask::kNone>(gradient, x, norm, place, dresidual);
  }

  PlaneSums sums;
  if (task.reduce) {
    sums = reduce_plane(x, gradient, task, norm, gate, place);
    if (place.leader) task.sums[place.input] = sums;
  } else {
    sums = task.sums[place.input];
  }
  if (!task.differentiate) return;

  const GradientLines lines = gradient_lines(task, norm, gate, place, sums);
  if (place.spatial) {
    differentiate<true>(x, gradient, task.by_sign, norm, gate, place, lines, data.dx + input);
  } else {
    differentiate<false>(x, gradient, task.by_sign, norm, gate, place, lines, data.dx + input);
  }
}

__device__ __forceinline__ void norm_gradients(const ParameterTask &task) {
  const int lane = threadIdx.x % 32;
  const int64_t channel = static_cast<int64_t>(blockIdx.x) * kChannelsPerBlock + threadIdx.x / 32;
  if (channel >= task.channels) return;  // the whole warp
  const float mean = task.channel_stats[2 * channel], rstd = task.channel_stats[2 * channel + 1];
  float sum_dz = 0.f, sum_dz_xhat = 0.f;
  for (int64_t n = lane; n < task.images; n += 32) {
    const int64_t plane = n * task.channels + channel;
    const PlaneSums sums = task.sums[plane];
    const float shift = task.half > 0 ? task.plane_stats[2 * plane] - mean : 0.f;  // xc is x minus the plane's mean
    sum_dz += sums.sum_dz;
    sum_dz_xhat = fmaf(shift, sums.sum_dz, sum_dz_xhat + sums.sum_dz_xc);
  }
  sum_dz = warp_sum(sum_dz);
  sum_dz_xhat = warp_sum(sum_dz_xhat);
  if (lane == 0) {
    task.dnorm_weight[channel] = rstd * sum_dz_xhat;
    task.dnorm_bias[channel] = sum_dz;
  }
}

__device__ __forceinline__ void attention_gradients(const ParameterTask &task) {
  __shared__ float shared[kReductionThreads / 32][4];
  const int j = static_cast<int>(blockIdx.x) - task.channel_blocks;
  float totals[4] = {0.f, 0.f, 0.f, 0.f};  // cweight, cbias, sum(u zhat), sum(u)
  const int64_t groups = task.images * (task.channels / (2 * task.half));
  for (int64_t group = threadIdx.x; group < groups; group += kReductionThreads) {
    const int64_t plane = group * 2 * task.half + j;  // of the channel branch; half a group further, the spatial one
    const PlaneSums sums = task.sums[plane], spatial = task.sums[plane + task.half];
    float mean_z = task.plane_stats[2 * plane];
    if (task.norm_weight != nullptr) {
      const int channel = static_cast<int>(plane % task.channels);
      mean_z = norm_of(task.norm_weight, task.norm_bias, task.channel_stats, channel)(mean_z);
    }
    totals[0] = fmaf(sums.sum_u, mean_z, totals[0]);
    totals[1] += sums.sum_u;
    totals[2] += spatial.sum_u_zhat;
    totals[3] += spatial.sum_u;
  }
  sum_over_plane<Layout<1, kReductionThreads, 1>>(totals, shared);
  if (threadIdx.x != 0) return;
  const Attention<const float> &p = task.attention;
  task.dattention.cweight[j] = totals[0];
  task.dattention.cbias[j] = totals[1];
  task.dattention.sweight[j] = fmaf(p.gamma[j], totals[2], p.beta[j] * totals[3]);
  task.dattention.sbias[j] = totals[3];
  task.dattention.gamma[j] = p.sweight[j] * totals[2];
  task.dattention.beta[j] = p.sweight[j] * totals[3];
}

// The gradients of all parameters from the sums of the planes; zeros where there are no images.
__device__ __forceinline__ void parameter_gradients(const ParameterTask &task) {
  if (static_cast<int>(blockIdx.x) < task.channel_blocks) {
    norm_gradients(task);
  } else {
    attention_gradients(task);
  }
}

}  // namespace block_end
