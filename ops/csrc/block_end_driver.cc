// The C interface to the CUDA kernels, launched by CUDA's driver: the kernels come as machine code, built when they are first
// needed, and neither CUDA's headers nor its runtime is.
//
// The driver's functions are declared here as far as they are used; their numbers and types are those of cuda.h and do not
// change between versions.
#include "block_end_driver.h"

#include <dlfcn.h>

#include <array>
#include <map>
#include <mutex>
#include <tuple>
#include <type_traits>

#include "block_end_capi.h"
#include "block_end_launch.h"

namespace {

using block_end::AttentionTask;
using block_end::BackwardTask;
using block_end::ChannelTask;
using block_end::ForwardTask;
using block_end::Grid;
using block_end::JoinTask;
using block_end::ParameterTask;

using Handle = void *;  // CUcontext, CUmodule, CUfunction, CUstream

constexpr int kNotBuilt = -1, kNotOpened = -2;  // CUresult has no negative values
constexpr int kMajor = 75, kMinor = 76;         // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_...

struct Driver {
  int (*cuGetErrorString)(int, const char **);
  int (*cuStreamGetCtx)(Handle stream, Handle *context);
  int (*cuCtxPushCurrent)(Handle context);
  int (*cuCtxPopCurrent)(Handle *context);
  int (*cuCtxGetDevice)(int *device);
  int (*cuDeviceGetAttribute)(int *value, int attribute, int device);
  int (*cuModuleLoadData)(Handle *module, const void *image);
  int (*cuModuleGetFunction)(Handle *function, Handle module, const char *name);
  int (*cuLaunchKernel)(Handle function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                        unsigned block_z, unsigned shared_bytes, Handle stream, void **arguments, void **extra);
} driver;

block_end_builder builder = nullptr;

// The kernels that are built together: those of a type and layout, or, with dtype -1, those over channels and parameters.
struct Set {
  int dtype, vector, threads, loads;
};

constexpr Set kWithoutLayout = {-1, 0, 0, 0};

// The places of a Set's kernels, and their names in block_end_cubin.cu.
enum { kForward, kBackward };
enum { kChannels, kParameters, kAttention, kJoin };
constexpr int kMostKernels = 4;
constexpr const char *kNames[][kMostKernels] = {{"forward", "backward", nullptr, nullptr},
                                                {"channels", "parameters", "attention", "join"}};
using Kernels = std::array<Handle, kMostKernels>;

using Key = std::tuple<Handle, int, int, int, int>;  // a context and a Set
std::mutex access_to_functions;
std::map<Key, Kernels> functions;

// The kernels of a set, in the current context.
int build(const Set &set, Kernels *kernels) {
  int device, major, minor;
  if (int error = driver.cuCtxGetDevice(&device)) return error;
  if (int error = driver.cuDeviceGetAttribute(&major, kMajor, device)) return error;
  if (int error = driver.cuDeviceGetAttribute(&minor, kMinor, device)) return error;
  const void *image = builder(set.dtype, set.vector, set.threads, set.loads, 10 * major + minor);
  if (image == nullptr) return kNotBuilt;
  Handle module;
  if (int error = driver.cuModuleLoadData(&module, image)) return error;
  for (int i = 0; i < kMostKernels; ++i) {
    const char *name = kNames[set.dtype < 0][i];
    if (name == nullptr) break;
    if (int error = driver.cuModuleGetFunction(&(*kernels)[i], module, name)) return error;
  }
  return 0;
}

// The same, built at the first call for a context.
int find(Handle context, const Set &set, Kernels *kernels) {
  const Key key(context, set.dtype, set.vector, set.threads, set.loads);
  {
    const std::lock_guard<std::mutex> lock(access_to_functions);
    const auto found = functions.find(key);
    if (found != functions.end()) {
      *kernels = found->second;
      return 0;
    }
  }
  // Without the lock: the builder is Python's, and waits for its lock, which another thread that waits for ours may hold
  if (int error = build(set, kernels)) return error;
  const std::lock_guard<std::mutex> lock(access_to_functions);
  functions[key] = *kernels;
  return 0;
}

// Launches on a stream, in its context. After an error nothing more is launched.
class DriverLauncher {
 public:
  struct Float16 {
    uint16_t bits;
  };
  struct BFloat16 {
    uint16_t bits;
  };

