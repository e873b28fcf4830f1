#include "winograd.h"

#include <algorithm>

#include "openmp.h"
#include "processor_level.h"
#include "winograd_kernels.h"

namespace convolution {
namespace {

constexpr int64_t kKernel = 9;  // values of a kernel
constexpr int64_t kGap = 16;    // values between frequencies: the 16 of a tile shall not fall into one set of the cache

// Sizes, in values: of the transformed weights at a time, which stay in a cache that the threads share; of the tiles of a
// thread at a time, which stay in its own (forward) or, with those of the other threads, in the shared one (weights).
constexpr int64_t kWeightsAtOnce = 1 << 20, kTilesForward = 1 << 18, kTilesOfWeights = 1 << 19;
constexpr int64_t kLeastTiles = 28;  // in a chunk, where there are as many: for fewer, reading the weights takes the time
constexpr int64_t kTilesAtOnce = 32;  // of dy stay in the first cache; added up by themselves, as rounding grows with a sum

// By what factor fewer products have to be worth it. What was measured is in docs/performance.md.
constexpr double kLeastGain = 1.4, kLeastGainOfOneTile = 1.0, kLeastGainOfWeights = 0.75;
constexpr int64_t kLeastTilesOfMaps = 32;  // fewer do not repay the transformation of the weights

int64_t quotient_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

const WinogradKernels *kernels(int64_t lanes) {
#ifdef HAVE_X86_LEVELS
  return processor::with_lanes(lanes, avx2::winograd_kernels, avx512::winograd_kernels);
#else
  return nullptr;
#endif
}

// Products of a row or column with one of a kernel, without those with the padding: 36 a tile only in the midst of a map.
int64_t products(int64_t side, int64_t padding, int64_t side_after) {
  int64_t sum = 0;
  for (int64_t at = -padding; at < side_after - padding; ++at) {
    sum += std::max<int64_t>(std::min(at + 3, side) - std::max<int64_t>(at, 0), 0);
  }
  return sum;
}

// One pass: how `from` (x, or dy where dx is wanted) and `to` (y or dx) are cut, and how the work is shared out.
struct Plan {
  const WinogradKernels &k;
  bool back;  // to is dx: the kernels are turned
  int64_t lanes, in, tiles, pairs, threads;  // in: channels of `from`; pairs: of blocks of channels of `to`
  TiledMaps from, to;
  int64_t pair, pairs_at_once, frequency;  // transformed weights: values of a pair at one frequency; steps between frequencies

  Plan(const Shape &s, bool back)
      : k(*kernels(s.lanes)), back(back), lanes(s.lanes), in(back ? s.out : s.in), threads(omp_get_max_threads()) {
    const int64_t x[] = {s.in / lanes, s.height, s.width}, y[] = {s.out / lanes, s.side(0), s.side(1)};
    const int64_t *before = back ? y : x, *after = back ? x : y;
    const int64_t down = quotient_up(after[1], 2), across = quotient_up(after[2], 2);
    from = {before[0], before[1], before[2], {s.padding[0], s.padding[1]}, down, across};
    if (back) from.padding[0] = 2 - s.padding[0], from.padding[1] = 2 - s.padding[1];
    to = {after[0], after[1], after[2], {0, 0}, down, across};
    tiles = s.images * down * across;
    pairs = to.blocks / 2;
    pair = in * 2 * lanes;
    pairs_at_once = std::clamp<int64_t>(kWeightsAtOnce / (kFrequencies * pair), 1, pairs);
    frequency = pairs_at_once * pair + kGap;
  }

  float *room_of_weights(Scratch &scratch) const { return scratch.floats(kFrequencies * frequency); }

  // Where the transformed weights of a block of `from` and a block of `to`, counted from those at work, begin.
  int64_t transformed(int64_t from_block, int64_t to_block) const {
    return to_block / 2 * pair + (from_block * 2 * lanes + to_block % 2) * lanes;
  }
};

bool convolve(const Plan &p, const float *x, const float *weights, float *y, Scratch &of_weights, Scratch &of_tiles) {
  const int64_t most = std::max(kTilesForward / (kFrequencies * (p.in + p.pairs_at_once * 2 * p.lanes)), kLeastTiles);
  int64_t chunks = std::max(quotient_up(p.tiles, most), std::clamp<int64_t>(p.tiles / kLeastTiles, 1, p.threads));
  if (chunks > p.threads) chunks = quotient_up(chunks, p.threads) * p.threads;
  // Where there are fewer chunks than threads, several threads share one, for different channels
  const int64_t shares = std::clamp<int64_t>(p.threads / chunks, 1, p.pairs_at_once), size = quotient_up(p.tiles, chunks);
  const int64_t from_step = p.in * size + kGap;
  const int64_t to_step = quotient_up(p.pairs_at_once, shares) * 2 * p.lanes * size + kGap;
  const int64_t of_thread = kFrequencies * (from_step + to_step);
  float *transformed = p.room_of_weights(of_weights);
  float *room = of_tiles.floats(p.threads * of_thread);
  if (transformed == nullptr || room == nullptr) return false;
  const int64_t row = kKernel * (p.back ? p.to.blocks * p.lanes : p.in), block = kKernel * p.lanes;
#pragma omp parallel
  {
    float *mine = room + omp_get_thread_num() * of_thread;
    const Transformed from = {mine, size, from_step}, to = {mine + kFrequencies * from_step, size, to_step};
    for (int64_t first_pair = 0; first_pair < p.pairs; first_pair += p.pairs_at_once) {
      const int64_t pairs = std::min(p.pairs_at_once, p.pairs - first_pair);
#pragma omp for schedule(static) collapse(2)
      for (int64_t o = 0; o < 2 * pairs; ++o) {
        for (int64_t i = 0; i < p.from.blocks; ++i) {
          const int64_t out = 2 * first_pair + o, major = p.back ? i : out, minor = p.back ? out : i;
          p.k.weights_in(weights + major * p.lanes * row + minor * block, row, p.back, transformed + p.transformed(i, o),
                         p.frequency);
        }
      }
#pragma omp for schedule(static) collapse(2)
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        for (int64_t share = 0; share < shares; ++share) {
          const int64_t first = p.tiles * chunk / chunks, count = p.tiles * (chunk + 1) / chunks - first;
          const int64_t begin = pairs * share / shares, end = pairs * (share + 1) / shares;
          p.k.into_tiles(p.from, x, first, count, from);
          for (int f = 0; f < kFrequencies; ++f) {
            for (int64_t pair = begin; pair < end; ++pair) {
              p.k.multiply(from.data + f * from_step, p.from.blocks, size, transformed + f * p.frequency + pair * p.pair,
                           to.data + f * to_step + (pair - begin) * 2 * size * p.lanes, size * p.lanes, count);
            }
          }
          p.k.out_of_tiles(p.to, to, 2 * (first_pair + begin), 2 * (first_pair + end), y, first, count);
        }
      }
    }
  }
  return true;
}

}  // namespace

