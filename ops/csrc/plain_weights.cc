#include "plain_weights.h"

#include <cstdlib>
#include <cstring>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace convolution {
namespace {

constexpr int64_t kLine = 64;  // bytes in a line of the cache

bool begins_line(const void *at) { return reinterpret_cast<uintptr_t>(at) % kLine == 0; }

// count: a multiple of 4. Past the caches where that is possible: what reads the gradient comes much later.
void write(float *to, const float *from, int64_t count) {
#ifdef __SSE2__
  if (begins_line(to)) {
    for (int64_t i = 0; i < count; i += 4) _mm_stream_ps(to + i, _mm_load_ps(from + i));
    return;
  }
#endif
  std::memcpy(to, from, count * sizeof(float));
}

void finish_writes() {
#ifdef __SSE2__
  _mm_sfence();
#endif
}

template <int kLanes>
void reorder(const float *blocked, float *plain, int64_t out, int64_t in, int64_t kernel) {
  const int64_t row = in * kernel, part = kLanes * kernel, tile = part * kLanes;
#pragma omp parallel
  {
    // Of one output, the part of its row that a tile has
    float *line = static_cast<float *>(std::aligned_alloc(kLine, (part * sizeof(float) + kLine - 1) / kLine * kLine));
    if (line == nullptr) std::abort();  // some kilobytes: nothing of the process would work any more
#pragma omp for schedule(static) collapse(2)
    for (int64_t o = 0; o < out / kLanes; ++o) {
      for (int64_t i = 0; i < in / kLanes; ++i) {
        const float *from = blocked + (o * (in / kLanes) + i) * tile;
        for (int lane = 0; lane < kLanes; ++lane) {
          for (int64_t at = 0; at < kernel; ++at) {
            for (int of_in = 0; of_in < kLanes; ++of_in) {
              line[of_in * kernel + at] = from[(at * kLanes + of_in) * kLanes + lane];
            }
          }
          write(plain + (o * kLanes + lane) * row + i * part, line, part);
        }
      }
    }
    std::free(line);
    finish_writes();
  }
}

}  // namespace

void plain_weights(const float *blocked, float *plain, int64_t out, int64_t in, int64_t kernel, int lanes) {
  if (lanes == 16) return reorder<16>(blocked, plain, out, in, kernel);
  reorder<8>(blocked, plain, out, in, kernel);
}

}  // namespace convolution
