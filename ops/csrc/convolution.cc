// Paddle convolves image by image on a CPU: im2col, then one matrix product, which for small maps reads all weights again for
// every image. oneDNN, which Paddle's packages bring along, convolves the whole batch, in a layout of its own with 8 or 16
// channels innermost. Feature maps of Paddle are reordered to it and back, which
// costs two passes over memory; those in blocks of channels have it already.
#include "convolution.h"

#include <dlfcn.h>

#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "grouped.h"
#include "onednn.h"
#include "openmp.h"
#include "plain_weights.h"
#include "scratch.h"
#include "subsampling.h"
#include "winograd.h"

namespace convolution {
namespace {

using onednn::Argument;
using onednn::Handle;

constexpr size_t kMaxShapes = 1024;  // whose primitives are kept
constexpr int64_t kLeastPixels = 32;  // of y, for a grouped convolution of ours

std::atomic<Own> own{kByRule};
onednn::Library dnnl;
Handle engine, stream;

const char *open_library() {
  void *library = dlopen("libdnnl.so.3", RTLD_LAZY | RTLD_NOLOAD);  // Paddle has loaded it
  if (library == nullptr) return "this Paddle comes without oneDNN 3";
  bool complete = true;
  const auto find = [&](auto &function, const char *name) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(library, name));
    complete = complete && function != nullptr;
  };
  find(dnnl.version, "dnnl_version");
  find(dnnl.engine_create, "dnnl_engine_create");
  find(dnnl.stream_create, "dnnl_stream_create");
  find(dnnl.stream_wait, "dnnl_stream_wait");
  find(dnnl.memory_desc_create_with_tag, "dnnl_memory_desc_create_with_tag");
  find(dnnl.memory_desc_destroy, "dnnl_memory_desc_destroy");
  find(dnnl.memory_desc_equal, "dnnl_memory_desc_equal");
  find(dnnl.memory_desc_get_size, "dnnl_memory_desc_get_size");
  find(dnnl.memory_create, "dnnl_memory_create");
  find(dnnl.memory_set_data_handle, "dnnl_memory_set_data_handle");
  find(dnnl.memory_get_memory_desc, "dnnl_memory_get_memory_desc");
  find(dnnl.memory_destroy, "dnnl_memory_destroy");
  find(dnnl.primitive_desc_query_md, "dnnl_primitive_desc_query_md");
  find(dnnl.primitive_desc_query, "dnnl_primitive_desc_query");
  find(dnnl.primitive_desc_destroy, "dnnl_primitive_desc_destroy");
  find(dnnl.primitive_create, "dnnl_primitive_create");
  find(dnnl.primitive_execute, "dnnl_primitive_execute");
  find(dnnl.primitive_destroy, "dnnl_primitive_destroy");
  find(dnnl.reorder_primitive_desc_create, "dnnl_reorder_primitive_desc_create");
  find(dnnl.convolution_forward_primitive_desc_create, "dnnl_convolution_forward_primitive_desc_create");
  find(dnnl.convolution_backward_data_primitive_desc_create, "dnnl_convolution_backward_data_primitive_desc_create");
  find(dnnl.convolution_backward_weights_primitive_desc_create, "dnnl_convolution_backward_weights_primitive_desc_create");
  if (!complete || dnnl.version()->major != 3) return "this Paddle comes with another oneDNN";
  if (dnnl.engine_create(&engine, onednn::kCpu, 0) != onednn::kSuccess) return "oneDNN has no engine for this processor";
  if (dnnl.stream_create(&stream, engine, onednn::kInOrder) != onednn::kSuccess) return "oneDNN cannot start";
  return nullptr;
}

int tag_of_maps(int64_t lanes) {
  if (lanes == 0) return onednn::kPlain4;
  return lanes == 8 ? onednn::kBlocks8 : onednn::kBlocks16;
}

Handle described(int rank, const int64_t *dims, int tag, int type = onednn::kFloat32) {
  onednn::Dims all = {};
  std::memcpy(all, dims, rank * sizeof(int64_t));
  Handle descriptor = nullptr;
  dnnl.memory_desc_create_with_tag(&descriptor, rank, all, type, tag);
  return descriptor;
}

