// See block_end.h for the algebra. Compiled once for each instruction set, with LEVEL as the namespace; as in cpu_kernels.cc,
// inline functions of C++ standard headers must not be called here.
#include "blocked_kernels.h"

#include <float.h>
#include <math.h>

#include "lanes.h"

namespace block_end {
namespace LEVEL {
namespace {

using namespace vectors;

typedef double Doubles __attribute__((vector_size(8 * kLanes)));

inline Doubles wide(Lanes values) { return converted<Doubles>(values); }
inline Lanes narrow(Doubles values) { return converted<Lanes>(values); }

// exp(x) with a relative error of about 2e-7; see cpu_kernels.cc.
inline Lanes exponential(Lanes x) {
  const Lanes low = Lanes{} - 87.0f, high = Lanes{} + 88.0f;
  x = x < low ? low : x;
  x = x > high ? high : x;
  const float to_integer = 12582912.0f;
  const Lanes n = (x * 1.44269504f + to_integer) - to_integer;
  const Lanes r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Lanes p = r * 1.98412698e-4f + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = p * (r * r) + r + 1.0f;
  return p * reinterpret_cast<Lanes>((converted<Whole>(n) + 127) << 23);
}

inline Lanes sigmoid(Lanes t) { return 1.0f / (1.0f + exponential(-t)); }

inline Lanes root(Lanes values) {
  for (int lane = 0; lane < kLanes; ++lane) values[lane] = sqrtf(values[lane]);
  return values;
}

// One block of channels: what batch norm and the attention do to it.
struct Channels {
  int64_t blocks, block, plane;  // in all; this one; pixels
  bool attention, any_spatial;
  Lanes a, mean, rstd, bias;  // z = a * (x - mean) + bias
  Whole spatial;              // -1 where the channel takes the spatial branch
  Lanes cweight, cbias, sweight, sbias, gamma, beta;

  template <typename Pass>
  Channels(const Shape &s, const Pass &pass, int64_t number)
      : blocks(s.channels / kLanes),
        block(number),
        plane(s.plane),
        attention(s.half > 0),
        any_spatial(false),
        a(Lanes{} + 1.0f),
        mean{},
        rstd{},
        bias{},
        spatial{} {
    if (pass.norm_weight != nullptr) {
      mean = load(pass.channel_stats + 2 * kLanes * block);
      rstd = load(pass.channel_stats + 2 * kLanes * block + kLanes);
      a = load(pass.norm_weight + kLanes * block) * rstd;
      bias = load(pass.norm_bias + kLanes * block);
    }
    if (!attention) return;
    int64_t j = kLanes * block % s.half;
    bool takes_spatial = kLanes * block / s.half % 2 == 1;
    any_spatial = takes_spatial || j + kLanes > s.half;
    for (int lane = 0; lane < kLanes; ++lane) {
      spatial[lane] = takes_spatial ? -1 : 0;
      cweight[lane] = pass.attention.cweight[j];
      cbias[lane] = pass.attention.cbias[j];
      sweight[lane] = pass.attention.sweight[j];
      sbias[lane] = pass.attention.sbias[j];
      gamma[lane] = pass.attention.gamma[j];
      beta[lane] = pass.attention.beta[j];
      if (++j == s.half) {
        j = 0;
        takes_spatial = !takes_spatial;
      }
    }
  }

  Lanes z(Lanes x) const { return a * (x - mean) + bias; }
  int64_t map(int64_t image) const { return (image * blocks + block) * plane * kLanes; }  // where its map begins
  int64_t statistics(int64_t image) const { return (image * blocks + block) * 2 * kLanes; }
  int64_t sums(int64_t image) const { return (image * blocks + block) * kBlockedSums * kLanes; }
};

// The gate sigmoid(A * z + B) of one image's planes, as sigmoid(slope * (x - mean_x) + level); without attention 1.
struct Gate {
  Lanes mean_x, mean_z, rs, A, slope, level;