bool winograd_wanted(const Shape &s, Pass pass) {
  bool fits = s.groups == 1 && !s.biased && !s.bfloat16 && s.lanes == s.lanes_after && kernels(s.lanes) != nullptr;
  for (int axis : {0, 1}) {
    fits = fits && s.kernel[axis] == 3 && s.stride[axis] == 1 && s.dilation[axis] == 1 && s.padding[axis] <= 2;
  }
  if (!fits || s.in % (2 * s.lanes) || s.out % (2 * s.lanes)) return false;
  if (chosen_own() != kByRule) return chosen_own() == kWhereverItCan;
  const bool back = pass == kData;
  const int64_t sides[] = {back ? s.height : s.side(0), back ? s.width : s.side(1)};
  const int64_t tiles = quotient_up(sides[0], 2) * quotient_up(sides[1], 2);
  const int64_t direct = products(s.height, s.padding[0], s.side(0)) * products(s.width, s.padding[1], s.side(1));
  const double gain = double(direct) / double(kFrequencies * tiles);
  if (pass == kWeights) return gain >= kLeastGainOfWeights;
  return gain >= (tiles == 1 ? kLeastGainOfOneTile : kLeastGain) && s.images * tiles >= kLeastTilesOfMaps;
}

bool winograd_forward(const Shape &s, const float *x, const float *weights, float *y, Scratch &of_weights, Scratch &of_tiles) {
  return convolve(Plan(s, false), x, weights, y, of_weights, of_tiles);
}

bool winograd_backward(const Shape &s, const float *weights, const float *dy, float *dx, Scratch &of_weights,
                       Scratch &of_tiles) {
  return convolve(Plan(s, true), dy, weights, dx, of_weights, of_tiles);
}

bool winograd_backward_weights(const Shape &s, const float *x, const float *dy, float *dweights, Scratch &of_weights,
                               Scratch &of_tiles) {
  const Plan p(s, false);
  const int64_t values = p.tiles * (p.in + p.pairs_at_once * 2 * p.lanes) * kFrequencies;
  const int64_t chunks = quotient_up(values, kTilesOfWeights * p.threads), size = quotient_up(p.tiles, chunks);
  const int64_t from_step = p.in * size + kGap, to_step = p.pairs_at_once * 2 * p.lanes * size + kGap;
  float *sums = p.room_of_weights(of_weights);
  float *room = of_tiles.floats(kFrequencies * (from_step + to_step));
  if (sums == nullptr || room == nullptr) return false;
  float *const from = room, *const to = room + kFrequencies * from_step;
  const int64_t row = kKernel * p.in, block = kKernel * p.lanes;
#pragma omp parallel
  {
    const int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
    for (int64_t first_pair = 0; first_pair < p.pairs; first_pair += p.pairs_at_once) {
      const int64_t pairs = std::min(p.pairs_at_once, p.pairs - first_pair);
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const int64_t first = p.tiles * chunk / chunks, count = p.tiles * (chunk + 1) / chunks - first;
        const int64_t begin = count * thread / threads, share = count * (thread + 1) / threads - begin;
        p.k.into_tiles(p.from, x, first + begin, share, {from + begin * p.lanes, size, from_step});
        p.k.gradient_into_tiles(p.to, dy, 2 * first_pair, 2 * (first_pair + pairs), first + begin, share,
                                {to + begin * p.lanes, size, to_step});
#pragma omp barrier
#pragma omp for schedule(static) collapse(2)
        for (int f = 0; f < kFrequencies; ++f) {
          for (int64_t pair = 0; pair < pairs; ++pair) {
            for (int64_t tile = 0; tile < count; tile += kTilesAtOnce) {
              const float *of_to = to + f * to_step + (pair * 2 * size + tile) * p.lanes;
              for (int64_t i = 0; i < p.from.blocks; ++i) {
                p.k.correlate(from + f * from_step + (i * size + tile) * p.lanes, of_to, size * p.lanes,
                              std::min(count - tile, kTilesAtOnce), sums + f * p.frequency + p.transformed(i, 2 * pair),
                              chunk > 0 || tile > 0);
              }
            }
          }
        }
      }
#pragma omp for schedule(static) collapse(2)
      for (int64_t o = 0; o < 2 * pairs; ++o) {
        for (int64_t i = 0; i < p.from.blocks; ++i) {
          p.k.weights_out(sums + p.transformed(i, o), p.frequency, dweights + (2 * first_pair + o) * p.lanes * row + i * block,
                          row);
        }
      }
    }
  }
  return true;
}

}  // namespace convolution
