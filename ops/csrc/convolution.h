// Convolutions by oneDNN, in the layout that it finds fastest, or by code of our own: winograd.h, grouped.h.
#pragma once

#include <cstdint>

namespace convolution {

// x [images, in, height, width] and weights [out, in / groups, kernel] give y [images, out, ...]. Pairs: of height and width.
// lanes, lanes_after: x, y are in blocks of so many channels, [images, channels / lanes, height, width, lanes]; 0: as above.
// biased: with one more addend for each channel of y. bfloat16: where oneDNN convolves, factors are rounded to 16 bits,
// their products are added in float32.
struct Shape {
  int64_t images, in, height, width, out, groups;
  int64_t kernel[2], stride[2], padding[2], dilation[2];
  int64_t lanes, lanes_after;
  bool bfloat16, biased;

  int64_t side(int axis) const {  // of y
    const int64_t reach = dilation[axis] * (kernel[axis] - 1) + 1;
    return ((axis == 0 ? height : width) + 2 * padding[axis] - reach) / stride[axis] + 1;
  }
};

// When our own convolutions run in place of oneDNN's, winograd.h and grouped.h: for comparisons alone there is anything but
// kByRule.
enum Own { kNever, kByRule, kWhereverItCan };
void choose_own(Own);
Own chosen_own();

// What is computed: y, the gradient of x, or that of the weights.
enum Pass { kForward, kData, kWeights };

// Why oneDNN cannot be used here, or null. The first call opens the library.
const char *obstacle();

// In blocks of how many channels oneDNN wants feature maps here; 0 where it wants another layout.
int64_t lanes();

// All arrays are float32, without gaps. Each returns whether it was done. bias, dbias: used where biased. dx, dweights:
// null where nobody wants them; dbias comes with dweights.
bool forward(const Shape &, const float *x, const float *weights, const float *bias, float *y);
bool backward(const Shape &, const float *x, const float *weights, const float *dy, float *dx, float *dweights, float *dbias);

}  // namespace convolution
