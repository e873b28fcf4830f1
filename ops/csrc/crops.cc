// A part of a photograph in memory, resized and mirrored: what training does with a photograph of data/photograph_cache.py.
//
// Bilinear with support over all pixels that lie behind one of the result (a triangle as wide as the reduction), first across,
// then down, with eight bits between the two, as Pillow's resize does; weights have 15 bits, Pillow's 22, so a result differs by
// one now and then. The photograph is stored by columns, so that both directions add whole lines of neighbours, which any
// compiler turns into vector instructions of any processor; between them the columns are turned into rows.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int kUnit = 1 << 15;  // the sum of a result's weights

struct Taps {
  int first, count;
};

struct Weights {
  std::vector<Taps> taps;     // of each result
  std::vector<uint16_t> all;  // `most` for each result
  int most;

  // Of `out` results over the part from `low` to `high` of a line of `length` pixels.
  Weights(int length, double low, double high, int out) : taps(out) {
    const double scale = (high - low) / out, support = std::max(scale, 1.0);
    most = static_cast<int>(std::ceil(support)) * 2 + 1;
    all.assign(static_cast<size_t>(out) * most, 0);
    std::vector<double> exact(most);
    for (int place = 0; place < out; place++) {
      const double center = low + (place + 0.5) * scale;
      const int first = std::clamp(static_cast<int>(center - support + 0.5), 0, length - 1);
      const int end = std::clamp(static_cast<int>(center + support + 0.5), first + 1, std::min(length, first + most));
      double total = 0;
      for (int i = 0; i < end - first; i++) {
        exact[i] = std::max(0.0, 1 - std::abs(i + first - center + 0.5) / support);
        total += exact[i];
      }
      if (total <= 0) {  // a box of no width between two pixels
        exact[0] = total = 1;
      }
      uint16_t* weights = of(place);
      int left = kUnit, heaviest = 0;
      for (int i = 0; i < end - first; i++) {
        weights[i] = static_cast<uint16_t>(exact[i] / total * kUnit + 0.5);
        left -= weights[i];
        heaviest = weights[i] > weights[heaviest] ? i : heaviest;
      }
      weights[heaviest] = static_cast<uint16_t>(weights[heaviest] + left);  // an even surface stays as it is
      int count = end - first;
      while (count > 1 && !weights[count - 1]) {
        count--;
      }
      taps[place] = {first, count};
    }
  }

  uint16_t* of(int place) { return &all[static_cast<size_t>(place) * most]; }
  int first() const { return taps.front().first; }
  int end() const { return taps.back().first + taps.back().count; }
};

// pixel * weight, with seven bits behind the point: the upper half of a product of 16 bits, one instruction for a vector.
inline uint16_t part(uint8_t pixel, uint16_t weight) {
  return static_cast<uint16_t>((static_cast<uint32_t>(static_cast<uint16_t>(pixel << 8)) * weight) >> 16);
}

inline uint8_t rounded(uint16_t sum) { return static_cast<uint8_t>(sum >> 7); }

// The sum of `count` lines of `length` pixels, `stride` apart, each times its weight. `sums`: room for as many numbers.
void combine(const uint8_t* __restrict lines, size_t stride, const uint16_t* weights, int count, int length,
             uint8_t* __restrict out, uint16_t* __restrict sums) {
  const uint16_t half = static_cast<uint16_t>(64 + count / 2);  // each part has lost half a last bit on average
  if (count == 1) {
    std::memcpy(out, lines, length);
  } else if (count == 2) {
    const uint16_t a = weights[0], b = weights[1];
    const uint8_t* second = lines + stride;
    for (int i = 0; i < length; i++) {
      out[i] = rounded(static_cast<uint16_t>(half + part(lines[i], a) + part(second[i], b)));
    }
  } else if (count == 3) {
    const uint16_t a = weights[0], b = weights[1], c = weights[2];
    const uint8_t *second = lines + stride, *third = second + stride;
    for (int i = 0; i < length; i++) {
      out[i] = rounded(static_cast<uint16_t>(half + part(lines[i], a) + part(second[i], b) + part(third[i], c)));
    }
  } else {
    std::fill(sums, sums + length, half);
    for (int line = 0; line < count; line++, lines += stride) {
      const uint16_t weight = weights[line];
      for (int i = 0; i < length; i++) {
        sums[i] = static_cast<uint16_t>(sums[i] + part(lines[i], weight));
      }
    }
    for (int i = 0; i < length; i++) {
      out[i] = rounded(sums[i]);
    }
  }
}

inline void exchange(uint64_t& low, uint64_t& high, int bits, uint64_t mask) {
  const uint64_t differing = ((low >> bits) ^ high) & mask;
  high ^= differing;
  low ^= differing << bits;
}

// Eight lines of eight pixels become the columns of each other: halves, quarters, eighths change places.
inline void transpose(const uint8_t* in, size_t in_stride, uint8_t* out, size_t out_stride) {
  uint64_t lines[8];
  for (int i = 0; i < 8; i++) {
    std::memcpy(&lines[i], in + i * in_stride, 8);
  }
  for (int i = 0; i < 4; i++) {
    exchange(lines[i], lines[i + 4], 32, 0x00000000FFFFFFFFull);
  }
  for (int i : {0, 1, 4, 5}) {
    exchange(lines[i], lines[i + 2], 16, 0x0000FFFF0000FFFFull);
  }
  for (int i = 0; i < 8; i += 2) {
    exchange(lines[i], lines[i + 1], 8, 0x00FF00FF00FF00FFull);
  }
  for (int i = 0; i < 8; i++) {
    std::memcpy(out + i * out_stride, &lines[i], 8);
  }
}

size_t rounded_up(int number) { return (static_cast<size_t>(number) + 7) / 8 * 8; }

}  // namespace

// in: [3, width, height], a photograph by columns. box: left, top, right, bottom, within it. out: [3, size, size], by rows.
// Returns 0; 1 where the memory does not suffice.
extern "C" int resized_crop(const uint8_t* in, int width, int height, const double* box, int size, int mirrored, uint8_t* out) {
  try {
    Weights across(width, box[0], box[2], size), down(height, box[1], box[3], size);
    const int top = down.first(), rows = down.end() - top;
    const size_t row = rounded_up(size), column = rounded_up(rows);
    std::vector<uint8_t> columns(row * column), lines(row * column);
    std::vector<uint16_t> sums(std::max(row, column));
    for (int channel = 0; channel < 3; channel++) {
      const uint8_t* plane = in + static_cast<size_t>(channel) * width * height + top;
      for (int x = 0; x < size; x++) {
        const int from = mirrored ? size - 1 - x : x;
        const Taps taps = across.taps[from];
        combine(plane + static_cast<size_t>(taps.first) * height, height, across.of(from), taps.count, rows, &columns[x * column],
                sums.data());
      }
      for (size_t x = 0; x < row; x += 8) {
        for (size_t y = 0; y < column; y += 8) {
          transpose(&columns[x * column + y], column, &lines[y * row + x], row);
        }
      }
      for (int y = 0; y < size; y++) {
        const Taps taps = down.taps[y];
        combine(&lines[(taps.first - top) * row], row, down.of(y), taps.count, size,
                out + (static_cast<size_t>(channel) * size + y) * size, sums.data());
      }
    }
    return 0;
  } catch (...) {
    return 1;
  }
}
