// Compiled once for each instruction set, with LEVEL as the namespace; as in cpu_kernels.cc, inline functions of C++ standard
// headers must not be called here.
#include "grouped_kernels.h"

#include "lanes.h"

namespace convolution {
namespace LEVEL {
namespace {

using namespace vectors;

template <int kShare>
void gather_shared(const float *x, Place place, int64_t first, int64_t in, int64_t groups, float *gathered) {
  const int64_t step = place.step();
  const float *from[kLanes];
  for (int64_t i = 0; i < in; ++i) {
    for (int group = 0; group < kLanes / kShare; ++group) {
      from[group] = x + place.of_channel(first + (group < groups ? group : 0) * in + i);
    }
    float *to = gathered + i * kLanes;
    for (int64_t pixel = 0; pixel < place.pixels; ++pixel, to += in * kLanes) {
      Lanes values;
#pragma GCC unroll 16
      for (int lane = 0; lane < kLanes; ++lane) values[lane] = from[lane / kShare][pixel * step];
      store(to, values);
    }
  }
}

template <int kShare>
void scatter_shared(const float *gathered, Place place, int64_t begin, int64_t end, int64_t first, int64_t in, int64_t groups,
                    float *dx) {
  const int64_t step = place.step();
  for (int64_t i = 0; i < in; ++i) {
    for (int64_t group = 0; group < groups; ++group) {
      const float *from = gathered + (begin * in + i) * kLanes + group * kShare;
      float *to = dx + place.of_channel(first + group * in + i);
      for (int64_t pixel = begin; pixel < end; ++pixel, from += in * kLanes) {
        float sum = from[0];
#pragma GCC unroll 16
        for (int lane = 1; lane < kShare; ++lane) sum += from[lane];
        to[pixel * step] = sum;
      }
    }
  }
}

// function<share>(...) with the number of lanes as a constant: a power of two, at most all lanes.
#define OF_SHARE(function, share, ...)                                       \
  switch (share) {                                                          \
    case 1: return function<1>(__VA_ARGS__);                                \
    case 2: return function<2>(__VA_ARGS__);                                \
    case 4: return function<4>(__VA_ARGS__);                                \
    case 8: return function<8>(__VA_ARGS__);                                \
    default: return function<kLanes>(__VA_ARGS__);                          \
  }

void gather(const float *x, Place place, int64_t first, int64_t in, int64_t groups, int64_t share, float *gathered) {
  OF_SHARE(gather_shared, share, x, place, first, in, groups, gathered)
}

void scatter(const float *gathered, Place place, int64_t width, Rows rows, int64_t first, int64_t in, int64_t groups,
             int64_t share, float *dx) {
  OF_SHARE(scatter_shared, share, gathered, place, rows.first * width, rows.end * width, first, in, groups, dx)
}

// Where a row or column of the kernel meets the map: pixels first to end of y; that of x is pixel * stride + offset.
struct Reach {
  int64_t first, end, offset;

  Reach(const GroupedMaps &m, int axis, int64_t at) : offset(at * m.dilation[axis] - m.padding[axis]) {
    const int64_t stride = m.stride[axis], room = m.side[axis] - 1 - offset;
    first = offset < 0 ? (-offset + stride - 1) / stride : 0;
    end = room < 0 ? 0 : room / stride + 1;
    if (end > m.side_after[axis]) end = m.side_after[axis];
  }
};

// y[pixel] += the sum over in of x[pixel, in] * weights[in], for kPixels pixels, `step` values apart in x. kChains: sums that
// are made side by side for each, as one addition has to wait for the one before.
template <int kPixels, int kChains>
inline void add_pixels(const float *x, int64_t step, const float *weights, int64_t in, float *y) {
  Lanes sums[kPixels][kChains] = {};
  for (int64_t i = 0; i < in; i += kChains) {
#pragma GCC unroll 4
    for (int chain = 0; chain < kChains; ++chain) {
      const Lanes weight = load(weights + (i + chain) * kLanes);
#pragma GCC unroll 8
      for (int pixel = 0; pixel < kPixels; ++pixel) {
        sums[pixel][chain] += weight * load(x + pixel * step + (i + chain) * kLanes);
      }
    }
  }
#pragma GCC unroll 8
  for (int pixel = 0; pixel < kPixels; ++pixel) {
    Lanes sum = sums[pixel][0];
    for (int chain = 1; chain < kChains; ++chain) sum += sums[pixel][chain];
    store(y + pixel * kLanes, load(y + pixel * kLanes) + sum);
  }
}

template <int kChains>
void add_row(const float *x, int64_t step, const float *weights, int64_t in, float *y, int64_t pixels) {
  for (; pixels >= 8; pixels -= 8, x += 8 * step, y += 8 * kLanes) add_pixels<8, 1>(x, step, weights, in, y);
  for (; pixels >= 4; pixels -= 4, x += 4 * step, y += 4 * kLanes) add_pixels<4, kChains >= 2 ? 2 : 1>(x, step, weights, in, y);
  for (; pixels >= 2; pixels -= 2, x += 2 * step, y += 2 * kLanes) add_pixels<2, kChains>(x, step, weights, in, y);
  if (pixels > 0) add_pixels<1, kChains>(x, step, weights, in, y);
}

void forward(const GroupedMaps &m, const float *gathered, const float *weights, Rows wanted, float *y) {
  const int64_t pixel = m.in * kLanes, step = m.stride[1] * pixel;
  const auto add = m.in % 4 == 0 ? add_row<4> : m.in % 2 == 0 ? add_row<2> : add_row<1>;
  for (int64_t i = wanted.first * m.side_after[1]; i < wanted.end * m.side_after[1]; ++i) store(y + i * kLanes, Lanes{});
  for (int64_t i = 0; i < m.kernel[0]; ++i) {
    const Reach rows(m, 0, i);
    const int64_t first = rows.first > wanted.first ? rows.first : wanted.first;
    for (int64_t row = first; row < rows.end && row < wanted.end; ++row) {
      const float *x = gathered + (row * m.stride[0] + rows.offset) * m.side[1] * pixel;
      for (int64_t j = 0; j < m.kernel[1]; ++j) {
        const Reach columns(m, 1, j);
        if (columns.first >= columns.end) continue;
        add(x + (columns.first * m.stride[1] + columns.offset) * pixel, step, weights + (i * m.kernel[1] + j) * pixel, m.in,
            y + (row * m.side_after[1] + columns.first) * kLanes, columns.end - columns.first);
      }
    }
  }
}

// The places of the kernel, on one axis, whose pixels of y a pixel of x is part of.
struct Places {
  int64_t count = 0, kernel[kLargestKernel], pixel[kLargestKernel];

