#include "grouped.h"

#include <algorithm>

#include "grouped_kernels.h"
#include "openmp.h"
#include "processor_level.h"

namespace convolution {
namespace {

constexpr int64_t kGathered = 1 << 20;  // values at a time for the gradient of the weights, but at least those of an image

// For maps in planes, those of as many lanes as maps in blocks have here.
const GroupedKernels *kernels(int64_t lanes_of_maps) {
#ifdef HAVE_X86_LEVELS
  return processor::with_lanes(lanes_of_maps != 0 ? lanes_of_maps : lanes(), avx2::grouped_kernels, avx512::grouped_kernels);
#else
  return nullptr;
#endif
}

struct Plan {
  const GroupedKernels &k;
  GroupedMaps maps;
  Place x, y;
  int64_t lanes, images, in, out, out_of_group, blocks;  // blocks: of y
  int64_t taps, weights;                                 // places of the kernel; weights of a block
  int64_t gathered, of_x, of_y;                          // values: of x as gathered, of an image of x, of an image of y

  explicit Plan(const Shape &s)
      : k(*kernels(s.lanes)),
        maps{s.in / s.groups, {s.height, s.width}, {s.side(0), s.side(1)}, {s.kernel[0], s.kernel[1]},
             {s.stride[0], s.stride[1]}, {s.padding[0], s.padding[1]}, {s.dilation[0], s.dilation[1]}},
        x{s.height * s.width, s.lanes}, y{s.side(0) * s.side(1), s.lanes}, lanes(k.lanes), images(s.images), in(s.in),
        out(s.out), out_of_group(s.out / s.groups), blocks((s.out + lanes - 1) / lanes), taps(s.kernel[0] * s.kernel[1]),
        weights(taps * maps.in * lanes), gathered(x.pixels * maps.in * lanes), of_x(in * x.pixels), of_y(out * y.pixels) {}

  int64_t valid(int64_t block) const { return std::min(lanes, out - block * lanes); }  // lanes that are channels

  int64_t first_of(int64_t block) const { return block * lanes / out_of_group * maps.in; }  // channel of x that it reads

  void gather(const float *image, int64_t block, float *to) const {
    k.gather(image, x, first_of(block), maps.in, valid(block) / out_of_group, out_of_group, to);
  }

  void scatter(const float *from, int64_t block, Rows rows, float *image) const {
    k.scatter(from, x, maps.side[1], rows, first_of(block), maps.in, valid(block) / out_of_group, out_of_group, image);
  }

  // Where a block of an image of y is, in blocks of channels: there, or where to copy it.
  float *block_of(float *image, int64_t block, float *otherwise) const {
    return y.lanes != 0 ? image + y.of_channel(block * lanes) : otherwise;
  }

  void from_block(const float *from, int64_t block, Rows rows, float *image) const {
    if (y.lanes != 0) return;  // it is there
    const int64_t width = maps.side_after[1];
    for (int64_t lane = 0; lane < valid(block); ++lane) {
      float *to = image + y.of_channel(block * lanes + lane);
      for (int64_t i = rows.first * width; i < rows.end * width; ++i) to[i] = from[i * lanes + lane];
    }
  }

  // A block of an image of dy.
  const float *into_block(const float *image, int64_t block, float *to) const {
    if (y.lanes != 0) return image + y.of_channel(block * lanes);
    for (int64_t lane = 0; lane < lanes; ++lane) {
      if (lane >= valid(block)) {
        for (int64_t i = 0; i < y.pixels; ++i) to[i * lanes + lane] = 0;
        continue;
      }
      const float *from = image + y.of_channel(block * lanes + lane);
      for (int64_t i = 0; i < y.pixels; ++i) to[i * lanes + lane] = from[i];
    }
    return to;
  }

  // The weights [out, in, kernel] of all blocks, for the kernels; `to` has room for them.
  void weights_in(const float *from, float *to) const {
#pragma omp for schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
      for (int64_t lane = 0; lane < lanes; ++lane) {
        float *at = to + block * weights + lane;
        const float *of_channel = from + (block * lanes + lane) * maps.in * taps;
        for (int64_t in = 0; in < maps.in; ++in) {
          for (int64_t tap = 0; tap < taps; ++tap) {
            at[(tap * maps.in + in) * lanes] = lane < valid(block) ? of_channel[in * taps + tap] : 0;
          }
        }
      }
    }
  }

