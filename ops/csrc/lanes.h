// Vectors of as many floats as a block of channels has, for code that is compiled once for each instruction set. All is
// internal to a file: the code for one instruction set must not stand for that of another.
#pragma once

namespace vectors {
namespace {

#ifdef __AVX512F__
constexpr int kLanes = 16;
#else
constexpr int kLanes = 8;
#endif

typedef float Lanes __attribute__((vector_size(4 * kLanes)));
typedef float Stored __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));  // in memory, at any address

inline Lanes load(const float *at) { return *reinterpret_cast<const Stored *>(at); }
inline void store(float *at, Lanes values) { *reinterpret_cast<Stored *>(at) = values; }

}  // namespace
}  // namespace vectors
