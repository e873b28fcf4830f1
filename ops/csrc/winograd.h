// Winograd's convolution F(2x2, 3x3), on feature maps in blocks of channels: 16 products where a 3x3 convolution multiplies 36
// times for 2 x 2 pixels of y. Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section 4.1.
//
//   y = A' [(G w G') * (B' x B)] A        * multiplies value by value, and the sum over the channels comes before A
//
// The gradient of x is such a convolution of dy with the kernels turned; that of the weights is G' [(A dy A') * (B' x B)] G,
// summed over the tiles before G. In float32 the error stays within twice that of multiplying 36 times: see kBlocksAtOnce.
#pragma once

#include "convolution.h"
#include "scratch.h"

namespace convolution {

// Whether this pass is to run so: whether there is code for it, and by a rule with measurements behind it, a gain.
bool winograd_wanted(const Shape &, Pass);

// For what is wanted so; all arrays as in convolution.h. Each returns whether there was memory for it.
bool winograd_forward(const Shape &, const float *x, const float *weights, float *y, Scratch &of_weights, Scratch &of_tiles);
bool winograd_backward(const Shape &, const float *weights, const float *dy, float *dx, Scratch &of_weights, Scratch &of_tiles);
bool winograd_backward_weights(const Shape &, const float *x, const float *dy, float *dweights, Scratch &of_weights,
                               Scratch &of_tiles);

}  // namespace convolution