  Gate(const Options &o, const Channels &c, const float *plane_stats, int64_t image)
      : mean_x(c.mean), mean_z{}, rs{}, A{}, slope{}, level{} {
    if (!c.attention) return;
    mean_x = load(plane_stats + c.statistics(image));
    const Lanes variance = load(plane_stats + c.statistics(image) + kLanes);
    mean_z = c.z(mean_x);
    rs = 1.0f / root(c.a * c.a * variance + float(o.attention_epsilon));
    A = c.spatial ? c.sweight * c.gamma * rs : Lanes{};
    slope = A * c.a;
    level = c.spatial ? c.sweight * c.beta + c.sbias : c.cweight * mean_z + c.cbias;
  }

  Lanes at(Lanes x) const { return sigmoid(slope * (x - mean_x) + level); }
};

// How the gates of the two blocks of a unit are computed.
enum Gates {
  CONSTANT,  // no lane takes the spatial branch
  PACKED,    // half of the lanes do, the same in both blocks: those of one block go into the gaps of the other
  EACH       // any other pattern
};

Gates gates_of(const Shape &s, const Channels &first, const Channels &second) {
  if (!first.any_spatial && !second.any_spatial) return CONSTANT;
#ifdef __clang__
  return EACH;  // see `arranged`
#else
  return kLanes % (2 * s.half) == 0 ? PACKED : EACH;
#endif
}

// The gates of both blocks of a unit for one image.
template <Gates GATES>
struct PairOfGates {
  Gate one, two, packed;
  Whole spatial1, spatial2, across;  // across: from a lane of one branch to one of the other, and back

  PairOfGates(const Shape &s, const Options &o, const Channels &c1, const Channels &c2, const float *plane_stats, int64_t image)
      : one(o, c1, plane_stats, image),
        two(o, c2, plane_stats, image),
        packed(one),
        spatial1(c1.spatial),
        spatial2(c2.spatial),
        across{} {
    if (GATES != PACKED) return;
    for (int lane = 0; lane < kLanes; ++lane) across[lane] = lane ^ int(s.half);
    packed.slope = pack(one.slope, two.slope);
    packed.mean_x = pack(one.mean_x, two.mean_x);
    packed.level = pack(one.level, two.level);
  }

  Lanes pack(Lanes of_one, Lanes of_two) const { return spatial1 ? of_one : arranged(of_two, across); }

