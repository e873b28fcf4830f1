// Parts of Winograd's convolution F(2x2, 3x3) on feature maps in blocks of channels: see winograd.h.
//
// A tile is a square of 2 x 2 pixels of y and the 4 x 4 pixels of x that they come from; tiles overlap in x by two pixels, and
// count along rows, then columns, then images. In the transformed domain each has 16 values for each channel, its frequencies.
// Arrays there are [16, channels / lanes, tiles, lanes], with a gap between frequencies, and weights
// [16, out / (2 lanes), in, 2 lanes].
#pragma once

#include <cstdint>

namespace convolution {

constexpr int kFrequencies = 16;

// Maps [images, blocks of channels, height, width, lanes], cut into tiles that begin `padding` pixels before them.
struct TiledMaps {
  int64_t blocks, height, width, padding[2];
  int64_t down, across;  // tiles of an image
};

// Arrays of transformed tiles: `tiles` of each block, and `frequency` values from one frequency to the next.
struct Transformed {
  float *data;
  int64_t tiles, frequency;
};

struct WinogradKernels {
  int64_t lanes;
  // Those `count` tiles of x that begin with `first`, to the first of `to`: B' d B of Winograd's algorithm.
  void (*into_tiles)(const TiledMaps &, const float *x, int64_t first, int64_t count, Transformed to);
  // The same of the blocks `first_block` to `end_block` of dy, 2 x 2 pixels a tile: A dy A'.
  void (*gradient_into_tiles)(const TiledMaps &, const float *dy, int64_t first_block, int64_t end_block, int64_t first,
                              int64_t count, Transformed to);
  // The blocks `first_block` to `end_block` of y from their tiles, whose blocks count from `first_block`: A' m A.
  void (*out_of_tiles)(const TiledMaps &, Transformed from, int64_t first_block, int64_t end_block, float *y, int64_t first,
                       int64_t count);
  // A block of in and a block of out of the weights [out, in, 3, 3], whose rows of in are `row` values apart, to or from
  // `transformed` at their place, with `frequency` values from one frequency to the next and 2 lanes from one channel of in to
  // the next: G w G', and G' dw G. turned: `weights` are [in, out, 3, 3], and each kernel is turned by half a circle.
  void (*weights_in)(const float *weights, int64_t row, bool turned, float *transformed, int64_t frequency);
  void (*weights_out)(const float *transformed, int64_t frequency, float *weights, int64_t row);
  // Of one frequency: to[tile, out] = the sum over in of from[tile, in] * weights[in, out], for `count` tiles and a pair of
  // blocks of out, `of_block` apart.
  void (*multiply)(const float *from, int64_t in_blocks, int64_t tiles, const float *weights, float *to, int64_t of_block,
                   int64_t count);
  // Of one frequency: weights[in, out] = or += the sum over tiles of x[tile, in] * dy[tile, out], for one block of in and a
  // pair of blocks of out, `of_block` apart.
  void (*correlate)(const float *x, const float *dy, int64_t of_block, int64_t count, float *weights, bool add);
};

#ifdef HAVE_X86_LEVELS
namespace avx2 {
extern const WinogradKernels winograd_kernels;
}
namespace avx512 {
extern const WinogradKernels winograd_kernels;
}
#endif

}  // namespace convolution
