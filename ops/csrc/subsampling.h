// A convolution with a kernel of one pixel and a stride reads some pixels of x alone. oneDNN takes up to twice as long for the
// gradient of its x as for the gradient of a map of these pixels, in a convolution with stride 1.
#pragma once

#include "convolution.h"

namespace convolution {

// Whether it is such a one, of maps in blocks of channels.
bool reads_some_pixels(const Shape &);

// The same with stride 1, of a map of the pixels that are read.
Shape of_pixels_read(const Shape &);

// The gradient of x [images, blocks, height, width, lanes] from that of these pixels, with zeros in between.
void scatter(const Shape &, const float *pixels, float *dx);

}  // namespace convolution
