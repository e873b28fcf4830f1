// See block_end.h for the algebra. Compiled once for each instruction set, with LEVEL as the namespace.
//
// Do not call inline functions of C++ standard headers here: the linker keeps one copy for all files, and if that is the one
// compiled for AVX-512, a CPU without AVX-512 crashes.
#include "cpu_kernels.h"

#include <math.h>
#include <string.h>

namespace block_end {
namespace LEVEL {
namespace {

// exp(x) with a relative error of about 2e-7: 2^n times a polynomial on [-ln2/2, ln2/2], without branches, so that the
// compiler can vectorise it. x is clamped to the range of float, which does not change the sigmoid.
inline float exponential(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float to_integer = 12582912.0f;  // 1.5 * 2^23: adding it rounds to the nearest integer
  const float n = (x * 1.44269504f + to_integer) - to_integer;
  // x - n * ln2, ln2 in two parts, the first exact in few bits
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.98412698e-4f;  // 1/7!
  p = p * r + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = p * (r * r) + r + 1.0f;
  const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  memcpy(&power, &bits, sizeof(power));
  return p * power;
}

inline double exponential(double x) { return exp(x); }

template <typename T>
inline T sigmoid(T t) {
  return T(1) / (T(1) + exponential(-t));
}

inline int64_t shuffled(int64_t channel, int64_t channels) {
  return channel < channels / 2 ? 2 * channel : 2 * (channel - channels / 2) + 1;
}

// Which branch of the attention a channel takes, where its plane lies, and what batch norm does to it.
template <typename T>
struct Channel {
  int64_t plane, in_offset, out_offset, stride;  // in values; stride: from an image to the next
  int64_t parameter;                             // j, the index into the attention's parameters
  bool attention, spatial;
  T a, mean, rstd, bias;  // z = a * (x - mean) + bias: centred, so that a mean far above the deviation costs no digits

  Channel(const Shape &s, int64_t c)
      : plane(s.plane),
        in_offset(c * s.plane),
        out_offset((s.half ? shuffled(c, s.channels) : c) * s.plane),
        stride(s.channels * s.plane),
        parameter(s.half ? c % s.half : 0),
        attention(s.half > 0),
        spatial(s.half > 0 && c % (2 * s.half) >= s.half),
        a(1),
        mean(0),
        rstd(0),
        bias(0) {}

  void normalise(T weight, T norm_bias) {
    a = weight * rstd;
    bias = norm_bias;
  }

  T z(T x) const { return a * (x - mean) + bias; }
};

// How the attention acts on one plane: y = z * sigmoid(A * z + B); in the channel branch the gate is one number. A * z + B
// is computed as slope * (x - mean_x) + level, which is the same except for less rounding error where the mean is large.
template <typename T>
struct Gate {
  T A, slope, level;
  T constant;            // the gate where A = 0; 1 without attention
  T mean_x, mean_z, rs;  // of the plane; without attention mean_x is batch norm's

  Gate(const Options &o, const Channel<T> &c, const Attention<const T> &p, const T *stats)
      : A(0), slope(0), level(0), constant(1), mean_x(c.mean), mean_z(0), rs(0) {
    if (!c.attention) return;
    const int64_t j = c.parameter;
    mean_x = stats[0];
    mean_z = c.z(mean_x);
    if (c.spatial) {
      rs = T(1) / T(sqrt(double(c.a * c.a * stats[1]) + o.attention_epsilon));
      A = p.sweight[j] * p.gamma[j] * rs;
      slope = A * c.a;
      level = p.sweight[j] * p.beta[j] + p.sbias[j];
    } else {
      constant = sigmoid(p.cweight[j] * mean_z + p.cbias[j]);
    }
  }

