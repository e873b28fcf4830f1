// A stand-in for libcuda.so.1, CUDA's driver, as far as block_end_driver.cc uses it: it tells of each launch and launches
// nothing. What is loaded as machine code is text, as the test gave it.
//
// There is one context, that of every stream. Like the driver, it refuses calls without a current context. Memory of its device
// is the host's, for benchmarks/cuda_small_shapes.py.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

using Observer = int (*)(const char *kernel, const char *code, const unsigned *sizes, const void *stream, const void *task);

struct Function {
  std::string code, name;
};

int context, in_context;
int failing_load;  // what cuModuleLoadData returns
int loads;
Observer observe = nullptr;
std::string calls;  // names of the driver's functions, each with a line break

}  // namespace

extern "C" {

void stand_in_observe(Observer observer) { observe = observer; }
void stand_in_fail(int error) { failing_load = error; }
int stand_in_loads() { return loads; }
const char *stand_in_calls() { return calls.c_str(); }
void stand_in_forget_calls() { calls.clear(); }
int stand_in_left() { return in_context; }  // 0 between calls: each push has its pop

int cuGetErrorString(int error, const char **text) {
  calls += "cuGetErrorString\n";
  *text = error == 209 ? "no kernel image is available for execution on the device" : nullptr;
  return *text == nullptr;
}
int cuStreamGetCtx(void *, void **found) {
  calls += "cuStreamGetCtx\n";
  *found = &context;
  return 0;
}
int cuCtxPushCurrent_v2(void *pushed) {
  calls += "cuCtxPushCurrent\n";
  ++in_context;
  return pushed == &context ? 0 : 201;
}
int cuCtxPopCurrent_v2(void **popped) {
  calls += "cuCtxPopCurrent\n";
  *popped = &context;
  return in_context-- > 0 ? 0 : 201;
}
int cuCtxGetDevice(int *device) {
  calls += "cuCtxGetDevice\n";
  *device = 3;
  return in_context ? 0 : 201;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  calls += "cuDeviceGetAttribute\n";
  *value = attribute == 75 ? 8 : 6;  // compute capability 8.6
  return device == 3 && (attribute == 75 || attribute == 76) ? 0 : 1;
}
int cuModuleLoadData(void **module, const void *image) {
  calls += "cuModuleLoadData\n";
  ++loads;
  *module = new std::string(static_cast<const char *>(image));
  return in_context ? failing_load : 201;
}
int cuModuleGetFunction(void **function, void *module, const char *name) {
  calls += "cuModuleGetFunction\n";
  *function = new Function{*static_cast<std::string *>(module), name};
  return 0;
}
int cuLaunchKernel(void *launched, unsigned x, unsigned y, unsigned z, unsigned block_x, unsigned block_y, unsigned block_z,
                   unsigned shared_bytes, void *stream, void **arguments, void **) {
  calls += "cuLaunchKernel\n";
  const auto function = static_cast<const Function *>(launched);
  const unsigned sizes[] = {x, y, z, block_x, block_y, block_z, shared_bytes};
  if (!in_context) return 201;
  return observe(function->name.c_str(), function->code.c_str(), sizes, stream, arguments[0]);
}

// ---- What a program needs that brings no CUDA runtime

int blocks_of_memory;
int stand_in_blocks_of_memory() { return blocks_of_memory; }  // that are not freed

int cuInit(unsigned) { return 0; }
int cuDeviceGet(int *device, int ordinal) {
  *device = 3;
  return ordinal == 0 ? 0 : 101;
}
int cuDeviceGetName(char *name, int length, int) {
  strncpy(name, "Stand-in", length);
  return 0;
}
int cuDevicePrimaryCtxRetain(void **retained, int) {
  *retained = &context;
  return 0;
}
int cuCtxSetCurrent(void *current) { return current == &context ? 0 : 201; }
int cuStreamCreate(void **stream, unsigned) {
  *stream = &context;
  return 0;
}
int cuStreamSynchronize(void *) { return 0; }
int cuMemAlloc_v2(uint64_t *address, size_t size) {
  ++blocks_of_memory;
  void *memory = aligned_alloc(256, (size + 255) / 256 * 256);
  memset(memory, 0xFF, size);  // NaN in each type: what is not written shows
  *address = reinterpret_cast<uint64_t>(memory);
  return 0;
}
int cuMemFree_v2(uint64_t address) {
  --blocks_of_memory;
  free(reinterpret_cast<void *>(address));
  return 0;
}
int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t size) {
  memcpy(reinterpret_cast<void *>(to), from, size);
  return 0;
}
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t size) {
  memcpy(to, reinterpret_cast<const void *>(from), size);
  return 0;
}
}