  explicit DriverLauncher(Handle stream) : stream_(stream) {
    error_ = builder == nullptr ? kNotOpened : driver.cuStreamGetCtx(stream, &context_);
    if (error_ == 0) error_ = driver.cuCtxPushCurrent(context_);
    entered_ = error_ == 0;
  }
  ~DriverLauncher() {
    Handle left;
    if (entered_) driver.cuCtxPopCurrent(&left);
  }
  DriverLauncher(const DriverLauncher &) = delete;
  DriverLauncher &operator=(const DriverLauncher &) = delete;

  template <typename T, typename L>
  void forward(const Grid &grid, const ForwardTask<T> &task) {
    launch(kernels_of(set_of<T, L>())[kForward], grid, &task);
  }
  template <typename T, typename L>
  void backward(const Grid &grid, const BackwardTask<T> &task) {
    launch(kernels_of(set_of<T, L>())[kBackward], grid, &task);
  }
  void channels(const Grid &grid, const ChannelTask &task) { launch(kernels_of(kWithoutLayout)[kChannels], grid, &task); }
  void parameters(const Grid &grid, const ParameterTask &task) {
    launch(kernels_of(kWithoutLayout)[kParameters], grid, &task);
  }
  void attention(const Grid &grid, const AttentionTask &task) { launch(kernels_of(kWithoutLayout)[kAttention], grid, &task); }
  void join(const Grid &grid, const JoinTask &task) { launch(kernels_of(kWithoutLayout)[kJoin], grid, &task); }
  int error() const { return error_; }

  template <typename T, typename L>
  void prepare() {
    kernels_of(set_of<T, L>());
    kernels_of(kWithoutLayout);
  }

 private:
  template <typename T, typename L>
  static constexpr Set set_of() {
    constexpr int dtype = std::is_same_v<T, float> ? 0 : std::is_same_v<T, Float16> ? 1 : 2;
    return {dtype, L::vector, L::threads, L::loads};
  }

  Kernels kernels_of(const Set &set) {
    Kernels kernels{};
    if (error_ == 0) error_ = find(context_, set, &kernels);
    return kernels;
  }

  void launch(Handle function, const Grid &grid, const void *task) {
    if (error_ != 0) return;
    void *arguments[] = {const_cast<void *>(task)};  // the driver copies it
    error_ = driver.cuLaunchKernel(function, grid.x, grid.y, 1, grid.threads, 1, 1, 0, stream_, arguments, nullptr);
  }

  Handle stream_, context_ = nullptr;
  int error_;
  bool entered_ = false;
};

using Launcher = DriverLauncher;

template <typename Function>
bool take(void *library, const char *name, Function **function) {
  *function = reinterpret_cast<Function *>(dlsym(library, name));
  return *function != nullptr;
}

}  // namespace

#include "block_end_entries.h"

extern "C" {

const char *block_end_open(const char *path, block_end_builder with) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return dlerror();
  // _v2: as cuda.h calls them by #define
  const bool complete = take(library, "cuGetErrorString", &driver.cuGetErrorString) &&
                        take(library, "cuStreamGetCtx", &driver.cuStreamGetCtx) &&
                        take(library, "cuCtxPushCurrent_v2", &driver.cuCtxPushCurrent) &&
                        take(library, "cuCtxPopCurrent_v2", &driver.cuCtxPopCurrent) &&
                        take(library, "cuCtxGetDevice", &driver.cuCtxGetDevice) &&
                        take(library, "cuDeviceGetAttribute", &driver.cuDeviceGetAttribute) &&
                        take(library, "cuModuleLoadData", &driver.cuModuleLoadData) &&
                        take(library, "cuModuleGetFunction", &driver.cuModuleGetFunction) &&
                        take(library, "cuLaunchKernel", &driver.cuLaunchKernel);
  if (!complete) return dlerror();
  const std::lock_guard<std::mutex> lock(access_to_functions);
  functions.clear();
  builder = with;
  return nullptr;
}

int block_end_prepare(int dtype, const int64_t *shape) {
  DriverLauncher launcher(nullptr);
  return block_end::with_type<DriverLauncher>(dtype, [&](auto element) {
    using T = decltype(element);
    block_end::with_layout_of<T>(block_end::shape_of(shape), 0,
                                 [&](auto layout) { launcher.prepare<T, decltype(layout)>(); });
    return launcher.error();
  });
}

const char *block_end_error(int error) {
  const char *text = nullptr;
  if (error == kNotBuilt) return "the kernels for this size of feature map were not built";
  if (error == kNotOpened) return "the CUDA driver was not opened";
  if (driver.cuGetErrorString == nullptr || driver.cuGetErrorString(error, &text) != 0 || text == nullptr) {
    return "an error that the CUDA driver does not name";
  }
  return text;
}
}
