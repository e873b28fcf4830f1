// Vectors of as many floats as a block of channels has, for code that is compiled once for each instruction set. All is
// internal to a file: the code for one instruction set must not stand for that of another.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <utility>  // for a type alone

namespace vectors {
namespace {

#ifdef __AVX512F__
constexpr int kLanes = 16;
#else
constexpr int kLanes = 8;
#endif

typedef float Lanes __attribute__((vector_size(4 * kLanes)));
typedef int32_t Whole __attribute__((vector_size(4 * kLanes)));
typedef float Stored __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));  // in memory, at any address

inline Lanes load(const float *at) { return *reinterpret_cast<const Stored *>(at); }
inline void store(float *at, Lanes values) { *reinterpret_cast<Stored *>(at) = values; }

// Each lane as one of the other type; to whole numbers it cuts off.
template <typename To, typename From>
inline To converted(From values) {
#if defined(__clang__) || __GNUC__ >= 9
  return __builtin_convertvector(values, To);
#else
  To found;
  for (int lane = 0; lane < kLanes; ++lane) found[lane] = values[lane];
  return found;
#endif
}

// The lanes of both at these places; those of b come after those of a. Written as a loop over lanes, GCC 12 takes up to four
// instructions for each of them.
template <size_t... PLACES>
inline Lanes picked(Lanes a, Lanes b, std::index_sequence<PLACES...>) {
#ifdef __clang__
  return __builtin_shufflevector(a, b, int(PLACES)...);
#else
  return __builtin_shuffle(a, b, Whole{int32_t(PLACES)...});
#endif
}

// values[places[0]], values[places[1]], ...; by clang a lane at a time
inline Lanes arranged(Lanes values, Whole places) {
#ifdef __clang__
  Lanes found;
  for (int lane = 0; lane < kLanes; ++lane) found[lane] = values[places[lane]];
  return found;
#else
  return __builtin_shuffle(values, places);
#endif
}

// One step of a transposition: of each two rows kStep apart, the corners of the squares of kStep x kStep change places.
template <int kStep, size_t... LANE>
inline void exchange(Lanes (&rows)[kLanes], std::index_sequence<LANE...>) {
#pragma GCC unroll 16
  for (int row = 0; row < kLanes; ++row) {
    if (row & kStep) continue;
    const Lanes first = rows[row], second = rows[row + kStep];
    rows[row] = picked(first, second, std::index_sequence<(LANE & kStep ? kLanes + LANE - kStep : LANE)...>{});
    rows[row + kStep] = picked(first, second, std::index_sequence<(LANE & kStep ? kLanes + LANE : LANE + kStep)...>{});
  }
}

// rows[i][j] becomes rows[j][i].
inline void transpose(Lanes (&rows)[kLanes]) {
  constexpr std::make_index_sequence<kLanes> lanes{};
  exchange<1>(rows, lanes);
  exchange<2>(rows, lanes);
  exchange<4>(rows, lanes);
  if constexpr (kLanes == 16) exchange<8>(rows, lanes);
}

}  // namespace
}  // namespace vectors
