// Compiled once for each instruction set, with LEVEL as the namespace; as in cpu_kernels.cc, inline functions of C++ standard
// headers must not be called here.
#include "winograd_kernels.h"

#include "lanes.h"

namespace convolution {
namespace LEVEL {
namespace {

using namespace vectors;

constexpr int kRows = kLanes == 16 ? 14 : 6;  // of two vectors of sums, which fit into the registers
constexpr int kRowsOfWeights = kLanes / 2;  // the same, of a block of channels
constexpr int kBlocksAtOnce = 64 / kLanes;  // of channels, added up before they are added to others: rounding grows with a sum

// Which tile follows which.
struct Walk {
  int64_t image, row, column;

  Walk(const TiledMaps &maps, int64_t tile)
      : image(tile / (maps.down * maps.across)), row(tile / maps.across % maps.down), column(tile % maps.across) {}

  void next(const TiledMaps &maps) {
    if (++column < maps.across) return;
    column = 0;
    if (++row < maps.down) return;
    row = 0;
    ++image;
  }
};

// B' d of four values.
inline void into_frequencies(const Lanes (&d)[4], Lanes (&to)[4]) {
  to[0] = d[0] - d[2];
  to[1] = d[1] + d[2];
  to[2] = d[2] - d[1];
  to[3] = d[1] - d[3];
}

void into_tiles(const TiledMaps &maps, const float *x, int64_t first, int64_t count, Transformed to) {
  const int64_t plane = maps.height * maps.width * kLanes;
  for (int64_t block = 0; block < maps.blocks; ++block) {
    Walk walk(maps, first);
    float *out = to.data + block * to.tiles * kLanes;
    for (int64_t tile = 0; tile < count; ++tile, walk.next(maps), out += kLanes) {
      const float *map = x + (walk.image * maps.blocks + block) * plane;
      const int64_t top = 2 * walk.row - maps.padding[0], left = 2 * walk.column - maps.padding[1];
      Lanes half[4][4];  // [column, frequency]
      if (top >= 0 && left >= 0 && top + 4 <= maps.height && left + 4 <= maps.width) {
        const float *corner = map + (top * maps.width + left) * kLanes;
        for (int j = 0; j < 4; ++j) {
          Lanes d[4];
          for (int i = 0; i < 4; ++i) d[i] = load(corner + (i * maps.width + j) * kLanes);
          into_frequencies(d, half[j]);
        }
      } else {
        for (int j = 0; j < 4; ++j) {
          const bool across = left + j >= 0 && left + j < maps.width;
          Lanes d[4];
          for (int i = 0; i < 4; ++i) {
            const bool inside = across && top + i >= 0 && top + i < maps.height;
            d[i] = inside ? load(map + ((top + i) * maps.width + left + j) * kLanes) : Lanes{};
          }
          into_frequencies(d, half[j]);
        }
      }
      for (int i = 0; i < 4; ++i) {
        const Lanes row[4] = {half[0][i], half[1][i], half[2][i], half[3][i]};
        Lanes values[4];
        into_frequencies(row, values);
        for (int j = 0; j < 4; ++j) store(out + (4 * i + j) * to.frequency, values[j]);
      }
    }
  }
}

// A v of two values.
inline void spread(Lanes first, Lanes second, Lanes (&to)[4]) {
  to[0] = first;
  to[1] = first + second;
  to[2] = first - second;
  to[3] = -second;
}

void gradient_into_tiles(const TiledMaps &maps, const float *dy, int64_t first_block, int64_t end_block, int64_t first,
                         int64_t count, Transformed to) {
  const int64_t plane = maps.height * maps.width * kLanes;
  for (int64_t block = first_block; block < end_block; ++block) {
    Walk walk(maps, first);
    float *out = to.data + (block - first_block) * to.tiles * kLanes;
    for (int64_t tile = 0; tile < count; ++tile, walk.next(maps), out += kLanes) {
      const int64_t top = 2 * walk.row, left = 2 * walk.column;
      const float *corner = dy + (walk.image * maps.blocks + block) * plane + (top * maps.width + left) * kLanes;
      const bool right = left + 1 < maps.width, below = top + 1 < maps.height;
      Lanes half[2][4];
      const Lanes none = {};
      spread(load(corner), below ? load(corner + maps.width * kLanes) : none, half[0]);
      spread(right ? load(corner + kLanes) : none, right && below ? load(corner + (maps.width + 1) * kLanes) : none, half[1]);
      for (int i = 0; i < 4; ++i) {
        Lanes values[4];
        spread(half[0][i], half[1][i], values);
        for (int j = 0; j < 4; ++j) store(out + (4 * i + j) * to.frequency, values[j]);
      }
    }
  }
}

void out_of_tiles(const TiledMaps &maps, Transformed from, int64_t first_block, int64_t end_block, float *y, int64_t first,
                  int64_t count) {
  const int64_t plane = maps.height * maps.width * kLanes;
  for (int64_t block = first_block; block < end_block; ++block) {
    Walk walk(maps, first);
    const float *in = from.data + (block - first_block) * from.tiles * kLanes;
    for (int64_t tile = 0; tile < count; ++tile, walk.next(maps), in += kLanes) {
      const int64_t top = 2 * walk.row, left = 2 * walk.column;
      float *corner = y + (walk.image * maps.blocks + block) * plane + (top * maps.width + left) * kLanes;
      Lanes upper[4], lower[4];
      for (int j = 0; j < 4; ++j) {
        Lanes m[4];
        for (int i = 0; i < 4; ++i) m[i] = load(in + (4 * i + j) * from.frequency);
        upper[j] = m[0] + m[1] + m[2];
        lower[j] = m[1] - m[2] - m[3];
      }
      const bool right = left + 1 < maps.width;
      store(corner, upper[0] + upper[1] + upper[2]);
      if (right) store(corner + kLanes, upper[1] - upper[2] - upper[3]);
      if (top + 1 >= maps.height) continue;
      corner += maps.width * kLanes;
      store(corner, lower[0] + lower[1] + lower[2]);
      if (right) store(corner + kLanes, lower[1] - lower[2] - lower[3]);
    }
  }
}

constexpr int kKernel = 9;                    // values of a kernel
constexpr int kKernels = kKernel * kLanes;  // of a block of channels

// G w of three values.
inline void weight_frequencies(const Lanes (&w)[3], Lanes (&to)[4]) {
  const Lanes ends = 0.5f * (w[0] + w[2]), middle = 0.5f * w[1];
  to[0] = w[0];
  to[1] = ends + middle;
  to[2] = ends - middle;
  to[3] = w[2];
}

// G w G' of the kernel w [3, 3].
inline void transform_kernel(const Lanes *w, float *to, int64_t frequency) {
  Lanes half[3][4];
  for (int j = 0; j < 3; ++j) {
    const Lanes column[3] = {w[j], w[3 + j], w[6 + j]};
    weight_frequencies(column, half[j]);
  }
  for (int i = 0; i < 4; ++i) {
    const Lanes row[3] = {half[0][i], half[1][i], half[2][i]};
    Lanes values[4];
    weight_frequencies(row, values);
    for (int j = 0; j < 4; ++j) store(to + (4 * i + j) * frequency, values[j]);
  }
}

void weights_in(const float *weights, int64_t row, bool turned, float *transformed, int64_t frequency) {
  if (turned) {
    float kernels[kKernels + kLanes];  // of one channel of in: each out has a row of nine, and what follows is not looked at
    for (int i = 0; i < kLanes; ++i) kernels[kKernels + i] = 0;
    for (int in = 0; in < kLanes; ++in) {
      for (int i = 0; i < kKernels; i += kLanes) store(kernels + i, load(weights + in * row + i));
      Lanes rows[kLanes], w[kKernel];
      for (int out = 0; out < kLanes; ++out) rows[out] = load(kernels + out * kKernel);
      transpose(rows);
      if constexpr (kLanes >= kKernel) {
        for (int i = 0; i < kKernel; ++i) w[i] = rows[kKernel - 1 - i];
      } else {
        for (int i = 0; i < kLanes; ++i) w[kKernel - 1 - i] = rows[i];
        for (int out = 0; out < kLanes; ++out) w[0][out] = kernels[out * kKernel + kKernel - 1];
      }
      transform_kernel(w, transformed + in * 2 * kLanes, frequency);
    }
    return;
  }
  Lanes kernels[kKernels];
  for (int i = 0; i < kKernels; i += kLanes) {
    Lanes rows[kLanes];
    for (int out = 0; out < kLanes; ++out) rows[out] = load(weights + out * row + i);
    transpose(rows);
    for (int j = 0; j < kLanes; ++j) kernels[i + j] = rows[j];
  }
  for (int in = 0; in < kLanes; ++in) transform_kernel(kernels + in * kKernel, transformed + in * 2 * kLanes, frequency);
}

// G' u of four values.
inline void weight_gradient(const Lanes (&u)[4], Lanes (&to)[3]) {
  const Lanes sum = 0.5f * (u[1] + u[2]);
  to[0] = u[0] + sum;
  to[1] = 0.5f * (u[1] - u[2]);
  to[2] = sum + u[3];
}

void weights_out(const float *transformed, int64_t frequency, float *weights, int64_t row) {
  Lanes kernels[kKernels];
  for (int in = 0; in < kLanes; ++in) {
    Lanes half[4][3];
    for (int j = 0; j < 4; ++j) {
      Lanes u[4];
      for (int i = 0; i < 4; ++i) u[i] = load(transformed + (4 * i + j) * frequency + in * 2 * kLanes);
      weight_gradient(u, half[j]);
    }
    for (int i = 0; i < 3; ++i) {
      const Lanes of_row[4] = {half[0][i], half[1][i], half[2][i], half[3][i]};
      Lanes values[3];
      weight_gradient(of_row, values);
      for (int j = 0; j < 3; ++j) kernels[in * kKernel + 3 * i + j] = values[j];
    }
  }
  for (int i = 0; i < kKernels; i += kLanes) {
    Lanes rows[kLanes];
    for (int j = 0; j < kLanes; ++j) rows[j] = kernels[i + j];
    transpose(rows);
    for (int out = 0; out < kLanes; ++out) store(weights + out * row + i, rows[out]);
  }
}

template <int kCount>
void multiply_rows(const float *from, int64_t in_blocks, int64_t tiles, const float *weights, float *to, int64_t of_block) {
  for (int64_t begin = 0; begin < in_blocks; begin += kBlocksAtOnce) {
    const int64_t end = begin + kBlocksAtOnce < in_blocks ? begin + kBlocksAtOnce : in_blocks;
    Lanes sums[kCount][2] = {};
    for (int64_t block = begin; block < end; ++block, from += tiles * kLanes) {
      for (int in = 0; in < kLanes; ++in, weights += 2 * kLanes) {
        const Lanes first = load(weights), second = load(weights + kLanes);
#pragma GCC unroll 16
        for (int row = 0; row < kCount; ++row) {
          const Lanes value = from[row * kLanes + in] - Lanes{};
          sums[row][0] += value * first;
          sums[row][1] += value * second;
        }
      }
    }
#pragma GCC unroll 16
    for (int row = 0; row < kCount; ++row) {
      float *at = to + row * kLanes, *at_second = at + of_block;
      store(at, begin == 0 ? sums[row][0] : load(at) + sums[row][0]);
      store(at_second, begin == 0 ? sums[row][1] : load(at_second) + sums[row][1]);
    }
  }
}

using MultiplyRows = void (*)(const float *, int64_t, int64_t, const float *, float *, int64_t);
constexpr MultiplyRows kMultiplyRows[] = {
    nullptr,          multiply_rows<1>, multiply_rows<2>, multiply_rows<3>, multiply_rows<4>,  multiply_rows<5>,
    multiply_rows<6>,
#ifdef __AVX512F__
    multiply_rows<7>, multiply_rows<8>, multiply_rows<9>, multiply_rows<10>, multiply_rows<11>, multiply_rows<12>,
    multiply_rows<13>, multiply_rows<14>,
#endif
};

void multiply(const float *from, int64_t in_blocks, int64_t tiles, const float *weights, float *to, int64_t of_block,
              int64_t count) {
  int64_t groups = (count + kRows - 1) / kRows;
  for (; groups > 0; --groups) {  // of nearly equal size
    const int64_t rows = (count + groups - 1) / groups;
    kMultiplyRows[rows](from, in_blocks, tiles, weights, to, of_block);
    from += rows * kLanes;
    to += rows * kLanes;
    count -= rows;
  }
}

void correlate(const float *x, const float *dy, int64_t of_block, int64_t count, float *weights, bool add) {
  for (int begin = 0; begin < kLanes; begin += kRowsOfWeights) {
    float *to = weights + begin * 2 * kLanes;
    Lanes sums[kRowsOfWeights][2] = {};
    for (int64_t tile = 0; tile < count; ++tile) {
      const Lanes first = load(dy + tile * kLanes), second = load(dy + of_block + tile * kLanes);
      const float *values = x + tile * kLanes + begin;
#pragma GCC unroll 16
      for (int row = 0; row < kRowsOfWeights; ++row) {
        const Lanes value = values[row] - Lanes{};
        sums[row][0] += value * first;
        sums[row][1] += value * second;
      }
    }
#pragma GCC unroll 16
    for (int row = 0; row < kRowsOfWeights; ++row) {
      float *at = to + row * 2 * kLanes;
      store(at, add ? load(at) + sums[row][0] : sums[row][0]);
      store(at + kLanes, add ? load(at + kLanes) + sums[row][1] : sums[row][1]);
    }
  }
}

}  // namespace

extern const WinogradKernels winograd_kernels = {kLanes,     into_tiles,  gradient_into_tiles, out_of_tiles,
                                                 weights_in, weights_out, multiply,            correlate};

}  // namespace LEVEL
}  // namespace convolution