  // Writes the gates of the lanes that take the spatial branch.
  void at(Lanes x1, Lanes x2, Lanes &g1, Lanes &g2) const {
    if (GATES == EACH) {
      g1 = spatial1 ? one.at(x1) : g1;
      g2 = spatial2 ? two.at(x2) : g2;
    }
    if (GATES == PACKED) {
      const Lanes found = packed.at(pack(x1, x2));
      g1 = spatial1 ? found : g1;
      g2 = spatial2 ? arranged(found, across) : g2;
    }
  }
};

// The sum of term(0) to term(count - 1), in parts, so that rounding does not grow with the count.
template <typename Term>
inline Lanes sum_of(int64_t count, Term term) {
  Lanes sum = {};
  for (int64_t begin = 0; begin < count; begin += 64) {
    const int64_t end = begin + 64 < count ? begin + 64 : count;
    Lanes parts[4] = {};
    int64_t i = begin;
    for (; i + 4 <= end; i += 4) {
      for (int part = 0; part < 4; ++part) parts[part] += term(i + part);
    }
    for (; i < end; ++i) parts[0] += term(i);
    sum += (parts[0] + parts[1]) + (parts[2] + parts[3]);
  }
  return sum;
}

void statistics(const Shape &s, const float *x, float *stats, Images images, int64_t block) {
  const int64_t blocks = s.channels / kLanes;
  for (int64_t n = images.first; n < images.end; ++n) {
    const float *map = x + (n * blocks + block) * s.plane * kLanes;
    const Lanes mean = sum_of(s.plane, [=](int64_t i) { return load(map + i * kLanes); }) / float(s.plane);
    const Lanes squares = sum_of(s.plane, [=](int64_t i) {
      const Lanes deviation = load(map + i * kLanes) - mean;
      return deviation * deviation;
    });
    float *to = stats + (n * blocks + block) * 2 * kLanes;
    store(to, mean);
    store(to + kLanes, squares / float(s.plane));
  }
}

void normalise(const Shape &s, const Options &o, const Forward<float, float> &f, const float *stats, int64_t block) {
  float *running_mean = f.running_mean + kLanes * block, *running_variance = f.running_variance + kLanes * block;
  Doubles mean = wide(load(running_mean)), variance = wide(load(running_variance));
  if (o.batch_statistics) {
    Doubles merged = {}, squares = {};  // of the planes so far (Chan et al., 1979, equation 2.1)
    for (int64_t n = 0; n < s.images; ++n) {
      const float *of_plane = stats + (n * (s.channels / kLanes) + block) * 2 * kLanes;
      const Doubles delta = wide(load(of_plane)) - merged;
      merged += delta / double(n + 1);
      squares += wide(load(of_plane + kLanes)) * double(s.plane);
      squares += delta * delta * (double(s.plane) * double(n) / double(n + 1));
    }
    squares /= double(s.images) * double(s.plane);
    store(running_mean, narrow(o.momentum * mean + (1 - o.momentum) * merged));
    store(running_variance, narrow(o.momentum * variance + (1 - o.momentum) * squares));
    mean = merged;
    variance = squares;
  }
  float *to = f.channel_stats + 2 * kLanes * block;
  store(to, narrow(mean));
  for (int lane = 0; lane < kLanes; ++lane) to[kLanes + lane] = float(1 / sqrt(variance[lane] + o.norm_epsilon));
}

// The values of two blocks before and after the channel shuffle: first[0], second[0], first[1], second[1], ...
template <size_t... LANE>
inline void shuffle_lanes(Lanes &first, Lanes &second, std::index_sequence<LANE...>) {
  const Lanes low = picked(first, second, std::index_sequence<(LANE % 2 * kLanes + LANE / 2)...>{});
  second = picked(first, second, std::index_sequence<(LANE % 2 * kLanes + (kLanes + LANE) / 2)...>{});
  first = low;
}

template <size_t... LANE>
inline void unshuffle_lanes(Lanes &low, Lanes &high, std::index_sequence<LANE...>) {
  const Lanes first = picked(low, high, std::index_sequence<(2 * LANE)...>{});
  high = picked(low, high, std::index_sequence<(2 * LANE + 1)...>{});
  low = first;
}

inline void shuffle(Lanes &first, Lanes &second) { shuffle_lanes(first, second, std::make_index_sequence<kLanes>{}); }
inline void unshuffle(Lanes &low, Lanes &high) { unshuffle_lanes(low, high, std::make_index_sequence<kLanes>{}); }

enum End { PLAIN, RELU, RESIDUAL_RELU };  // NaN stays NaN

template <End END>
inline Lanes ended(Lanes y, const float *residual) {
  if (END == RESIDUAL_RELU) y += load(residual);
  return END != PLAIN ? (y < Lanes{} ? Lanes{} : y) : y;
}

template <End END>
void apply_block(const Shape &s, const Forward<float, float> &f, Images images, int64_t unit) {
  const Channels c(s, f, unit);
  const Lanes a = c.a, mean = c.mean, bias = c.bias;  // copies: the output cannot overwrite them
  for (int64_t n = images.first; n < images.end; ++n) {
    const float *x = f.x + c.map(n), *residual = END == RESIDUAL_RELU ? f.residual + c.map(n) : x;
    float *out = f.out + c.map(n);
    for (int64_t i = 0; i < s.plane * kLanes; i += kLanes) {
      store(out + i, ended<END>(a * (load(x + i) - mean) + bias, residual + i));
    }
  }
}

// Where the output has what the two blocks of a unit become.
inline int64_t shuffled_map(const Channels &c, int64_t unit, int64_t image) {
  return (image * c.blocks + 2 * unit) * c.plane * kLanes;
}

template <End END, Gates GATES>
void apply_pair(const Shape &s, const Options &o, const Forward<float, float> &f, Images images, int64_t unit) {
  const Channels first(s, f, unit), second(s, f, unit + s.channels / (2 * kLanes));
  const int64_t next = s.plane * kLanes;  // from one block of the output to the other
  for (int64_t n = images.first; n < images.end; ++n) {
    const PairOfGates<GATES> gates(s, o, first, second, f.plane_stats, n);
    const Lanes constant1 = sigmoid(gates.one.level), constant2 = sigmoid(gates.two.level);
    const float *x1 = f.x + first.map(n), *x2 = f.x + second.map(n);
    const int64_t to = shuffled_map(first, unit, n);
    const float *residual = END == RESIDUAL_RELU ? f.residual + to : f.x;
    float *out = f.out + to;
    for (int64_t i = 0; i < s.plane * kLanes; i += kLanes) {
      const Lanes value1 = load(x1 + i), value2 = load(x2 + i);
      Lanes g1 = constant1, g2 = constant2;
      gates.at(value1, value2, g1, g2);
      Lanes y1 = first.z(value1) * g1, y2 = second.z(value2) * g2;
      shuffle(y1, y2);
      store(out + i, ended<END>(y1, residual + i));
      store(out + i + next, ended<END>(y2, residual + i + (END == RESIDUAL_RELU ? next : 0)));
    }
  }
}

template <End END>
void apply_ended(const Shape &s, const Options &o, const Forward<float, float> &f, Images images, int64_t unit) {
  if (!s.half) return apply_block<END>(s, f, images, unit);
  const Gates gates = gates_of(s, Channels(s, f, unit), Channels(s, f, unit + s.channels / (2 * kLanes)));
  if (gates == CONSTANT) return apply_pair<END, CONSTANT>(s, o, f, images, unit);
  if (gates == PACKED) return apply_pair<END, PACKED>(s, o, f, images, unit);
  apply_pair<END, EACH>(s, o, f, images, unit);
}

void apply(const Shape &s, const Options &o, const Forward<float, float> &f, Images images, int64_t unit) {
  if (f.residual) return apply_ended<RESIDUAL_RELU>(s, o, f, images, unit);
  if (o.relu) return apply_ended<RELU>(s, o, f, images, unit);
  apply_ended<PLAIN>(s, o, f, images, unit);
}

// The sums of a plane: of d g, d g xc, u, u xc (the last two 0 but in the spatial branch; where g is constant it is left out).
struct Sums {
  Lanes dg = {}, dg_xc = {}, u = {}, u_xc = {};

