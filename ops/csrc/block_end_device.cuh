// What the CUDA kernels for both layouts of feature maps share: elements, the algebra of block_end.h for one plane, and the
// kernels over channels and parameters.
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

// ---- Elements of feature maps

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

// ---- One plane and its parameters

// An (image, channel) plane.
struct Place {
  int64_t input, output;  // plane numbers: image * channels + channel, the channel shuffled for the output
  int channel, parameter;
  bool spatial;  // the spatial branch of the attention
};

__device__ __forceinline__ Place place_of(const Geometry &g, int64_t image, int channel) {
  Place place = {image * g.channels + channel, image * g.channels + channel, channel, 0, false};
  if (g.half > 0) {
    const int middle = g.channels / 2;
    place.output += (channel < middle ? 2 * channel : 2 * (channel - middle) + 1) - channel;
    const unsigned part = static_cast<unsigned>(channel) / static_cast<unsigned>(g.half);  // of the 2 * groups
    place.parameter = channel - static_cast<int>(part) * g.half;
    place.spatial = part % 2 == 1;
  }
  return place;
}

__device__ __forceinline__ int64_t image_of_block(const Geometry &g) {
  return g.first_image + (g.backwards ? gridDim.y - 1 - blockIdx.y : blockIdx.y);
}

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

// z and the gate of one plane, sigmoid(A * z + B), written in xc = x - center, where center is the plane's mean, or without
// attention batch norm's: z = scale * xc + mean_z, the gate sigmoid(slope * xc + offset). No digits are lost where a plane's
// mean is large against its deviation.
struct Gate {
  float center, scale, mean_z;   // x and z on the plane
  float rs;                      // spatial branch: 1 / sqrt(var(z) + epsilon)
  float A, slope;                // spatial branch: with respect to z and to x
  float scaled_slope, scaled_offset;  // times kMinusLog2E; both branches, the channel branch's slope is 0
  float constant;                // channel branch: the gate of the whole plane; 1 without attention
  float cweight;                 // channel branch: how B depends on mean_z

  __device__ __forceinline__ float z(float xc) const { return fmaf(scale, xc, mean_z); }
  __device__ __forceinline__ float operator()(float xc) const {
    return sigmoid_scaled(fmaf(scaled_slope, xc, scaled_offset));
  }
};

__device__ __forceinline__ Gate gate_of(const Parameters &p, const Geometry &geometry, const Place &place, const Norm &norm,
                                        float2 moments, float epsilon) {
  Gate gate = {moments.x, norm.scale, norm(moments.x), 0.f, 0.f, 0.f, 0.f, 0.f, 1.f, 0.f};
  if (place.spatial) {
    gate.rs = rsqrtf(fmaf(norm.scale * norm.scale, moments.y, epsilon));
    gate.A = p.weight * gate.rs;
    gate.slope = gate.A * norm.scale;
    gate.scaled_slope = kMinusLog2E * gate.slope;
    gate.scaled_offset = kMinusLog2E * p.bias;
  } else if (geometry.half > 0) {
    gate.cweight = p.weight;
    gate.scaled_offset = kMinusLog2E * fmaf(p.weight, gate.mean_z, p.bias);
    gate.constant = sigmoid_scaled(gate.scaled_offset);
  }
  return gate;
}

// Batch norm as the forward pass applies it. keep: this thread keeps the channel's statistics for the backward pass, where they
// are the running ones.
template <typename T>
__device__ __forceinline__ Norm forward_norm(const ForwardTask<T> &task, const Place &place, bool keep) {
  const Forward<T, float> &data = task.data;
  if (!task.running) return norm_of(data.norm_weight, data.norm_bias, data.channel_stats, place.channel);
  const float mean = data.running_mean[place.channel];
  const float rstd = 1.f / sqrtf(data.running_variance[place.channel] + task.norm_epsilon);
  if (keep) {
    data.channel_stats[2 * place.channel] = mean;
    data.channel_stats[2 * place.channel + 1] = rstd;
  }
  return norm_of(data.norm_weight, data.norm_bias, place.channel, mean, rstd);
}