// One argument of a primitive: the array as Paddle has it, and as the primitive wants it.
class Operand {
 public:
  // plain: Paddle's descriptor, which this owns; wanted: the primitive's. into: the primitive reads it.
  bool prepare(int which, Handle plain, Handle wanted, bool into) {
    which_ = which;
    into_ = into;
    plain_ = plain;
    bool good = dnnl.memory_create(&outside_, plain, engine, nullptr) == onednn::kSuccess;
    if (!good || dnnl.memory_desc_equal(plain, wanted)) return good;
    bytes_ = dnnl.memory_desc_get_size(wanted);
    good = dnnl.memory_create(&inside_, wanted, engine, nullptr) == onednn::kSuccess;
    Handle descriptor = nullptr;
    const Handle from = into ? plain : wanted, to = into ? wanted : plain;
    good = good && dnnl.reorder_primitive_desc_create(&descriptor, from, engine, to, engine, nullptr) == onednn::kSuccess;
    good = good && dnnl.primitive_create(&reorder_, descriptor) == onednn::kSuccess;
    if (descriptor != nullptr) dnnl.primitive_desc_destroy(descriptor);
    return good;
  }

  ~Operand() {
    if (reorder_ != nullptr) dnnl.primitive_destroy(reorder_);
    for (Handle memory : {inside_, outside_}) {
      if (memory != nullptr) dnnl.memory_destroy(memory);
    }
    if (plain_ != nullptr) dnnl.memory_desc_destroy(plain_);
  }

  // The array is a gradient of weights [out, in, kernel]: in which layout the primitive leaves it decides who reorders it.
  void is_gradient_of_weights(int64_t out, int64_t in, int64_t height, int64_t width) {
    if (reorder_ == nullptr) return;
    const int64_t dims[] = {out, in, height, width};
    Handle wanted = nullptr;
    dnnl.memory_get_memory_desc(inside_, &wanted);
    for (const int lanes : {8, 16}) {
      if (out % lanes || in % lanes) continue;
      const Handle tiles = described(4, dims, lanes == 8 ? onednn::kTiles8 : onednn::kTiles16);
      if (dnnl.memory_desc_equal(wanted, tiles)) tiles_ = {out, in, height * width, lanes};
      dnnl.memory_desc_destroy(tiles);
    }
  }

  // Before the primitive runs: what it shall take, in an array of Paddle's. ready: the scratch has it already.
  bool begin(void *data, Scratch &scratch, bool ready) {
    if (dnnl.memory_set_data_handle(outside_, data) != onednn::kSuccess) return false;
    if (reorder_ == nullptr) return true;
    void *room = scratch.of(bytes_);
    tiles_.from = static_cast<float *>(room);
    tiles_.to = static_cast<float *>(data);
    if (room == nullptr || dnnl.memory_set_data_handle(inside_, room) != onednn::kSuccess) return false;
    return !into_ || ready || run(outside_, inside_);
  }

  // Whether what this one has reordered is what that one wants.
  bool serves(const Operand &that) const {
    Handle mine = nullptr, its = nullptr;
    if (reorder_ == nullptr || that.reorder_ == nullptr) return false;
    dnnl.memory_get_memory_desc(inside_, &mine);
    dnnl.memory_get_memory_desc(that.inside_, &its);
    return dnnl.memory_desc_equal(mine, its) != 0;
  }

  // After it has run.
  bool end() {
    if (into_ || reorder_ == nullptr) return true;
    if (tiles_.lanes == 0) return run(inside_, outside_);
    plain_weights(tiles_.from, tiles_.to, tiles_.out, tiles_.in, tiles_.kernel, tiles_.lanes);
    return true;
  }

  Argument argument() const { return {which_, reorder_ == nullptr ? outside_ : inside_}; }

 private:
  bool run(Handle from, Handle to) {
    const Argument arguments[] = {{onednn::kSource, from}, {onednn::kTarget, to}};
    return dnnl.primitive_execute(reorder_, stream, 2, arguments) == onednn::kSuccess;
  }

  int which_ = 0;
  bool into_ = true;
  Handle plain_ = nullptr, outside_ = nullptr, inside_ = nullptr, reorder_ = nullptr;
  size_t bytes_ = 0;
  struct {
    int64_t out, in, kernel;
    int lanes;  // 0: not in tiles
    const float *from;
    float *to;
  } tiles_ = {};
};