  void add(const Sums &more) {
    dg += more.dg;
    dg_xc += more.dg_xc;
    u += more.u;
    u_xc += more.u_xc;
  }
  void keep(float *at) const {
    store(at, dg);
    store(at + kLanes, dg_xc);
    store(at + 2 * kLanes, u);
    store(at + 3 * kLanes, u_xc);
  }
};

// Adds one pixel's; returns d g + A u. g: 1 outside the spatial branch.
template <bool SPATIAL>
inline Lanes add_pixel(Sums &sums, const Gate &gate, Lanes g, Lanes x, Lanes z, Lanes d) {
  const Lanes xc = x - gate.mean_x;
  if (!SPATIAL) {
    sums.dg += d;
    sums.dg_xc += d * xc;
    return d;
  }
  const Lanes dg = d * g, u = dg * z * (1.0f - g);
  sums.dg += dg;
  sums.dg_xc += dg * xc;
  sums.u += u;
  sums.u_xc += u * xc;
  return dg + gate.A * u;
}

constexpr int64_t kPart = 64;  // pixels whose sums are added up before they go to the whole

template <End END>
void sum_block(const Shape &s, const Options &o, const Backward<float, float> &b, float *sums, Images images, int64_t unit) {
  const Channels c(s, b, unit);
  const Gate gate(o, c, b.plane_stats, 0);
  for (int64_t n = images.first; n < images.end; ++n) {
    const int64_t map = c.map(n);
    const float *x = b.x + map, *dout = b.dout + map, *out = END == RESIDUAL_RELU ? b.out + map : x;
    float *dx = b.dx + map, *dresidual = END == RESIDUAL_RELU ? b.dresidual + map : dx;
    Sums whole;
    for (int64_t begin = 0; begin < s.plane; begin += kPart) {
      const int64_t end = begin + kPart < s.plane ? begin + kPart : s.plane;
      Sums part;
      for (int64_t i = begin * kLanes; i < end * kLanes; i += kLanes) {
        const Lanes value = load(x + i), z = c.z(value);
        Lanes d = load(dout + i);
        if (END == RELU) d = z > Lanes{} ? d : Lanes{};
        if (END == RESIDUAL_RELU) {
          d = load(out + i) > Lanes{} ? d : Lanes{};
          store(dresidual + i, d);
        }
        store(dx + i, add_pixel<false>(part, gate, Lanes{} + 1.0f, value, z, d));
      }
      whole.add(part);
    }
    whole.keep(sums + c.sums(n));
  }
}

template <End END, Gates GATES>
void sum_pair(const Shape &s, const Options &o, const Backward<float, float> &b, float *sums, Images images, int64_t unit) {
  const Channels first(s, b, unit), second(s, b, unit + s.channels / (2 * kLanes));
  const int64_t next = s.plane * kLanes;
  for (int64_t n = images.first; n < images.end; ++n) {
    const PairOfGates<GATES> gates(s, o, first, second, b.plane_stats, n);
    const int64_t at = shuffled_map(first, unit, n);
    const float *x1 = b.x + first.map(n), *x2 = b.x + second.map(n), *dout = b.dout + at;
    const float *out = END == RESIDUAL_RELU ? b.out + at : dout;
    float *dx1 = b.dx + first.map(n), *dx2 = b.dx + second.map(n);
    float *dresidual = END == RESIDUAL_RELU ? b.dresidual + at : dx1;
    Sums whole1, whole2;
    for (int64_t begin = 0; begin < s.plane; begin += kPart) {
      const int64_t end = begin + kPart < s.plane ? begin + kPart : s.plane;
      Sums part1, part2;
      for (int64_t i = begin * kLanes; i < end * kLanes; i += kLanes) {
        const Lanes value1 = load(x1 + i), value2 = load(x2 + i), z1 = first.z(value1), z2 = second.z(value2);
        Lanes d1 = load(dout + i), d2 = load(dout + i + next);
        if (END == RESIDUAL_RELU) {
          d1 = load(out + i) > Lanes{} ? d1 : Lanes{};
          d2 = load(out + i + next) > Lanes{} ? d2 : Lanes{};
          store(dresidual + i, d1);
          store(dresidual + i + next, d2);
        }
        unshuffle(d1, d2);
        if (END == RELU) {  // the sign of z is that of z * sigmoid(...)
          d1 = z1 > Lanes{} ? d1 : Lanes{};
          d2 = z2 > Lanes{} ? d2 : Lanes{};
        }
        Lanes g1 = Lanes{} + 1.0f, g2 = g1;
        gates.at(value1, value2, g1, g2);
        store(dx1 + i, add_pixel<GATES != CONSTANT>(part1, gates.one, g1, value1, z1, d1));
        store(dx2 + i, add_pixel<GATES != CONSTANT>(part2, gates.two, g2, value2, z2, d2));
      }
      whole1.add(part1);
      whole2.add(part2);
    }
    whole1.keep(sums + first.sums(n));
    whole2.keep(sums + second.sums(n));
  }
}

template <End END>
void sum_ended(const Shape &s, const Options &o, const Backward<float, float> &b, float *sums, Images images, int64_t unit) {
  if (!s.half) return sum_block<END>(s, o, b, sums, images, unit);
  const Gates gates = gates_of(s, Channels(s, b, unit), Channels(s, b, unit + s.channels / (2 * kLanes)));
  if (gates == CONSTANT) return sum_pair<END, CONSTANT>(s, o, b, sums, images, unit);
  if (gates == PACKED) return sum_pair<END, PACKED>(s, o, b, sums, images, unit);
  sum_pair<END, EACH>(s, o, b, sums, images, unit);
}

void sum(const Shape &s, const Options &o, const Backward<float, float> &b, float *sums, Images images, int64_t unit) {
  if (b.dresidual) return sum_ended<RESIDUAL_RELU>(s, o, b, sums, images, unit);
  if (o.relu) return sum_ended<RELU>(s, o, b, sums, images, unit);
  sum_ended<PLAIN>(s, o, b, sums, images, unit);
}

void combine(const Shape &s, const Options &o, const Backward<float, float> &b, float *sums, int64_t block,
             double *channel_sums) {
  const Channels c(s, b, block);
  const Doubles a = wide(c.a), mean = wide(c.mean);
  Doubles dbias = {}, dweight = {}, share0 = {}, share1 = {};  // dbias: sum(dz), dweight: sum(dz * (x - mean))
  for (int64_t n = 0; n < s.images; ++n) {
    float *at = sums + c.sums(n);
    const Gate gate(o, c, b.plane_stats, n);
    const Lanes dg = load(at), dg_xc = load(at + kLanes), u = load(at + 2 * kLanes), u_xc = load(at + 3 * kLanes);
    Doubles sum_dz = wide(dg), sum_dz_xc = wide(dg_xc);
    Lanes factor = c.a, level = {}, slope = {};  // dx = factor * (d g + A u) - a * (level + slope * xc) / plane
    if (c.attention) {
      const Lanes g = c.spatial ? Lanes{} + 1.0f : sigmoid(gate.level);
      const Lanes db = c.spatial ? Lanes{} : g * (1.0f - g) * (c.a * dg_xc + gate.mean_z * dg);
      const Lanes normal = c.a * gate.rs;  // zhat = normal * xc
      const Doubles of_channel = wide(db * c.cweight);
      sum_dz = sum_dz * wide(g) + of_channel;
      sum_dz_xc = sum_dz_xc * wide(g) + wide(gate.A) * o.attention_epsilon * wide(gate.rs * gate.rs) * wide(u_xc);
      share0 += wide(c.spatial ? u : db * gate.mean_z);
      share1 += wide(c.spatial ? normal * u_xc : db);
      factor = c.a * g;
      level = c.spatial ? gate.A * u : -(db * c.cweight);
      slope = gate.A * normal * normal * u_xc;
    }
    dbias += sum_dz;
    dweight += sum_dz_xc + (wide(gate.mean_x) - mean) * sum_dz;
    store(at, factor);
    store(at + kLanes, level);
    store(at + 2 * kLanes, slope);
  }
  dweight *= wide(c.rstd);
  if (b.norm_weight != nullptr) {
    store(b.dnorm_weight + kLanes * block, narrow(dweight));
    store(b.dnorm_bias + kLanes * block, narrow(dbias));
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    channel_sums[2 * (kLanes * block + lane)] = share0[lane];
    channel_sums[2 * (kLanes * block + lane) + 1] = share1[lane];
  }
  const bool through_statistics = b.norm_weight != nullptr && o.batch_statistics;
  const Doubles rstd = wide(c.rstd), values = Doubles{} + double(s.images) * double(s.plane);
  for (int64_t n = 0; n < s.images; ++n) {
    float *at = sums + c.sums(n);
    const Lanes mean_x = c.attention ? load(b.plane_stats + c.statistics(n)) : c.mean;
    Doubles level = -wide(load(at + kLanes)) / double(s.plane), slope = -wide(load(at + 2 * kLanes)) / double(s.plane);
    if (through_statistics) {
      level -= dbias / values + rstd * (wide(mean_x) - mean) * dweight / values;
      slope -= rstd * dweight / values;
    }
    store(at + kLanes, narrow(a * level));
    store(at + 2 * kLanes, narrow(a * slope));
  }
}

void finish(const Shape &s, const Backward<float, float> &b, const float *sums, Images images, int64_t block) {
  const Channels c(s, b, block);
  for (int64_t n = images.first; n < images.end; ++n) {
    const float *x = b.x + c.map(n), *at = sums + c.sums(n);
    float *dx = b.dx + c.map(n);
    const Lanes mean_x = c.attention ? load(b.plane_stats + c.statistics(n)) : c.mean;
    const Lanes factor = load(at), level = load(at + kLanes), slope = load(at + 2 * kLanes);
    for (int64_t i = 0; i < s.plane * kLanes; i += kLanes) {
      store(dx + i, factor * load(dx + i) + (level + slope * (load(x + i) - mean_x)));
    }
  }
}

// The part of a window that lies in the map, of its rows or columns.
struct Window {
  int64_t begin, end;