  T spatial(T x) const { return sigmoid(slope * (x - mean_x) + level); }
};

// The sum of term(0) to term(count - 1), in several vectors of partial sums: with a single one, each addition would wait for
// the previous one.
template <typename Term>
inline auto lane_sum(int64_t count, Term term) {
  constexpr int lanes = 64;
  using T = decltype(term(0));
  T partial[lanes] = {0};
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
#pragma omp simd
    for (int lane = 0; lane < lanes; ++lane) partial[lane] += term(i + lane);
  }
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t rest = i; rest < count; ++rest) sum += term(rest);
#pragma omp simd reduction(+ : sum)
  for (int lane = 0; lane < lanes; ++lane) sum += partial[lane];
  return sum;
}

// Mean and sum of squared deviations of one plane, in two passes over data that stay in the cache.
template <typename T>
void plane_statistics(const T *__restrict x, int64_t plane, T *mean, T *squares) {
  const T m = lane_sum(plane, [=](int64_t i) { return x[i]; }) / T(plane);
  *mean = m;
  *squares = lane_sum(plane, [=](int64_t i) { return (x[i] - m) * (x[i] - m); });
}

// out = z * gate (+ residual) (then ReLU); NaN stays NaN.
enum End { PLAIN, RELU, RESIDUAL_RELU };

template <typename T, bool SPATIAL, End END>
void apply_plane(const T *__restrict x, const T *__restrict residual, T *__restrict out, const Channel<T> &c,
                 const Gate<T> &gate) {
  const Channel<T> channel = c;  // copies: the compiler can then rule out that `out` overwrites them
  const Gate<T> g = gate;
#pragma omp simd
  for (int64_t i = 0; i < channel.plane; ++i) {
    T y = channel.z(x[i]) * (SPATIAL ? g.spatial(x[i]) : g.constant);
    if (END == RESIDUAL_RELU) y += residual[i];
    out[i] = END != PLAIN && y < T(0) ? T(0) : y;
  }
}

template <typename T, bool SPATIAL>
void apply_plane(const T *x, const T *residual, T *out, const Channel<T> &c, const Gate<T> &gate, bool relu) {
  if (residual) return apply_plane<T, SPATIAL, RESIDUAL_RELU>(x, residual, out, c, gate);
  if (relu) return apply_plane<T, SPATIAL, RELU>(x, residual, out, c, gate);
  apply_plane<T, SPATIAL, PLAIN>(x, residual, out, c, gate);
}

template <typename T>
void forward_channel(const Shape &s, const Options &o, const Forward<T, T> &f, int64_t channel) {
  Channel<T> c(s, channel);
  const bool norm = f.norm_weight != nullptr, own_statistics = norm && o.batch_statistics;
  if (c.attention || own_statistics) {
    double mean = 0, squares = 0;  // of the planes so far, merged one by one (Chan et al., 1979, equation 2.1)
    for (int64_t n = 0; n < s.images; ++n) {
      T plane_mean, plane_squares;
      plane_statistics(f.x + c.in_offset + n * c.stride, s.plane, &plane_mean, &plane_squares);
      if (c.attention) {
        f.plane_stats[2 * (n * s.channels + channel)] = plane_mean;
        f.plane_stats[2 * (n * s.channels + channel) + 1] = plane_squares / T(s.plane);
      }
      const double delta = plane_mean - mean;
      mean += delta / double(n + 1);
      squares += plane_squares + delta * delta * double(s.plane) * double(n) / double(n + 1);
    }
    if (own_statistics && s.images) {
      const double variance = squares / (double(s.images) * double(s.plane));
      c.mean = T(mean);
      c.rstd = T(1 / sqrt(variance + o.norm_epsilon));
      f.running_mean[channel] = T(o.momentum * f.running_mean[channel] + (1 - o.momentum) * mean);
      f.running_variance[channel] = T(o.momentum * f.running_variance[channel] + (1 - o.momentum) * variance);
    }
  }
  if (norm && !own_statistics) {
    c.mean = f.running_mean[channel];
    c.rstd = T(1 / sqrt(double(f.running_variance[channel]) + o.norm_epsilon));
  }
  if (norm) {
    c.normalise(f.norm_weight[channel], f.norm_bias[channel]);
    f.channel_stats[2 * channel] = c.mean;
    f.channel_stats[2 * channel + 1] = c.rstd;
  }
  for (int64_t n = 0; n < s.images; ++n) {
    const T *stats = c.attention ? f.plane_stats + 2 * (n * s.channels + channel) : nullptr;
    const Gate<T> gate(o, c, f.attention, stats);
    const T *x = f.x + c.in_offset + n * c.stride;
    const T *residual = f.residual ? f.residual + c.out_offset + n * c.stride : nullptr;
    T *out = f.out + c.out_offset + n * c.stride;
    if (c.spatial) {
      apply_plane<T, true>(x, residual, out, c, gate, o.relu);
    } else {
      apply_plane<T, false>(x, residual, out, c, gate, o.relu);
    }
  }
}

// d = dout where the output is positive. With a residual, `out` shows this; without one, the sign of z does, which is that of
// z * sigmoid(...).
template <typename T, End END>
inline T masked(T dout, const T *out, T z, int64_t i) {
  if (END == RESIDUAL_RELU) return out[i] > T(0) ? dout : T(0);
  if (END == RELU) return z > T(0) ? dout : T(0);
  return dout;
}

// First pass: sum(d g), sum(d g xc), sum(u), sum(u xc) into sums (the last two are 0 except in the spatial branch; g is left
// out where it is constant), d into dresidual and, in the spatial branch, d g + A u into dx, because storing it is cheaper than
// a second sigmoid.
template <typename T, bool SPATIAL, End END>
void sum_plane(const T *__restrict x, const T *__restrict out, const T *__restrict dout, T *__restrict dresidual,
               T *__restrict dx, const Channel<T> &c, const Gate<T> &gate, T *sums) {
  const Channel<T> channel = c;
  const Gate<T> of_plane = gate;
  T s0 = 0, s1 = 0, u0 = 0, u1 = 0;
#pragma omp simd reduction(+ : s0, s1, u0, u1)
  for (int64_t i = 0; i < channel.plane; ++i) {
    const T z = channel.z(x[i]);
    const T d = masked<T, END>(dout[i], out, z, i);
    if (END == RESIDUAL_RELU) dresidual[i] = d;
    const T xc = x[i] - of_plane.mean_x;
    if (SPATIAL) {
      const T g = of_plane.spatial(x[i]), dg = d * g, u = dg * z * (T(1) - g);
      s0 += dg;
      s1 += dg * xc;
      u0 += u;
      u1 += u * xc;
      dx[i] = dg + of_plane.A * u;
    } else {
      s0 += d;
      s1 += d * xc;
    }
  }
  sums[0] = s0;
  sums[1] = s1;
  sums[2] = u0;
  sums[3] = u1;
}

// Second pass: dx = a * (d g + A u) + c0 + c1 * (x - mean_x); in the spatial branch dx already holds d g + A u.
template <typename T, bool SPATIAL, End END>
void gradient_plane(const T *__restrict x, const T *__restrict out, const T *__restrict dout,
                    const T *__restrict dresidual, T *__restrict dx, const Channel<T> &c, const Gate<T> &gate,
                    T c0, T c1) {
  const Channel<T> channel = c;
  const T mean_x = gate.mean_x, ag = c.a * gate.constant;
#pragma omp simd
  for (int64_t i = 0; i < channel.plane; ++i) {
    const T linear = c0 + c1 * (x[i] - mean_x);
    if (SPATIAL) {
      dx[i] = channel.a * dx[i] + linear;
    } else {
      const T d = END == RESIDUAL_RELU ? dresidual[i] : masked<T, END>(dout[i], out, channel.z(x[i]), i);
      dx[i] = ag * d + linear;
    }
  }
}

template <typename T, bool SPATIAL, End END>
void backward_channel(const Shape &s, const Options &o, const Backward<T, T> &f, int64_t channel, T *plane_sums,
                      double *channel_sums) {
  Channel<T> c(s, channel);
  const bool norm = f.norm_weight != nullptr;
  if (norm) {
    c.mean = f.channel_stats[2 * channel];
    c.rstd = f.channel_stats[2 * channel + 1];
    c.normalise(f.norm_weight[channel], f.norm_bias[channel]);
  }
  double dbias = 0, dweight = 0;  // sum(dz), sum(dz * (x - mean))
  channel_sums[0] = channel_sums[1] = 0;
  const int64_t j = c.parameter;
  for (int64_t n = 0; n < s.images; ++n) {
    const T *stats = c.attention ? f.plane_stats + 2 * (n * s.channels + channel) : nullptr;
    const Gate<T> gate(o, c, f.attention, stats);
    const int64_t in = c.in_offset + n * c.stride, at = c.out_offset + n * c.stride;
    T *sums = plane_sums + n * kPlaneSums;
    sum_plane<T, SPATIAL, END>(f.x + in, END == RESIDUAL_RELU ? f.out + at : nullptr, f.dout + at,
                                          END == RESIDUAL_RELU ? f.dresidual + at : nullptr, f.dx + in, c, gate, sums);
    double sum_dz = sums[0], sum_dz_xc = sums[1];
    if (SPATIAL) {
      const T sum_u_zhat = c.a * gate.rs * sums[3];
      sum_dz_xc += double(gate.A) * o.attention_epsilon * double(gate.rs * gate.rs) * sums[3];
      channel_sums[0] += sums[2];
      channel_sums[1] += sum_u_zhat;
    } else if (c.attention) {
      const T g = gate.constant;
      const T db = g * (T(1) - g) * (c.a * sums[1] + gate.mean_z * sums[0]);  // sum(d z) = a sum(d xc) + mean(z) sum(d)
      sum_dz = double(g) * sums[0] + double(db) * f.attention.cweight[j];
      sum_dz_xc *= g;
      channel_sums[0] += double(db) * gate.mean_z;
      channel_sums[1] += db;
      sums[2] = db;
    }
    dbias += sum_dz;
    dweight += sum_dz_xc + (double(gate.mean_x) - double(c.mean)) * sum_dz;
  }
  dweight *= c.rstd;
  if (norm) {
    f.dnorm_weight[channel] = T(dweight);
    f.dnorm_bias[channel] = T(dbias);
  }
  const double values = double(s.images) * double(s.plane);
  const bool through_statistics = norm && o.batch_statistics;
  for (int64_t n = 0; n < s.images; ++n) {
    const T *stats = c.attention ? f.plane_stats + 2 * (n * s.channels + channel) : nullptr;
    const Gate<T> gate(o, c, f.attention, stats);
    const int64_t in = c.in_offset + n * c.stride, at = c.out_offset + n * c.stride;
    const T *sums = plane_sums + n * kPlaneSums;
    double c0 = 0, c1 = 0;
    if (SPATIAL) {
      c0 = -double(gate.A) * sums[2] / double(s.plane);
      c1 = -double(gate.A) * (double(c.a) * gate.rs * c.a * gate.rs * sums[3]) / double(s.plane);
    } else if (c.attention) {
      c0 = double(sums[2]) * f.attention.cweight[j] / double(s.plane);
    }
    if (through_statistics) {
      c0 -= dbias / values + double(c.rstd) * (double(gate.mean_x) - double(c.mean)) * dweight / values;
      c1 -= double(c.rstd) * dweight / values;
    }
    gradient_plane<T, SPATIAL, END>(f.x + in, END == RESIDUAL_RELU ? f.out + at : nullptr, f.dout + at,
                                               END == RESIDUAL_RELU ? f.dresidual + at : nullptr, f.dx + in, c, gate,
                                               T(c.a * c0), T(c.a * c1));
  }
}

template <typename T, bool SPATIAL>
void backward_channel(const Shape &s, const Options &o, const Backward<T, T> &f, int64_t channel, T *plane_sums,
                      double *channel_sums) {
  if (f.dresidual) return backward_channel<T, SPATIAL, RESIDUAL_RELU>(s, o, f, channel, plane_sums, channel_sums);
  if (o.relu) return backward_channel<T, SPATIAL, RELU>(s, o, f, channel, plane_sums, channel_sums);
  backward_channel<T, SPATIAL, PLAIN>(s, o, f, channel, plane_sums, channel_sums);
}

template <typename T>
void backward_channel(const Shape &s, const Options &o, const Backward<T, T> &f, int64_t channel, T *plane_sums,
                      double *channel_sums) {
  if (Channel<T>(s, channel).spatial) return backward_channel<T, true>(s, o, f, channel, plane_sums, channel_sums);
  backward_channel<T, false>(s, o, f, channel, plane_sums, channel_sums);
}

}  // namespace

extern const Kernels<float> kernels_float = {forward_channel<float>, backward_channel<float>};
extern const Kernels<double> kernels_double = {forward_channel<double>, backward_channel<double>};

}  // namespace LEVEL
}  // namespace block_end
