// The convolution in groups whose channels of y fit into a vector, a lane for each, whatever group it is of. oneDNN convolves
// many of these image by image through matrices (im2col), with the padding multiplied too: nearly all of a 9 x 9 kernel on a
// map of four pixels. Here what a lane reads of x is gathered first, so that a grouped convolution is as many depthwise ones
// as a group has channels, and the padding is left out.
#pragma once

#include "convolution.h"
#include "scratch.h"

namespace convolution {

// Whether there is code for it.
bool grouped_possible(const Shape &);

// For what is possible so; all arrays as in convolution.h. Each returns whether there was memory for it.
bool grouped_forward(const Shape &, const float *x, const float *weights, float *y, Scratch &of_weights, Scratch &of_maps);
bool grouped_backward(const Shape &, const float *weights, const float *dy, float *dx, Scratch &of_weights, Scratch &of_maps);
bool grouped_backward_weights(const Shape &, const float *x, const float *dy, float *dweights, Scratch &of_weights,
                              Scratch &of_maps);

}  // namespace convolution
