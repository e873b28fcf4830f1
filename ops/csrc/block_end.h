// The end of a residual block in one operator: the algebra, and the structs of its inputs and outputs.
//
// For a feature map x [images, channels, plane] (plane = H * W), one formula covers batch norm, Shuffle Attention (Zhang and
// Yang, ICASSP 2021), the residual addition and ReLU, each of which may be absent:
//
//     z = a * x + b                      batch norm: a = weight * rstd, b = bias - a * mean, one pair a channel;
//                                        without it a = 1, b = 0
//     y = z * sigmoid(A * z + B)         Shuffle Attention, one pair (A, B) an (image, channel) plane; without it y = z
//         channel branch (eq. 1, 2):     A = 0,                       B = cweight * mean(z) + cbias
//         spatial branch (eq. 3):        A = sweight * gamma * rs,    B = sweight * (beta - gamma * mean(z) * rs) + sbias
//         rs = 1 / sqrt(var(z) + attention epsilon): the group norm has one channel a group, so its statistics are a plane's
//     out[shuffle(c)] = relu(y[c] + residual[shuffle(c)])
//         shuffle(c) = 2c if c < C/2, else 2(c - C/2) + 1; without attention shuffle(c) = c
//
// `half` = C / (2 * groups) channels of each group take the channel branch, the next `half` the spatial branch; channel c has
// the parameters j = c % half, and the spatial branch where c % (2 * half) >= half.
//
// Since z is affine in x, one pass over x gives all statistics: mean(z) = a * mean(x) + b and var(z) = a^2 * var(x) on each
// plane, and the planes of a channel together give batch norm's mean and variance.
//
// Backward. With d = dout where out > 0 (all of dout without ReLU) and, per plane, g = sigmoid(A z + B), xc = x - mean(x),
// zhat = a * xc * rs, u = d * z * g * (1 - g):
//
//     channel branch:  dB = g (1 - g) sum(d z),  dz = d g + dB * cweight / plane,  sum(dz) = g sum(d) + dB * cweight,
//                      sum(dz xc) = g sum(d xc);  cweight += dB * mean(z), cbias += dB
//     spatial branch:  dz = d g + A (u - mean(u) - zhat * mean(u zhat)),  sum(dz) = sum(d g),
//                      sum(dz xc) = sum(d g xc) + A * attention epsilon * rs^2 * sum(u xc);
//                      sweight += gamma * sum(u zhat) + beta * sum(u), sbias += sum(u),
//                      gamma += sweight * sum(u zhat), beta += sweight * sum(u)
//     batch norm:      xhat = (x - mean) * rstd over the channel, dweight = sum(dz xhat), dbias = sum(dz);
//                      dx = a * (dz - dbias / M - xhat * dweight / M) with M = images * plane where the statistics are the
//                      batch's own, dx = a * dz where they are the running ones
//
// so a first pass over (x, d) yields a few sums a plane, from which everything else is a linear function of d g, u, xc and 1.
#pragma once

#ifdef __CUDACC_RTC__
#include "nvrtc_headers.h"
#else
#include <cstdint>
#endif

namespace block_end {

struct Shape {
  int64_t images, channels, plane;
  int64_t half;        // C / (2 * groups); 0: no attention
  bool channels_last;  // feature maps are [images, plane, channels], else [images, channels, plane]
};

struct Options {
  bool relu;                // with a residual always
  bool batch_statistics;    // batch norm normalises with the batch's own statistics and updates the running ones
  double momentum;          // running = momentum * running + (1 - momentum) * batch
  double norm_epsilon;      // batch norm's
  double attention_epsilon; // of Shuffle Attention's group norm
};

// Shuffle Attention's six parameters, `half` values each; all null without attention.
template <typename P>
struct Attention {
  P *cweight, *cbias, *sweight, *sbias, *gamma, *beta;
};

// T: type of the feature maps. P: type of parameters and statistics (float for the half-precision types, else T).
template <typename T, typename P>
struct Forward {
  const T *x;
  const T *residual;                    // null: none
  const P *norm_weight, *norm_bias;     // [channels]; null: no batch norm
  P *running_mean, *running_variance;   // [channels]; read, or updated with batch_statistics; null: no batch norm
  Attention<const P> attention;
  T *out;
  // Of maps in blocks of channels, [images, channels / lanes, 2, lanes] and [channels / lanes, 2, lanes]
  P *plane_stats;    // [images * channels, 2]: mean and biased variance of x on each plane; null without attention
  P *channel_stats;  // [channels, 2]: the mean and rstd that batch norm used; null without batch norm
};

template <typename T, typename P>
struct Backward {
  const T *x;
  const T *out;                      // null without a residual: the backward pass then recomputes the sign of y
  const T *dout;
  const P *norm_weight, *norm_bias;  // as in Forward
  Attention<const P> attention;
  const P *plane_stats, *channel_stats;
  T *dx;
  T *dresidual;             // null: no residual
  P *dnorm_weight, *dnorm_bias;
  Attention<P> dattention;  // overwritten, not accumulated
};

}  // namespace block_end