  void weights_out(const float *from, float *to) const {
#pragma omp for schedule(static)
    for (int64_t channel = 0; channel < out; ++channel) {
      const float *at = from + channel / lanes * weights + channel % lanes;
      for (int64_t in = 0; in < maps.in; ++in) {
        for (int64_t tap = 0; tap < taps; ++tap) to[(channel * maps.in + in) * taps + tap] = at[(tap * maps.in + in) * lanes];
      }
    }
  }
};

// work(image, block, rows, its weights, room for what is gathered, room for a block of y) for all images and blocks, and of few
// images parts of so many rows; returns whether there was memory.
template <typename Work>
bool share_out(const Plan &p, const float *weights, int64_t rows, Scratch &of_weights, Scratch &of_maps, Work work) {
  const int64_t threads = omp_get_max_threads(), own = p.gathered + p.y.pixels * p.lanes;
  float *of_blocks = of_weights.floats(p.blocks * p.weights), *maps = of_maps.floats(threads * own);
  if (of_blocks == nullptr || maps == nullptr) return false;
  const int64_t parts = std::clamp<int64_t>(threads / (p.images * p.blocks), 1, rows);
#pragma omp parallel
  {
    float *mine = maps + omp_get_thread_num() * own;
    p.weights_in(weights, of_blocks);
#pragma omp for schedule(static) collapse(3)
    for (int64_t image = 0; image < p.images; ++image) {
      for (int64_t block = 0; block < p.blocks; ++block) {
        for (int64_t part = 0; part < parts; ++part) {
          work(image, block, Rows{rows * part / parts, rows * (part + 1) / parts}, of_blocks + block * p.weights, mine,
               mine + p.gathered);
        }
      }
    }
  }
  return true;
}

}  // namespace

bool grouped_possible(const Shape &s) {
  const GroupedKernels *k = kernels(s.lanes);
  if (k == nullptr || s.groups == 1 || s.biased || s.lanes != s.lanes_after) return false;
  if (s.in == s.groups || k->lanes % (s.out / s.groups)) return false;  // depthwise, or groups that blocks would cut
  return s.kernel[0] <= kLargestKernel && s.kernel[1] <= kLargestKernel;
}

bool grouped_forward(const Shape &s, const float *x, const float *weights, float *y, Scratch &of_weights, Scratch &of_maps) {
  const Plan p(s);
  return share_out(p, weights, p.maps.side_after[0], of_weights, of_maps,
                   [&](int64_t image, int64_t block, Rows rows, const float *of_block, float *gathered, float *otherwise) {
                     float *to = p.block_of(y + image * p.of_y, block, otherwise);
                     p.gather(x + image * p.of_x, block, gathered);
                     p.k.forward(p.maps, gathered, of_block, rows, to);
                     p.from_block(to, block, rows, y + image * p.of_y);
                   });
}

bool grouped_backward(const Shape &s, const float *weights, const float *dy, float *dx, Scratch &of_weights, Scratch &of_maps) {
  const Plan p(s);
  return share_out(p, weights, p.maps.side[0], of_weights, of_maps,
                   [&](int64_t image, int64_t block, Rows rows, const float *of_block, float *gathered, float *otherwise) {
                     const float *from = p.into_block(dy + image * p.of_y, block, otherwise);
                     p.k.backward(p.maps, from, of_block, rows, gathered);
                     p.scatter(gathered, block, rows, dx + image * p.of_x);
                   });
}

bool grouped_backward_weights(const Shape &s, const float *x, const float *dy, float *dweights, Scratch &of_weights,
                              Scratch &of_maps) {
  const Plan p(s);
  const int64_t own = p.gathered + p.y.pixels * p.lanes;  // of an image and a block
  const int64_t at_once = std::clamp<int64_t>(kGathered / (p.blocks * own), 1, p.images);
  float *sums = of_weights.floats(p.blocks * p.weights), *maps = of_maps.floats(at_once * p.blocks * own);
  if (sums == nullptr || maps == nullptr) return false;
  const int64_t place = p.weights / p.taps;
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int64_t block = 0; block < p.blocks; ++block) {
      for (int64_t i = 0; i < p.weights; ++i) sums[block * p.weights + i] = 0;
    }
    for (int64_t first = 0; first < p.images; first += at_once) {
      const int64_t images = std::min(at_once, p.images - first);
#pragma omp for schedule(static) collapse(2)
      for (int64_t image = 0; image < images; ++image) {
        for (int64_t block = 0; block < p.blocks; ++block) {
          float *gathered = maps + (block * at_once + image) * own;
          p.gather(x + (first + image) * p.of_x, block, gathered);
          if (p.y.lanes == 0) p.into_block(dy + (first + image) * p.of_y, block, gathered + p.gathered);
        }
      }
      // Each place of a kernel is the work of one thread, in the order of the images. Not schedule(dynamic): with GCC's code
      // and the OpenMP that Paddle ships each thread ran such a loop whole
#pragma omp for schedule(static, 1) collapse(2)
      for (int64_t block = 0; block < p.blocks; ++block) {
        for (int64_t tap = 0; tap < p.taps; ++tap) {
          for (int64_t image = 0; image < images; ++image) {
            float *gathered = maps + (block * at_once + image) * own, *otherwise = gathered + p.gathered;
            const float *of_y = p.y.lanes == 0 ? otherwise : p.into_block(dy + (first + image) * p.of_y, block, otherwise);
            p.k.backward_weights(p.maps, gathered, of_y, tap / p.maps.kernel[1], tap % p.maps.kernel[1],
                                 sums + block * p.weights + tap * place);
          }
        }
      }
    }
    p.weights_out(sums, dweights);
  }
  return true;
}

}  // namespace convolution
