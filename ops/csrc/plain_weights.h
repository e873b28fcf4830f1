// The gradient of a convolution's weights, from oneDNN's layout to Paddle's.
#pragma once

#include <cstdint>

namespace convolution {

// blocked: [out / lanes, in / lanes, kernel, lanes of in, lanes of out], without gaps; plain: [out, in, kernel].
// lanes: 8 or 16. Several times as fast as oneDNN's own reordering, which writes whole columns of plain in turn.
void plain_weights(const float *blocked, float *plain, int64_t out, int64_t in, int64_t kernel, int lanes);

}  // namespace convolution