  Window(const Pooling &p, int axis, int64_t result) : begin(result * p.stride[axis] - p.padding[axis]), end(0) {
    const int64_t side = axis == 0 ? p.height : p.width;
    end = begin + p.kernel[axis] < side ? begin + p.kernel[axis] : side;
    begin = begin < 0 ? 0 : begin;
  }
};

void pool(const Pooling &p, const float *x, float *y) {
  for (int64_t i = 0; i < p.after[0]; ++i) {
    const Window rows(p, 0, i);
    for (int64_t j = 0; j < p.after[1]; ++j, y += kLanes) {
      const Window columns(p, 1, j);
      Lanes most = Lanes{} - FLT_MAX;
      for (int64_t row = rows.begin; row < rows.end; ++row) {
        for (int64_t column = columns.begin; column < columns.end; ++column) {
          const Lanes value = load(x + (row * p.width + column) * kLanes);
          most = most > value ? most : value;
        }
      }
      store(y, most);
    }
  }
}

void pool_backward(const Pooling &p, const float *x, const float *y, const float *dy, float *dx) {
  for (int64_t i = 0; i < p.height * p.width * kLanes; i += kLanes) store(dx + i, Lanes{});
  for (int64_t i = 0; i < p.after[0]; ++i) {
    const Window rows(p, 0, i);
    for (int64_t j = 0; j < p.after[1]; ++j, y += kLanes, dy += kLanes) {
      const Window columns(p, 1, j);
      const Lanes most = load(y);
      Lanes left = load(dy);  // of the gradient
      for (int64_t row = rows.begin; row < rows.end; ++row) {
        for (int64_t column = columns.begin; column < columns.end; ++column) {
          const int64_t at = (row * p.width + column) * kLanes;
          const Whole here = load(x + at) == most;
          store(dx + at, load(dx + at) + (here ? left : Lanes{}));
          left = here ? Lanes{} : left;
        }
      }
    }
  }
}

void to_block(const float *planes, float *block, int64_t plane) {
  int64_t pixel = 0;
  for (; pixel + kLanes <= plane; pixel += kLanes) {
    Lanes rows[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) rows[lane] = load(planes + lane * plane + pixel);
    transpose(rows);
    for (int lane = 0; lane < kLanes; ++lane) store(block + (pixel + lane) * kLanes, rows[lane]);
  }
  for (; pixel < plane; ++pixel) {
    for (int lane = 0; lane < kLanes; ++lane) block[pixel * kLanes + lane] = planes[lane * plane + pixel];
  }
}

void to_planes(const float *block, float *planes, int64_t plane) {
  int64_t pixel = 0;
  for (; pixel + kLanes <= plane; pixel += kLanes) {
    Lanes rows[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) rows[lane] = load(block + (pixel + lane) * kLanes);
    transpose(rows);
    for (int lane = 0; lane < kLanes; ++lane) store(planes + lane * plane + pixel, rows[lane]);
  }
  for (; pixel < plane; ++pixel) {
    for (int lane = 0; lane < kLanes; ++lane) planes[lane * plane + pixel] = block[pixel * kLanes + lane];
  }
}

}  // namespace

extern const BlockedKernels blocked_kernels = {kLanes, statistics, normalise,     apply,    sum,      combine,
                                               finish, pool,       pool_backward, to_block, to_planes};

}  // namespace LEVEL
}  // namespace block_end