// Of the name of an implementation, such as "x64:gemm:jit" and "ref:any", but not "brgemm:avx512_core".
bool is_general(const char *name) {
  const char *gemm = std::strstr(name, "gemm");
  return (gemm != nullptr && (gemm == name || gemm[-1] == ':')) || std::strstr(name, "ref") != nullptr;
}

// One pass of one shape.
class Primitive {
 public:
  Primitive(const Shape &s, Pass pass) {
    const int64_t x[] = {s.images, s.in, s.height, s.width}, y[] = {s.images, s.out, s.side(0), s.side(1)};
    const int64_t grouped[] = {s.groups, s.out / s.groups, s.in / s.groups, s.kernel[0], s.kernel[1]};
    const int64_t whole[] = {s.out, s.in, s.kernel[0], s.kernel[1]};
    const int rank = s.groups > 1 ? 5 : 4;
    const int64_t *weights = s.groups > 1 ? grouped : whole;
    const int64_t dilation[] = {s.dilation[0] - 1, s.dilation[1] - 1};  // oneDNN counts the gaps
    int64_t after[2];  // padding: so much that the strides come out even
    for (int axis : {0, 1}) {
      const int64_t reach = s.dilation[axis] * (s.kernel[axis] - 1) + 1;
      after[axis] = (s.side(axis) - 1) * s.stride[axis] + reach - x[2 + axis] - s.padding[axis];
    }
    const bool gradient[] = {pass == kData, pass == kWeights, pass != kForward};  // of x, of the weights, of y
    const int factor = s.bfloat16 ? onednn::kBfloat16 : onednn::kFloat32;  // the type of what is multiplied
    const auto any = [&](int dims, const int64_t *shape, bool result) {
      return described(dims, shape, onednn::kAny, result ? onednn::kFloat32 : factor);
    };
    const bool biased = s.biased && pass != kData;
    const Handle bias = biased ? described(1, &s.out, onednn::kPlain1) : nullptr;
    // Of the forward pass, which the other two are told of, and of this one
    const Handle first[] = {any(4, x, false), any(rank, weights, false), any(4, y, true)};
    const Handle now[] = {any(4, x, gradient[0]), any(rank, weights, gradient[1]), any(4, y, pass == kForward)};
    Handle forward = nullptr, chosen = nullptr;
    good_ = dnnl.convolution_forward_primitive_desc_create(&forward, engine, onednn::kForwardTraining, onednn::kDirect,
                                                           first[0], first[1], bias, first[2], s.stride, dilation, s.padding,
                                                           after, nullptr) == onednn::kSuccess;
    if (good_ && pass == kData) {
      good_ = dnnl.convolution_backward_data_primitive_desc_create(&chosen, engine, onednn::kDirect, now[0], now[1], now[2],
                                                                   s.stride, dilation, s.padding, after, forward,
                                                                   nullptr) == onednn::kSuccess;
    } else if (good_ && pass == kWeights) {
      good_ = dnnl.convolution_backward_weights_primitive_desc_create(&chosen, engine, onednn::kDirect, now[0], now[1], bias,
                                                                      now[2], s.stride, dilation, s.padding, after, forward,
                                                                      nullptr) == onednn::kSuccess;
    }
    const Handle descriptor = pass == kForward ? forward : chosen;
    const char *name = nullptr;
    if (good_) dnnl.primitive_desc_query(descriptor, onednn::kQueryImplementation, 0, &name);
    general_ = name != nullptr && is_general(name);
    const auto wanted = [&](int query, bool of_gradient) {
      return dnnl.primitive_desc_query_md(descriptor, query + of_gradient * onednn::kQueryGradient, 0);
    };
    const int plain = rank == 5 ? onednn::kPlain5 : onednn::kPlain4;
    good_ = good_ && dnnl.primitive_create(&primitive_, descriptor) == onednn::kSuccess;
    good_ = good_ &&
            operands_[0].prepare(gradient[0] ? onednn::kSourceGradient : onednn::kSource, described(4, x, tag_of_maps(s.lanes)),
                                 wanted(onednn::kQuerySource, gradient[0]), !gradient[0]) &&
            operands_[1].prepare(gradient[1] ? onednn::kWeightsGradient : onednn::kWeights, described(rank, weights, plain),
                                 wanted(onednn::kQueryWeights, gradient[1]), !gradient[1]) &&
            operands_[2].prepare(gradient[2] ? onednn::kTargetGradient : onednn::kTarget,
                                 described(4, y, tag_of_maps(s.lanes_after)), wanted(onednn::kQueryTarget, gradient[2]),
                                 gradient[2]);
    if (good_ && biased) {
      bias_argument_ = pass == kForward ? onednn::kBias : onednn::kBiasGradient;
      good_ = dnnl.memory_create(&bias_, bias, engine, nullptr) == onednn::kSuccess;
    }
    if (bias != nullptr) dnnl.memory_desc_destroy(bias);
    if (good_ && gradient[1] && rank == 4) operands_[1].is_gradient_of_weights(s.out, s.in, s.kernel[0], s.kernel[1]);
    for (Handle each : {chosen, forward}) {
      if (each != nullptr) dnnl.primitive_desc_destroy(each);
    }
    for (int i = 0; i < 3; ++i) {
      dnnl.memory_desc_destroy(first[i]);
      dnnl.memory_desc_destroy(now[i]);
    }
  }

