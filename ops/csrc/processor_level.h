// For which instruction sets there is code, and which of them this processor has.
#pragma once

#include <cstdint>

namespace processor {

enum class Level { kGeneric, kAvx2, kAvx512 };

inline Level level_of_processor() {
#ifdef HAVE_X86_LEVELS
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma")) {
    return Level::kAvx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Level::kAvx2;
#endif
  return Level::kGeneric;
}

// The same, asked once.
inline Level level() {
  static const Level found = level_of_processor();
  return found;
}

// Of kernels for vectors of 8 and of 16 lanes those for so many, where this processor runs them; else null.
template <typename Kernels>
const Kernels *with_lanes(int64_t lanes, const Kernels &avx2, const Kernels &avx512) {
  if (level() == Level::kAvx512 && lanes == avx512.lanes) return &avx512;
  if (level() != Level::kGeneric && lanes == avx2.lanes) return &avx2;
  return nullptr;
}

}  // namespace processor
