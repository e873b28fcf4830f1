// What the kernels take from the headers of C++ and CUDA, for NVRTC, which comes without them: integers of a certain size,
// the 16-bit types and their conversions. The instructions are those of CUDA's own headers.
#pragma once

using int64_t = long;
using uint32_t = unsigned int;
using uintptr_t = unsigned long;
static_assert(sizeof(int64_t) == 8 && sizeof(uintptr_t) == 8, "Linux on 64 bits");

struct __half {
  unsigned short bits;
};

struct __nv_bfloat16 {
  unsigned short bits;
};

__device__ __forceinline__ float __half2float(__half value) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
}

__device__ __forceinline__ __half __float2half_rn(float value) {
  __half result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
}

__device__ __forceinline__ float __bfloat162float(__nv_bfloat16 value) {
  float result;
#if __CUDA_ARCH__ >= 900
  asm("cvt.f32.bf16 %0, %1;" : "=f"(result) : "h"(value.bits));
#else
  asm("mov.b32 %0, {0, %1};" : "=f"(result) : "h"(value.bits));  // a shift in C++ comes out longer
#endif
  return result;
}

__device__ __forceinline__ __nv_bfloat16 __float2bfloat16_rn(float value) {
  __nv_bfloat16 result;
#if __CUDA_ARCH__ >= 800
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
#else
  const unsigned bits = __float_as_uint(value);  // to the nearest, of two as near the even one
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  result.bits = nan ? 0x7fff : static_cast<unsigned short>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
#endif
  return result;
}