  Places(const GroupedMaps &m, int axis, int64_t of_x) {
    for (int64_t i = 0; i < m.kernel[axis]; ++i) {
      const int64_t at = of_x + m.padding[axis] - i * m.dilation[axis];
      if (at < 0 || at % m.stride[axis] || at / m.stride[axis] >= m.side_after[axis]) continue;
      kernel[count] = i;
      pixel[count++] = at / m.stride[axis];
    }
  }
};

template <int kCount>
inline void back_channels(const GroupedMaps &m, const Places &rows, const Places &columns, const float *dy,
                          const float *weights, float *dx) {
  Lanes sums[kCount] = {};
  for (int64_t i = 0; i < rows.count; ++i) {
    for (int64_t j = 0; j < columns.count; ++j) {
      const Lanes d = load(dy + (rows.pixel[i] * m.side_after[1] + columns.pixel[j]) * kLanes);
      const float *weight = weights + (rows.kernel[i] * m.kernel[1] + columns.kernel[j]) * m.in * kLanes;
#pragma GCC unroll 8
      for (int in = 0; in < kCount; ++in) sums[in] += load(weight + in * kLanes) * d;
    }
  }
#pragma GCC unroll 8
  for (int in = 0; in < kCount; ++in) store(dx + in * kLanes, sums[in]);
}

void backward(const GroupedMaps &m, const float *dy, const float *weights, Rows wanted, float *gathered) {
  for (int64_t row = wanted.first; row < wanted.end; ++row) {
    const Places rows(m, 0, row);
    for (int64_t column = 0; column < m.side[1]; ++column) {
      const Places columns(m, 1, column);
      float *dx = gathered + (row * m.side[1] + column) * m.in * kLanes;
      int64_t in = 0;
      for (; in + 8 <= m.in; in += 8) back_channels<8>(m, rows, columns, dy, weights + in * kLanes, dx + in * kLanes);
      for (; in + 4 <= m.in; in += 4) back_channels<4>(m, rows, columns, dy, weights + in * kLanes, dx + in * kLanes);
      for (; in < m.in; ++in) back_channels<1>(m, rows, columns, dy, weights + in * kLanes, dx + in * kLanes);
    }
  }
}

constexpr int64_t kPart = 64;  // pixels whose products are added up before they go to the whole: rounding grows with a sum

template <int kCount>
inline void correlate_channels(const GroupedMaps &m, const Reach &rows, const Reach &columns, const float *x, const float *dy,
                               float *dweights) {
  const int64_t pixel = m.in * kLanes;
  Lanes sums[kCount] = {};
  const auto add = [&] {
#pragma GCC unroll 8
    for (int in = 0; in < kCount; ++in) {
      store(dweights + in * kLanes, load(dweights + in * kLanes) + sums[in]);
      sums[in] = Lanes{};
    }
  };
  int64_t pixels = 0;
  for (int64_t row = rows.first; row < rows.end; ++row) {
    if (pixels >= kPart) {
      add();
      pixels = 0;
    }
    pixels += columns.end - columns.first;
    const int64_t begin = (row * m.stride[0] + rows.offset) * m.side[1] + columns.offset;
    for (int64_t column = columns.first; column < columns.end; ++column) {
      const Lanes d = load(dy + (row * m.side_after[1] + column) * kLanes);
      const float *at = x + (begin + column * m.stride[1]) * pixel;
#pragma GCC unroll 8
      for (int in = 0; in < kCount; ++in) sums[in] += load(at + in * kLanes) * d;
    }
  }
  add();
}

void backward_weights(const GroupedMaps &m, const float *gathered, const float *dy, int64_t row, int64_t column,
                      float *dweights) {
  const Reach rows(m, 0, row), columns(m, 1, column);
  int64_t in = 0;
  for (; in + 8 <= m.in; in += 8) correlate_channels<8>(m, rows, columns, gathered + in * kLanes, dy, dweights + in * kLanes);
  for (; in + 4 <= m.in; in += 4) correlate_channels<4>(m, rows, columns, gathered + in * kLanes, dy, dweights + in * kLanes);
  for (; in < m.in; ++in) correlate_channels<1>(m, rows, columns, gathered + in * kLanes, dy, dweights + in * kLanes);
}

}  // namespace

extern const GroupedKernels grouped_kernels = {kLanes, gather, scatter, forward, backward, backward_weights};

}  // namespace LEVEL
}  // namespace convolution
