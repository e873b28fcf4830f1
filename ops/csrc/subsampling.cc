#include "subsampling.h"

#include <cstring>

namespace convolution {

bool reads_some_pixels(const Shape &s) {
  const bool one_pixel = s.kernel[0] == 1 && s.kernel[1] == 1 && s.padding[0] == 0 && s.padding[1] == 0;
  return one_pixel && (s.stride[0] > 1 || s.stride[1] > 1) && s.lanes > 0 && s.lanes == s.lanes_after;
}

Shape of_pixels_read(const Shape &s) {
  Shape dense = s;
  dense.height = s.side(0);
  dense.width = s.side(1);
  dense.stride[0] = dense.stride[1] = 1;
  return dense;
}

void scatter(const Shape &s, const float *pixels, float *dx) {
  const int64_t rows = s.images * (s.in / s.lanes) * s.height, width = s.side(1);
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t map = row / s.height, top = row % s.height;
    float *to = dx + row * s.width * s.lanes;
    std::memset(to, 0, s.width * s.lanes * sizeof(float));
    if (top % s.stride[0]) continue;
    const float *from = pixels + (map * s.side(0) + top / s.stride[0]) * width * s.lanes;
    for (int64_t i = 0; i < width; ++i) {
      std::memcpy(to + i * s.stride[1] * s.lanes, from + i * s.lanes, s.lanes * sizeof(float));
    }
  }
}

}  // namespace convolution
