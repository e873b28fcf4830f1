// Parts of the grouped convolution of grouped.h.
//
// A block is as many channels of y as a vector has lanes, from whole groups; the lanes of a block read different channels of x.
// `gathered` maps hold for each pixel and each of the `in` channels of x that a group reads a vector of what the lanes read:
// [height, width, in, lanes]. Weights of a block are [kernel height, kernel width, in, lanes], maps of y
// [height, width, lanes].
#pragma once

#include <cstdint>

namespace convolution {

struct GroupedMaps {
  int64_t in;             // channels of a group of x
  int64_t side[2];        // of x
  int64_t side_after[2];  // of y
  int64_t kernel[2], stride[2], padding[2], dilation[2];
};

constexpr int64_t kLargestKernel = 16;  // on a side

// Where the channels of an image are: in planes, or in blocks of `lanes` channels; 0: in planes.
struct Place {
  int64_t pixels, lanes;

  // Inlined: the code for one instruction set must not stand for that of another
  __attribute__((always_inline)) int64_t of_channel(int64_t channel) const {
    return lanes == 0 ? channel * pixels : channel / lanes * pixels * lanes + channel % lanes;
  }
  __attribute__((always_inline)) int64_t step() const { return lanes == 0 ? 1 : lanes; }  // from pixel to pixel
};

// Rows of a map.
struct Rows {
  int64_t first, end;
};

// Each is for one image and one block.
struct GroupedKernels {
  int64_t lanes;
  // From x, where `first` is the first channel of x that the block reads, and `groups` are its groups, each `share` lanes wide.
  // What further lanes read has no meaning.
  void (*gather)(const float *x, Place, int64_t first, int64_t in, int64_t groups, int64_t share, float *gathered);
  // And back, of some rows of `width` pixels: the gradient of a channel is the sum over the lanes that read it.
  void (*scatter)(const float *gathered, Place, int64_t width, Rows, int64_t first, int64_t in, int64_t groups, int64_t share,
                  float *dx);
  // Rows of y.
  void (*forward)(const GroupedMaps &, const float *gathered, const float *weights, Rows, float *y);
  // Rows of the gradient of what was gathered.
  void (*backward)(const GroupedMaps &, const float *dy, const float *weights, Rows, float *gathered);
  // Adds to the gradient of one place of the kernel, [in, lanes].
  void (*backward_weights)(const GroupedMaps &, const float *gathered, const float *dy, int64_t row, int64_t column,
                           float *dweights);
};

#ifdef HAVE_X86_LEVELS
namespace avx2 {
extern const GroupedKernels grouped_kernels;
}
namespace avx512 {
extern const GroupedKernels grouped_kernels;
}
#endif

}  // namespace convolution