// The PlaneSums of a plane in the spatial branch. sums = sum(u), sum(u xc); rest = sum(d g), sum(d g xc).
__device__ __forceinline__ PlaneSums spatial_sums(const float (&sums)[2], const float (&rest)[2], const Gate &gate,
                                                  float epsilon) {
  const float loss = gate.A * epsilon * gate.rs * gate.rs;
  return {sums[0], sums[1] * gate.scale * gate.rs, rest[0], fmaf(loss, sums[1], rest[1])};
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

// ---- Kernels over channels and parameters

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

// A warp a channel: the gradients of batch norm's parameters, and the channel's share of the attention's, from the sums of the
// channel's planes; zeros where there are no images.
__device__ __forceinline__ void parameter_gradients(const ParameterTask &task) {
  const int lane = threadIdx.x % 32;
  const int channel = static_cast<int>(blockIdx.x) * kChannelsPerBlock + static_cast<int>(threadIdx.x) / 32;
  if (channel >= task.channels) return;  // the whole warp
  const Norm norm = norm_of(task.norm_weight, task.norm_bias, task.channel_stats, channel);
  const bool spatial = task.half > 0 && channel / task.half % 2 == 1;
  float sum_dz = 0.f, sum_dz_xhat = 0.f, of_weight = 0.f, of_bias = 0.f;
  for (int64_t n = lane; n < task.images; n += 32) {
    const int64_t plane = n * task.channels + channel;
    const PlaneSums sums = task.sums[plane];
    const float mean_x = task.half > 0 ? task.plane_stats[2 * plane] : norm.mean;
    sum_dz += sums.sum_dz;
    sum_dz_xhat = fmaf(mean_x - norm.mean, sums.sum_dz, sum_dz_xhat + sums.sum_dz_xc);  // xc is x minus the plane's mean
    of_weight = spatial ? of_weight + sums.sum_u_zhat : fmaf(sums.sum_u, norm(mean_x), of_weight);
    of_bias += sums.sum_u;
  }
  if (task.norm_weight != nullptr) {
    sum_dz = warp_sum(sum_dz);
    sum_dz_xhat = warp_sum(sum_dz_xhat);
    if (lane == 0) {
      task.dnorm_weight[channel] = norm.rstd * sum_dz_xhat;
      task.dnorm_bias[channel] = sum_dz;
    }
  }
  if (task.half > 0) {
    of_weight = warp_sum(of_weight);
    of_bias = warp_sum(of_bias);
    if (lane == 0) reinterpret_cast<float2 *>(task.channel_sums)[channel] = make_float2(of_weight, of_bias);
  }
}

// A warp a parameter: adds up the channels that share it, which are one of each group and branch.
__device__ __forceinline__ void attention_gradients(const AttentionTask &task) {
  const int lane = threadIdx.x % 32;
  const int j = static_cast<int>(blockIdx.x) * kChannelsPerBlock + static_cast<int>(threadIdx.x) / 32;
  if (j >= task.half) return;  // the whole warp
  const float2 *sums = reinterpret_cast<const float2 *>(task.channel_sums);
  float2 of_channel = make_float2(0.f, 0.f), of_spatial = make_float2(0.f, 0.f);  // of each branch: of_weight, of_bias
  const int64_t group = 2 * static_cast<int64_t>(task.half);
  for (int64_t c = j + group * lane; c < task.channels; c += 32 * group) {
    of_channel = make_float2(of_channel.x + sums[c].x, of_channel.y + sums[c].y);
    of_spatial = make_float2(of_spatial.x + sums[c + task.half].x, of_spatial.y + sums[c + task.half].y);
  }
  of_channel = make_float2(warp_sum(of_channel.x), warp_sum(of_channel.y));
  of_spatial = make_float2(warp_sum(of_spatial.x), warp_sum(of_spatial.y));
  if (lane != 0) return;
  const Attention<const float> &p = task.attention;
  task.dattention.cweight[j] = of_channel.x;
  task.dattention.cbias[j] = of_channel.y;
  task.dattention.sweight[j] = fmaf(p.gamma[j], of_spatial.x, p.beta[j] * of_spatial.y);
  task.dattention.sbias[j] = of_spatial.y;
  task.dattention.gamma[j] = p.sweight[j] * of_spatial.x;
  task.dattention.beta[j] = p.sweight[j] * of_spatial.y;
}

}  // namespace block_end
