// The C interface of the CUDA kernels, run on a CPU.
#include "emulation.h"

#include "../../ops/csrc/block_end_capi.cu"

#include <string>

// Compiled with -fsanitize=alignment, the kernels call this for an address that is not aligned to its type. A GPU stops there.
extern "C" void __ubsan_handle_type_mismatch_v1(void *, void *) { emulation::error = cudaErrorMisalignedAddress; }

// 1: blocks and threads take turns in the opposite order.
extern "C" void emulation_reverse(int reversed) { emulation::reversed = reversed != 0; }

// The observer is told of each launch through block_end_capi.h, in place of its running; null: none.
extern "C" void emulation_observe(decltype(emulation::observe) observer) { emulation::observe = observer; }

namespace {

// Runs a kernel over planes, where block_end_launch.h has this layout for feature maps of the task's size, aligned well or badly.
template <typename T>
bool run_planes(bool forward, const int *layout, dim3 grid, unsigned threads, const void *task) {
  const auto of_forward = static_cast<const ForwardTask<T> *>(task);
  const auto of_backward = static_cast<const BackwardTask<T> *>(task);
  const block_end::Geometry &geometry = forward ? of_forward->geometry : of_backward->geometry;
  const block_end::Shape shape = {1, geometry.channels, geometry.plane, geometry.half, geometry.width > 0};
  for (uintptr_t alignment : {16, 8, 1}) {
    bool right = false;
    block_end::with_layout_of<T>(shape, alignment, [&](auto chosen) {
      using L = decltype(chosen);
      right = layout[0] == L::vector && layout[1] == L::threads && layout[2] == L::loads;
      if (right && forward) emulation::launch(grid, threads, [=] { forward_kernel<T, L>(*of_forward); });
      if (right && !forward) emulation::launch(grid, threads, [=] { backward_kernel<T, L>(*of_backward); });
    });
    if (right) return true;
  }
  return false;
}

}  // namespace

// Runs what a stand-in for the driver was told to launch: a kernel by its name in block_end_cubin.cu. dtype: a number of
// block_end_capi.h. layout: vector, threads, loads. 0: it ran.
extern "C" int emulation_run(const char *kernel, int dtype, const int *layout, unsigned x, unsigned y, unsigned threads,
                             const void *task) {
  const std::string name = kernel;
  const dim3 grid(x, y);
  bool known = true;
  if (name == "channels") {
    emulation::launch(grid, threads, [=] { channel_kernel(*static_cast<const ChannelTask *>(task)); });
  } else if (name == "parameters") {
    emulation::launch(grid, threads, [=] { parameter_kernel(*static_cast<const ParameterTask *>(task)); });
  } else if (name == "attention") {
    emulation::launch(grid, threads, [=] { attention_kernel(*static_cast<const AttentionTask *>(task)); });
  } else if (name == "join") {
    emulation::launch(grid, threads, [=] { join_kernel(*static_cast<const JoinTask *>(task)); });
  } else if (dtype == 0) {
    known = run_planes<float>(name == "forward", layout, grid, threads, task);
  } else if (dtype == 1) {
    known = run_planes<__half>(name == "forward", layout, grid, threads, task);
  } else {
    known = run_planes<__nv_bfloat16>(name == "forward", layout, grid, threads, task);
  }
  return known ? emulation::last_error() : cudaErrorInvalidDeviceFunction;
}