  ~Primitive() {
    if (bias_ != nullptr) dnnl.memory_destroy(bias_);
    if (primitive_ != nullptr) dnnl.primitive_destroy(primitive_);
  }

  bool good() const { return good_; }

  // Whether the library has no code made for such convolutions: it goes image by image through matrices (im2col), or in plain
  // loops.
  bool general() const { return general_; }

  // Of the arrays those that the pass computes are written. before: the pass that has just run on the same y, or null.
  bool run(const float *x, const float *weights, const float *bias, const float *y, Scratch (&scratch)[3],
           const Primitive *before) {
    const float *arrays[] = {x, weights, y};
    if (!good_) return false;
    Argument arguments[4];
    for (int i = 0; i < 3; ++i) {
      const bool ready = i == 2 && before != nullptr && before->operands_[2].serves(operands_[2]);
      if (!operands_[i].begin(const_cast<float *>(arrays[i]), scratch[i], ready)) return false;
      arguments[i] = operands_[i].argument();
    }
    if (bias_ != nullptr) {
      if (dnnl.memory_set_data_handle(bias_, const_cast<float *>(bias)) != onednn::kSuccess) return false;
      arguments[3] = {bias_argument_, bias_};
    }
    const int count = bias_ == nullptr ? 3 : 4;
    if (dnnl.primitive_execute(primitive_, stream, count, arguments) != onednn::kSuccess) return false;
    if (dnnl.stream_wait(stream) != onednn::kSuccess) return false;  // what follows may read the result itself
    for (Operand &operand : operands_) {
      if (!operand.end()) return false;
    }
    return dnnl.stream_wait(stream) == onednn::kSuccess;
  }

 private:
  bool good_ = false, general_ = false;
  Handle primitive_ = nullptr, bias_ = nullptr;
  int bias_argument_ = 0;
  Operand operands_[3];  // x, weights, y or their gradients
};

// All convolutions of this process; one runs at a time.
struct Convolutions {
  std::mutex busy;
  std::map<std::vector<int64_t>, std::unique_ptr<Primitive>> known;
  Scratch scratch[3], pixels;

  Primitive &of(const Shape &shape, Pass pass) {
    std::vector<int64_t> key = {shape.images, shape.in,    shape.height,   shape.width, shape.out,
                                shape.groups, shape.lanes, shape.lanes_after, shape.bfloat16, shape.biased, pass,
                                omp_get_max_threads()};  // a primitive shares its work among the threads of its making
    for (const auto &pair : {shape.kernel, shape.stride, shape.padding, shape.dilation}) key.insert(key.end(), pair, pair + 2);
    std::unique_ptr<Primitive> &primitive = known[key];
    if (primitive == nullptr) primitive = std::make_unique<Primitive>(shape, pass);
    if (!primitive->good() && shape.bfloat16) {  // the library has no such convolution
      Shape exact = shape;
      exact.bfloat16 = false;
      primitive = std::make_unique<Primitive>(exact, pass);
    }
    return *primitive;
  }

  // Whether the grouped convolution of ours is faster: wherever the library has no code of its own, unless there are too few
  // pixels to repay that the weights are put into another order. It is one in float32, also where bfloat16 was asked for.
  bool in_groups(const Shape &s, Pass pass) {
    if (!grouped_possible(s) || own == kNever) return false;
    if (own == kWhereverItCan) return true;
    if (pass != kWeights && s.images * s.side(0) * s.side(1) < kLeastPixels) return false;
    const Primitive &theirs = of(s, pass);
    return !theirs.good() || theirs.general();
  }

  // ran: that of oneDNN which did it.
  bool gradient_of_x(const Shape &s, const float *weights, const float *dy, float *dx, Primitive *&ran) {
    if (winograd_wanted(s, kData)) return winograd_backward(s, weights, dy, dx, scratch[1], scratch[0]);
    if (in_groups(s, kData)) return grouped_backward(s, weights, dy, dx, scratch[1], scratch[0]);
    if (!reads_some_pixels(s)) {
      ran = &of(s, kData);
      return ran->run(dx, weights, nullptr, dy, scratch, nullptr);
    }
    const Shape dense = of_pixels_read(s);
    float *of_pixels = pixels.floats(s.images * s.in * dense.height * dense.width);
    if (of_pixels == nullptr) return false;
    ran = &of(dense, kData);
    if (!ran->run(of_pixels, weights, nullptr, dy, scratch, nullptr)) return false;
    scatter(s, of_pixels, dx);
    return true;
  }
};

// What the library chooses for the commonest convolution.
int64_t find_lanes() {
  if (obstacle() != nullptr) return 0;
  const int64_t maps[] = {2, 64, 8, 8}, weights[] = {64, 64, 3, 3}, one[] = {1, 1}, none[] = {0, 0};
  Handle x = described(4, maps, onednn::kAny), w = described(4, weights, onednn::kAny), forward = nullptr;
  int64_t found = 0;
  if (dnnl.convolution_forward_primitive_desc_create(&forward, engine, onednn::kForwardTraining, onednn::kDirect, x, w, nullptr,
                                                     x, one, none, one, one, nullptr) == onednn::kSuccess) {
    const Handle chosen = dnnl.primitive_desc_query_md(forward, onednn::kQuerySource, 0);
    for (const int64_t lanes : {8, 16}) {
      const Handle blocked = described(4, maps, tag_of_maps(lanes));
      if (dnnl.memory_desc_equal(chosen, blocked)) found = lanes;
      dnnl.memory_desc_destroy(blocked);
    }
    dnnl.primitive_desc_destroy(forward);
  }
  for (Handle each : {x, w}) dnnl.memory_desc_destroy(each);
  return found;
}

Convolutions &convolutions() {
  static Convolutions *const all = new Convolutions;  // never destroyed: at the end of the process the library may be gone
  return *all;
}

// work(all of them), where the library can be used, with no other thread at it.
template <typename Work>
bool alone(Work work) {
  Convolutions &all = convolutions();
  const std::lock_guard<std::mutex> lock(all.busy);
  if (obstacle() != nullptr) return false;
  if (all.known.size() > kMaxShapes) all.known.clear();
  return work(all);
}

}  // namespace

void choose_own(Own when) { own = when; }
Own chosen_own() { return own; }

const char *obstacle() {
  static const char *const found = open_library();
  return found;
}

int64_t lanes() {
  static const int64_t found = find_lanes();
  return found;
}

bool forward(const Shape &shape, const float *x, const float *weights, const float *bias, float *y) {
  return alone([&](Convolutions &all) {
    if (winograd_wanted(shape, kForward)) return winograd_forward(shape, x, weights, y, all.scratch[1], all.scratch[0]);
    if (all.in_groups(shape, kForward)) return grouped_forward(shape, x, weights, y, all.scratch[1], all.scratch[0]);
    return all.of(shape, kForward).run(x, weights, bias, y, all.scratch, nullptr);
  });
}

bool backward(const Shape &shape, const float *x, const float *weights, const float *dy, float *dx, float *dweights,
              float *dbias) {
  return alone([&](Convolutions &all) {
    Primitive *before = nullptr;
    if (dx != nullptr && !all.gradient_of_x(shape, weights, dy, dx, before)) return false;
    if (dweights == nullptr) return true;
    if (winograd_wanted(shape, kWeights)) {
      return winograd_backward_weights(shape, x, dy, dweights, all.scratch[1], all.scratch[0]);
    }
    if (all.in_groups(shape, kWeights)) {
      return grouped_backward_weights(shape, x, dy, dweights, all.scratch[1], all.scratch[0]);
    }
    return all.of(shape, kWeights).run(x, dweights, dbias, dy, all.scratch, before);
  });
}

}  // namespace convolution
